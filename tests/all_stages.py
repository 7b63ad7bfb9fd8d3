"""Run every stage in one process, on one core, in the current folder.

For an emulator, which emulates no other processes that a stage starts, and takes minutes to import TensorFlow.

Run     PYTHONPATH=stages:tests python tests/all_stages.py
"""

import faces.core.portable  # noqa: F401  as in every script

import os
import sys

from faces.inference import comparison
from small_project import PIPELINE, run_stage, start_tensorflow


def main() -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    start_tensorflow()
    comparison.TIMED_IMAGES = comparison.TIMED_ROUNDS = 1  # which would take an emulator long, and are not compared
    for stage in ["check", *PIPELINE]:
        print(stage, file=sys.stderr, flush=True)
        name, _, source = stage.partition("@")
        run_stage(name, *filter(None, [source]))


if __name__ == "__main__":
    main()
