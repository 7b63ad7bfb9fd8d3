"""Look for errors in params.yaml, the sources and the test sets; `make repro` does so before DVC starts.

DVC clears a stage's outputs before the stage can look at its parameters. This command finds all
errors that can be known beforehand, at once, while every output is still in place.

Exit code: 0 nothing is wrong; 1 something is, an `error:` line for each problem.
"""

import fcntl
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from faces.commands.arguments import parser
from faces.core.errors import StageError
from faces.core.params import PARAMS_FILE, Params, load_params, read_params
from faces.core.pipeline import ROOT, STAGES
from faces.core.terminal import say
from faces.core.threads import RuntimeParams
from faces.evaluation.metrics import MetricsParams
from faces.external.gathering import check_set
from faces.images.decoding import DecodingParams
from faces.images.detection import PhotosParams
from faces.images.listing import check_source
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
SYNTHETIC = Path("data/synthetic")
DVC_LOCKS = Path(".dvc/tmp/rwlock")  # which of its processes works on what


def sections() -> list[str]:
    """Return the stages that have a section of their own in params.yaml."""
    return [stage for stage in STAGES if stage not in WITHOUT_SECTION]


def script(stage: str) -> Any:
    """Return a stage's script as a module. Only this command imports scripts: their models check the parameters."""
    if (folder := str(ROOT / "stages")) not in sys.path:
        sys.path.insert(0, folder)
    return import_module(stage)


def check_section(stage: str) -> Any:
    """Return the checked parameters of a stage, by the model in its script."""
    return load_params(stage, getattr(script(stage), f"{stage.capitalize()}Params"))


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
            check_source(name, source)


def check_test_sets() -> None:
    """Raise StageError if a test set cannot be gathered; what DVC has yet to bring is left to DVC."""
    problems: dict[str, None] = {}
    for name, entry in load_test_sets().items():
        try:
            paths = [Path(path) for path in (entry.images, entry.pairs)]
            if all(path.exists() or not made_by_dvc(path) for path in paths):
                check_set(name, entry)
        except StageError as error:
            problems |= dict.fromkeys(str(error).splitlines())
    if problems:
        raise StageError("\n".join(problems))


def made_by_dvc(path: Path) -> bool:
    """Tell whether DVC makes or fetches a path: the `synthesize` stage, or a .dvc file of it or of a folder above."""
    drawn = [SYNTHETIC / "images"] if (SYNTHETIC / "dvc.yaml").is_file() else []
    return any(place in drawn or Path(f"{place}.dvc").is_file() for place in (path, *path.parents))


def checks() -> Iterator[Callable[[], object]]:
    """Yield the checks that do not depend on each other."""
    yield check_sections
    for section, model in SHARED_SECTIONS.items():
        yield partial(load_params, section, model)
    for stage in sections():
        yield partial(check_section, stage)
    yield lambda: script("split").check_copies(check_section("split"))
    yield check_sources
    yield check_test_sets
    yield lambda: script("mine").check_index(check_section("mine"), check_section("train").embedding_size)
    yield lambda: script("train").check_initial_weights(check_section("train"))
    yield lambda: script("train").check_choice(check_section("split").validation_size > 0, check_section("train"))


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


def check_project() -> None:
    """Raise StageError with every problem, a line each."""
    mend_dvc_locks()
    problems: dict[str, None] = {}  # in order, each once
    for check in checks():
        try:
            check()
        except StageError as error:
            problems |= dict.fromkeys(str(error).splitlines())
    if problems:
        raise StageError("\n".join(problems))


def main(arguments: Sequence[str]) -> int:
    """Check the project in the current folder."""
    parser("check", __doc__).parse_args(arguments)
    check_project()
    return 0
