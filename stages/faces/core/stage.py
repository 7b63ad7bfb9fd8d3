"""What every stage does around its work: read and check its parameters, fail in one clear line, show progress."""

import argparse
import errno
import fcntl
import math
import os
import re
import reprlib
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
from tqdm import tqdm

PARAMS_FILE = Path("params.yaml")
LARGEST = 2**32  # of any number in it: what is larger is a slip, and some would take all memory or all time
MOST_DIGITS = 100
NOTHING_LOST = "nothing half-written was left, and `git checkout metrics && dvc checkout` brings back what was there"
NOT_A_FILE = (errno.EISDIR, errno.ENOTDIR, errno.ELOOP)
QUICK_BAR_SECONDS = 0.2  # on a terminal
AGAIN_SECONDS = 0.05
SLOW_BAR_SECONDS = 15  # in a log file, where every update is a line

Item = TypeVar("Item")


class StageError(Exception):
    """A failure that its user can mend; the message names the file, key or value. Ends a stage with exit code 1."""


class Params(BaseModel):
    """Base of a stage's parameters: no unknown keys, no silent conversions, no NaN or infinity."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _not_absurd(cls, value: object) -> object:
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, int | float) and math.isfinite(number) and abs(number) > LARGEST:
                raise ValueError(f"Input should be {LARGEST} at most")
        return value


AnyParams = TypeVar("AnyParams", bound=BaseModel)


class _Yaml12Loader(yaml.SafeLoader):
    """PyYAML reads YAML 1.1, DVC reads and writes 1.2: there 1e-4 is a number, 010 is ten, and `no` is a word."""

    yaml_implicit_resolvers: dict[str, Any] = {}


# The core schema, https://yaml.org/spec/1.2.2/#103-core-schema
for _tag, _pattern in (
    ("null", "null|Null|NULL|~|"),
    ("bool", "true|True|TRUE|false|False|FALSE"),
    ("int", "[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"),
    ("merge", "<<"),
):
    _Yaml12Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^({_pattern})$"), None)


def _construct_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    digits = loader.construct_scalar(node)
    if len(digits) > MOST_DIGITS:
        raise yaml.constructor.ConstructorError(None, None, f"a number of {len(digits)} digits", node.start_mark)
    return int(digits, 0 if digits.startswith(("0o", "0x")) else 10)


def _construct_mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> Iterator[dict[Any, Any]]:
    keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
    for number, key in enumerate(keys):
        if key in keys[:number]:  # PyYAML would take the last in silence, DVC refuses the file
            raise yaml.constructor.ConstructorError(None, None, f"key {key!r} comes twice", node.start_mark)
    yield from loader.construct_yaml_map(node)


_Yaml12Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)
_Yaml12Loader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)


def read_params(path: Path = PARAMS_FILE) -> dict[str, Any]:
    """Return the whole of a parameter file as a dictionary; StageError if it is missing or not one."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise StageError(f"{path} is missing; run from the root of the project") from None
    return parse_params(content, str(path))


