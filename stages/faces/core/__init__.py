"""What every stage needs: parameters, running, files, checkpoints, threads."""
