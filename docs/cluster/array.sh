#!/usr/bin/env bash
# A file of experiments as an array of jobs, for Slurm: copy it, set the four names, and
#   sbatch --array=0-5 array.sh        # 3 seeds of 2 runs: rows 0 to 5
# The folder must outlive a job: one that is put back into the queue (--requeue) goes on where it was cut off, if COMMIT is
# a hash, or a branch that has not moved.
#SBATCH --job-name=faces
#SBATCH --gpus=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --requeue
#SBATCH --output=faces-%A-%a.log
set -euo pipefail

repository=${REPOSITORY:?what git clone takes}
project=${PROJECT:?a checkout with its .venv set up}
folder=${FOLDER:?where the jobs work}
study=${STUDY:?a file of experiments, its path in the repository}

export PATH="$project/.venv/bin:$PATH"
exec faces job --repository "$repository" --folder "$folder" \
    --commit "${COMMIT:-main}" --study "$study" --index "${SLURM_ARRAY_TASK_ID:?run by sbatch --array}"
