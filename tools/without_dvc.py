"""Run every stage of the pipeline without DVC, in the order in which DVC would: the same files, with the same bytes.

Run     make without-dvc     (or python -m tools.without_dvc)

Every stage runs, whether anything has changed or not, and nothing is kept in DVC's cache.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from faces.core.errors import StageError
from faces.core.pipeline import STAGES, TEST_SET_STAGES
from faces.core.terminal import say
from faces.tables.external_sets import load_test_sets
from faces.tables.sources import load_sources

DRAWN = Path("data/synthetic/images")


def is_drawn(path: Path) -> bool:
    """Tell whether an absolute path is the folder that `synthesize` draws, or lies in it."""
    return DRAWN.resolve() in (path, *path.parents)


def stage_commands() -> Iterator[list[str]]:
    """Yield the arguments of `python` for each stage: script and, of one that runs several times, source or test set.

    `synthesize` is left out if params.yaml names no folder that it draws.
    """
    sources, test_sets = load_sources(), load_test_sets()
    named = [source.path for source in sources.values()] + [entry.images for entry in test_sets.values()]
    for stage in STAGES:
        if stage == "synthesize" and not any(is_drawn(Path(path).resolve()) for path in named):
            continue
        keys = list(sources) if stage == "pack" else list(test_sets) if stage in TEST_SET_STAGES else None
        for key in [""] if keys is None else keys:
            yield [f"stages/{stage}.py", *filter(None, [key])]


def main() -> int:
    """Run them; return the exit code of the first that fails, or 0."""
    try:
        commands = list(stage_commands())
    except StageError as error:
        say(f"error: {error}")
        return 1
    for command in commands:
        say(f"> python {' '.join(command)}")
        if code := subprocess.run([sys.executable, *command]).returncode:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
