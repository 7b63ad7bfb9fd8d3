"""Look for errors in params.yaml, the sources and the test sets, as the stage `check` does.

It finds all errors that can be known before a stage runs, at once, while every output is in place. It also mends what a
DVC that failed or was killed can leave behind: a damaged lock file, which would stop every stage, and changes that Git
does not notice.

Exit code: 0 if there are no errors, and a line says so; otherwise 1, with an `error:` line for each problem.
"""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil

from faces.commands.arguments import parser
from faces.core.errors import StageError
from faces.core.params import PARAMS_FILE, Params, load_params, read_params
from faces.core.pipeline import ROOT, STAGES
from faces.core.terminal import say, warn
from faces.core.threads import RuntimeParams
from faces.evaluation.metrics import MetricsParams
from faces.external.gathering import check_set
from faces.images.decoding import DecodingParams
from faces.images.detection import PhotosParams
from faces.images.listing import check_source
from faces.reporting.experiments import git
from faces.tables.external_sets import load_test_sets
from faces.tables.sources import SYNTHETIC, load_sources
from faces.tables.splitting import check_validation_sources
from faces.training.augmentation import AugmentParams

SHARED_SECTIONS: dict[str, type[Params]] = {
    "augment": AugmentParams,
    "decoding": DecodingParams,
    "metrics": MetricsParams,
    "photos": PhotosParams,
    "runtime": RuntimeParams,
}
WITHOUT_SECTION = {"check", "gather", "embed_test"}  # stages that have no section of their own in params.yaml
QUEUES = (".dvc", "tmp", "exps")  # folders in which DVC runs queued experiments, each in a copy of the project
DVC_LOCKS = Path(".dvc/tmp/rwlock")  # which of its processes works on what


def sections() -> list[str]:
    """Return the stages that have a section of their own in params.yaml."""
    return [stage for stage in STAGES if stage not in WITHOUT_SECTION]


def script(stage: str) -> Any:
    """Return a stage's script as a module. Only this command imports scripts: their models check the parameters."""
    if sys.path[0] != (folder := str(ROOT / "stages")):  # else a package named like a stage, as `identify`, comes first
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
    sources, names = load_sources(), dict[Path, str]()

    def check(name: str) -> None:
        source = sources[name]
        if (other := names.setdefault(Path(source.path).resolve(), name)) != name:
            key = f"sources.{name}.path"
            raise StageError(f"{PARAMS_FILE}: {key}: {source.path!r}: the source {other!r} has the same folder")
        if not left_to_dvc(Path(source.path)):
            check_source(name, source)
            warn_if_git_would_add(f"sources.{name}.path", source.path)

    raise_all(partial(check, name) for name in sources)


def warn_if_git_would_add(key: str, path: str) -> None:
    """Warn if `git add --all` would add a folder of faces to the repository."""
    if ignored_by_git(path) is False:
        warn(
            f"{PARAMS_FILE}: {key}: {path!r} lies in the project and Git does not ignore it: `git add --all` would "
            f"commit the faces. Move it out of the project, or let DVC keep it: `dvc add {path}`"
        )


def check_test_sets() -> None:
    """Raise StageError if a test set cannot be gathered; what DVC has yet to bring is left to DVC."""
    sets = load_test_sets()

    def check(name: str) -> None:
        if not any(left_to_dvc(Path(path)) for path in (sets[name].images, sets[name].pairs)):
            check_set(name, sets[name])
            warn_if_git_would_add(f"test_sets.{name}.images", sets[name].images)

    raise_all(partial(check, name) for name in sets)


def raise_all(checks: Iterable[Callable[[], object]]) -> None:
    """Make all checks; raise one StageError with every problem that they found, a line each."""
    problems: dict[str, None] = {}  # in order, each once
    for check in checks:
        try:
            check()
        except StageError as error:
            problems |= dict.fromkeys(str(error).splitlines())
    if problems:
        raise StageError("\n".join(problems))


def check_weights() -> None:
    """Raise StageError if training cannot start from its initial weights, or its teacher cannot teach."""
    params = check_section("train")
    if not left_to_dvc(Path(params.initial_weights)):
        script("train").check_initial_weights(params)
    if not left_to_dvc(Path(params.teacher)):
        script("train").check_teacher(params)