def parse_params(content: bytes, where: str) -> dict[str, Any]:
    """Return the content of a parameter file as a dictionary; StageError, which begins with `where`, if it is none."""
    try:
        sections = yaml.load(content.decode("utf-8"), Loader=_Yaml12Loader)  # a SafeLoader: builds plain values only
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StageError(f"{where} is not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise StageError(f"{where} is nested too deeply") from None
    if not isinstance(sections, dict):
        raise StageError(f"{where} must hold sections (`split:`, `train:`, …), found {type(sections).__name__}")
    return sections


def load_params(section: str, model: type[AnyParams], path: Path = PARAMS_FILE) -> AnyParams:
    """Return one section of the parameter file, checked; StageError names every key that is wrong."""
    content = read_params(path)
    if section not in content:
        raise StageError(f"{path}: the section `{section}:` is missing")
    return check_params(content[section], model, f"{path}: {section}")


def check_params(values: object, model: type[AnyParams], where: str) -> AnyParams:
    """Return `values` as `model`; StageError has a line `where.key: value: what is allowed` for each problem."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise StageError("\n".join(_problem(where, detail) for detail in error.errors())) from None


_short = reprlib.Repr()  # a value may be a megabyte, or by its aliases a billion of them
_short.maxlevel, _short.maxstring, _short.maxother = 2, 200, 200


def _problem(where: str, detail: Any) -> str:
    key = ".".join([where, *map(str, detail["loc"])])
    allowed = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        return f"{key}: unknown key"
    if detail["type"] == "missing":
        return f"{key}: missing"
    value = f"{_short.repr(detail['input'])}: " if detail["loc"] else ""  # else it is the whole section
    return f"{key}: {value}{allowed[0].lower()}{allowed[1:]}"


def run(main: Callable[[], None], takes_arguments: bool = False, alone: Callable[[], bool] = lambda: True) -> NoReturn:
    """Run a stage's `main` and exit: 0 when done, 1 with a line on stderr for an expected failure, 130 on Ctrl-C.

    A stage that takes no arguments of its own still has `--help`, its module's docstring, and refuses others. It waits
    for other stages of the project to end if it is to be `alone`; a process that helps another one is not.
    """
    if not takes_arguments:
        parser = argparse.ArgumentParser(
            description=sys.modules[main.__module__].__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that temporary files are removed on the way out
    sys.unraisablehook = _interrupt_again
    try:
        _finish(main, alone)
    except SystemExit as exit_:
        sys.stderr.flush()
        if exit_.code:
            os._exit(int(exit_.code))  # HDF5 crashes at the usual exit if it could not write a file
        raise


def _interrupt_again(ignored: Any) -> None:
    """Send Ctrl-C again if it came where Python ignores exceptions, as while it deletes an object."""
    if isinstance(ignored.exc_value, KeyboardInterrupt):
        timer = threading.Timer(AGAIN_SECONDS, os.kill, (os.getpid(), signal.SIGINT))
        timer.daemon = True
        timer.start()
    else:
        sys.__unraisablehook__(ignored)


def _finish(main: Callable[[], None], alone: Callable[[], bool] = lambda: True) -> NoReturn:
    try:
        with _alone() if alone() else nullcontext():
            main()
    except StageError as error:
        _fail(str(error), 1)
    except KeyboardInterrupt:
        _fail(f"interrupted; {NOTHING_LOST}", 130)
    except OSError as error:
        if error.errno not in (
            errno.ENOSPC,
            errno.EROFS,
            errno.EACCES,
            errno.EPERM,
            errno.EDQUOT,
            errno.EFBIG,
            *NOT_A_FILE,
        ):
            raise
        _fail(f"{error.filename or 'output'}: {error.strerror}; {NOTHING_LOST}", 1)
    sys.exit(0)


@contextmanager
def _alone() -> Iterator[None]:
    """Wait until no other stage works in this project: one may have outlived a `dvc` that was killed.

    The lock is on the folder itself, which no editor replaces as it may a file, and ends with the process, however that
    ends: none is ever left behind.
    """
    folder = os.open(".", os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("another stage is still at work in this project; waiting for it to end")
        fcntl.flock(folder, fcntl.LOCK_EX)
    except OSError:  # some network file systems have no locks
        pass
    try:
        yield
    finally:
        os.close(folder)


def _fail(message: str, code: int) -> NoReturn:
    for line in message.splitlines():
        say(f"error: {line}")
    sys.exit(code)


def say(message: str) -> None:
    """Tell the person at the terminal what the stage is doing."""
    tqdm.write(message, file=sys.stderr)  # which moves a progress bar out of the way


def warn(message: str) -> None:
    """Tell the person at the terminal of something that is probably not what they want."""
    say(f"warning: {message}")


def progress(items: Iterable[Item], title: str, total: int | None = None, unit: str = "it") -> Iterator[Item]:
    """Yield `items` behind a progress bar on stderr, which keeps to few lines when stderr is a file."""
    total = total if total is not None or not isinstance(items, Sized) else len(items)
    with progress_bar(title, total, unit) as bar:
        for item in items:
            yield item
            bar.update()


def progress_bar(title: str, total: int | None, unit: str) -> Any:
    """Return the same bar, to be moved by its `update`; a context manager."""
    seconds = QUICK_BAR_SECONDS if sys.stderr.isatty() else SLOW_BAR_SECONDS
    return tqdm(desc=title, total=total, unit=unit, mininterval=seconds, maxinterval=seconds, leave=True)
