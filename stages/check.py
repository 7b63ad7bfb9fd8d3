"""Check params.yaml, the sources and the test sets before DVC starts; not a stage, but what `make repro` runs first.

DVC clears a stage's outputs before the stage can look at its parameters. What can be known to be wrong is found here,
all of it at once, while every output is still in place.

Run     python stages/check.py
"""

import fcntl
import json
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import gather
import mine
import pack
import split
import synthesize
import train
from faces.core.errors import StageError
from faces.core.params import PARAMS_FILE, Params, load_params, read_params
from faces.core.pipeline import STAGES
from faces.core.run import run
from faces.core.terminal import say
from faces.core.threads import RuntimeParams
from faces.evaluation.metrics import MetricsParams
from faces.images.decoding import DecodingParams
from faces.images.detection import PhotosParams
from faces.tables.external_sets import load_test_sets
from faces.tables.sources import load_sources
from faces.training.augmentation import AugmentParams

SHARED_SECTIONS: dict[str, type[Params]] = {
    "augment": AugmentParams,
    "decoding": DecodingParams,
    "metrics": MetricsParams,
    "photos": PhotosParams,
    "runtime": RuntimeParams,
}
WITHOUT_SECTION = {"gather", "embed_test"}  # stages that have no section of their own in params.yaml
DVC_LOCKS = Path(".dvc/tmp/rwlock")  # which of its processes works on what


def sections() -> list[str]:
    """Return the stages that have a section of their own in params.yaml."""
    return [stage for stage in STAGES if stage not in WITHOUT_SECTION]


def check_section(stage: str) -> Any:
    """Return the checked parameters of a stage, by the model in its script."""
    return load_params(stage, getattr(import_module(stage), f"{stage.capitalize()}Params"))


def check_sections() -> None:
    """Raise StageError if params.yaml has a section that no stage reads."""
    unknown = read_params().keys() - {"sources", "test_sets", *SHARED_SECTIONS, *sections()}
    if unknown:
        raise StageError("\n".join(f"{PARAMS_FILE}: {name}: unknown key" for name in sorted(map(str, unknown))))


def check_sources() -> None:
    """Raise StageError if a folder cannot be packed; one that DVC has yet to bring is left to DVC."""
    names: dict[Path, str] = {}
    for name, source in load_sources().items():
        path = Path(source.path)
        if (other := names.setdefault(path.resolve(), name)) != name:
            raise StageError(f"{PARAMS_FILE}: sources.{name}.path: {source.path!r}: is packed already as {other!r}")
        if path.exists() or not made_by_dvc(path):
            pack.check(name, source)


def check_test_sets() -> None:
    """Raise StageError if a test set cannot be gathered; what DVC has yet to bring is left to DVC."""
    problems: dict[str, None] = {}
    for name, entry in load_test_sets().items():
        try:
            paths = [Path(path) for path in (entry.images, entry.pairs)]
            if all(path.exists() or not made_by_dvc(path) for path in paths):
                gather.read(name, entry)
        except StageError as error:
            problems |= dict.fromkeys(str(error).splitlines())
    if problems:
        raise StageError("\n".join(problems))


def made_by_dvc(path: Path) -> bool:
    """Tell whether a path is, or lies in, what the synthesize stage or a .dvc file of this project stands for."""
    drawn = [synthesize.IMAGES] if (synthesize.IMAGES.parent / "dvc.yaml").is_file() else []
    return any(place in drawn or Path(f"{place}.dvc").is_file() for place in (path, *path.parents))


def checks() -> Iterator[Callable[[], object]]:
    """Yield the checks that do not depend on each other."""
    yield check_sections
    for section, model in SHARED_SECTIONS.items():
        yield partial(load_params, section, model)
    for stage in sections():
        yield partial(check_section, stage)
    yield lambda: split.check_copies(check_section("split"))
    yield check_sources
    yield check_test_sets
    yield lambda: mine.check_index(check_section("mine"), check_section("train").embedding_size)
    yield lambda: train.check_initial_weights(check_section("train"))
    yield lambda: train.check_choice(check_section("split").validation_size > 0, check_section("train"))


def mend_dvc_locks() -> None:
    """Remove DVC's list of locks if a DVC that was killed has left it half-written: every later one would refuse it.

    DVC truncates the file before it writes it, under the lock that is taken here.
    """
    try:
        json.loads(DVC_LOCKS.read_bytes())
    except FileNotFoundError:
        return
    except ValueError:
        with open(f"{DVC_LOCKS}.lock", "ab") as guard:
            try:
                fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # a DVC is at work, and writes it
                return
            DVC_LOCKS.unlink(missing_ok=True)
        say(f"removed {DVC_LOCKS}, which a killed DVC had left half-written")


def main() -> None:
    """Report every problem at once."""
    mend_dvc_locks()
    problems: dict[str, None] = {}  # in order, each once
    for check in checks():
        try:
            check()
        except StageError as error:
            problems |= dict.fromkeys(str(error).splitlines())
    if problems:
        raise StageError("\n".join(problems))


if __name__ == "__main__":
    run(main)