def check_epoch_choice() -> None:
    """Raise StageError if training is to choose an epoch, and the split sets no images aside for that."""
    split = check_section("split")
    script("train").check_choice(split.validation_subjects > 0 or split.validation_size > 0, check_section("train"))


def check_people_set_aside() -> None:
    """Raise StageError if people are to be set aside from a source that is none."""
    check_validation_sources(check_section("split").validation_sources, load_sources().keys())


def named_paths() -> Iterator[tuple[str, str]]:
    """Yield key and value of each path in params.yaml that a queued experiment needs."""
    for name, source in load_sources().items():
        yield f"sources.{name}.path", source.path
    for name, entry in load_test_sets().items():
        yield f"test_sets.{name}.images", entry.images
        yield f"test_sets.{name}.pairs", entry.pairs
    with suppress(StageError):  # of the section, which a check of its own names
        yield "train.initial_weights", check_section("train").initial_weights
        yield "train.teacher", check_section("train").teacher


def check_queues() -> None:
    """Warn of each path that a queued experiment will not find; in such an experiment, raise StageError."""
    problems = []
    for key, path in named_paths():
        if os.path.isabs(path) or made_by_dvc(Path(path)):
            continue
        outside = os.path.normpath(path).startswith(os.pardir)
        if outside or ignored_by_git(path):
            why = "lies outside the project" if outside else "is ignored by Git and not kept by DVC"
            problems.append(
                f"{PARAMS_FILE}: {key}: {path!r}: {why}; a queued experiment runs in a copy of the project and does "
                f"not find it: write its absolute path{'' if outside else f', or `dvc add {path}`'}"
            )
    if problems and in_queue():
        raise StageError("\n".join(problems))
    for problem in problems:
        warn(problem)


def in_queue() -> bool:
    """Tell whether the current folder is a copy of the project that DVC made for a queued experiment."""
    parts = Path.cwd().parts
    return any(parts[start : start + len(QUEUES)] == QUEUES for start in range(len(parts)))


def ignored_by_git(path: str) -> bool | None:
    """Tell whether Git ignores a path; None if it lies outside the repository, or there is no Git or repository."""
    try:
        code = subprocess.run(["git", "check-ignore", "--quiet", "--", path], stderr=subprocess.DEVNULL).returncode
    except OSError:
        return None
    return {0: True, 1: False}.get(code)


def left_to_dvc(path: Path) -> bool:
    """Tell whether a path is missing and DVC makes it, fetches it, or was told to go without it."""
    return not path.exists() and (made_by_dvc(path) or dvc_allows_missing())


@cache
def dvc_allows_missing() -> bool:
    """Tell whether this process was started by `dvc repro --allow-missing` or the like.

    Whoever lacks the raw images calls DVC so, and a stage is not told with which options DVC was called.
    """
    try:
        return any("--allow-missing" in process.cmdline() for process in psutil.Process().parents())
    except psutil.Error:  # a process ended meanwhile, or is somebody else's
        return False


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
    yield check_people_set_aside
    yield check_sources
    yield check_test_sets
    yield check_queues
    yield lambda: script("mine").check_index(check_section("mine"), check_section("train").embedding_size)
    yield check_weights
    yield check_epoch_choice


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
            with suppress(FileNotFoundError, ValueError):
                json.loads(DVC_LOCKS.read_bytes())
                return  # that DVC has finished it since
            DVC_LOCKS.unlink(missing_ok=True)
        say(f"removed {DVC_LOCKS}, which a killed DVC had left half-written")


def show_git_what_dvc_wrote() -> None:
    """Give the files that Git keeps and DVC writes a new time, so that Git compares their content.

    DVC can leave a file as it was in another experiment together with an index of Git by which it is unchanged: then
    neither `git add` nor `git checkout` would take notice of it.
    """
    with suppress(StageError):  # without Git, there is nothing to show
        for name in git("ls-files", "-z", "--", str(PARAMS_FILE), "dvc.lock", "metrics", "data").split("\0"):
            with suppress(OSError):  # it is not there
                os.utime(name)


def check_project() -> None:
    """Raise StageError with every problem, a line each."""
    raise_all(checks())


def main(arguments: Sequence[str]) -> int:
    """Check the project in the current folder."""
    parser("check", __doc__).parse_args(arguments)
    mend_dvc_locks()
    show_git_what_dvc_wrote()
    check_project()
    say("params.yaml, sources and test sets: no errors found")
    return 0
