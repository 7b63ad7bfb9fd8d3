"""Look for errors in params.yaml, the sources and the test sets before any other stage runs.

Reads   all of params.yaml, and what it names: sources, test sets, weights, as far as a second or so can tell
Writes  data/checked.txt  always the same line
Run     python stages/check.py

DVC clears a stage's outputs before the stage can look at its parameters. So every stage that needs no other one has
data/checked.txt as a dep: what is wrong stops `dvc repro`, `dvc exp run` and a queue here, while every output is in
place. The stage runs each time, since sources change without params.yaml. Its file never changes, so it makes no other
stage run. `faces check` does the same by hand.
"""

import faces.core.portable  # noqa: F401  first, since NumPy and others read its settings when they are imported

from pathlib import Path

from faces.commands.check import check_project
from faces.core.files import write_text
from faces.core.run import run
from faces.core.terminal import say

CHECKED = Path("data/checked.txt")
TEXT = "params.yaml and what it names were checked\n"


def main() -> None:
    """Check the project in the current folder."""
    check_project()
    write_text(CHECKED, TEXT)
    say("params.yaml, sources and test sets: no errors found")


if __name__ == "__main__":
    run(main)
