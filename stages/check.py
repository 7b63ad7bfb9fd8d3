"""Look for errors in params.yaml, the sources and the test sets before any other stage runs.

Reads   all of params.yaml, and what it names: sources, test sets, weights, as far as a second or so can tell
Writes  data/checked.txt  always the same line
Removes what `pack` left of sources that params.yaml no longer names
Run     python stages/check.py

DVC clears a stage's outputs before the stage can look at its parameters. So every stage that needs no other one has
data/checked.txt as a dep: what is wrong stops `dvc repro`, `dvc exp run` and a queue here, while every output is in
place. The stage runs each time, since sources change without params.yaml. Its file never changes, so it makes no other
stage run. `faces check` does the same by hand.

Later stages depend on data/packed, data/attributes and metrics as a whole. DVC leaves the files of a source there after
params.yaml has dropped it, and a colleague who pulls does not get them. So they are removed here, before any of these
stages runs: otherwise the same project would have other deps on another machine. The source's images stay.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

from faces.commands.check import check_project
from faces.core.files import write_text
from faces.core.run import run
from faces.core.terminal import say
from faces.tables.sources import load_sources

CHECKED = Path("data/checked.txt")
TEXT = "params.yaml and what it names were checked\n"
OUTPUTS_OF_PACK = (  # a pattern for each output that dvc.yaml lists: what the `*` stands for is the source
    "data/attributes/*.csv",
    "data/packed/*",
    "data/rejected/*.csv",
    "metrics/pack@*.json",
    "metrics/pack/*.png",
)


def leftovers(sources: set[str]) -> Iterator[Path]:
    """Yield the outputs of `pack` for any source that is not among `sources`."""
    for pattern in OUTPUTS_OF_PACK:
        before, after = pattern.split("*")
        for path in sorted(Path().glob(pattern)):
            name = path.as_posix().removeprefix(before).removesuffix(after)
            if name not in sources and not name.startswith("."):  # a temporary file of a stage at work
                yield path


def remove_leftovers() -> None:
    """Remove what `pack` left of sources that params.yaml no longer names; DVC's cache still has it."""
    for path in leftovers(set(load_sources())):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        say(f"removed {path}: params.yaml no longer names its source")


def main() -> None:
    """Check the project in the current folder, and remove what sources of the past have left."""
    check_project()
    remove_leftovers()
    write_text(CHECKED, TEXT)
    say("nothing is wrong in params.yaml and what it names")


if __name__ == "__main__":
    run(main)
