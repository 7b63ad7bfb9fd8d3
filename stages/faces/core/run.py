"""Running a stage: its exit codes, Ctrl-C, and one stage at a time in a project."""

from faces.core.portable import warn_of_processor

import argparse
import errno
import fcntl
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NoReturn

from faces.core.errors import StageError
from faces.core.terminal import say

NOTHING_LOST = (
    "nothing half-written was left; `git checkout dvc.lock metrics data && dvc checkout --with-deps dvc.yaml` brings "
    "back the outputs of the last commit"
)
USER_ERRORS = (  # of the system, which the user can repair: a full or read-only disk, rights, a folder for a file
    errno.ENOSPC,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EDQUOT,
    errno.EEXIST,
    errno.EFBIG,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.ELOOP,
)
RESEND_SECONDS = 0.05  # until Ctrl-C is sent again if Python ignored it
_interrupted = threading.Event()  # by Ctrl-C, which TensorFlow can turn into a SystemError


def always() -> bool:
    """Return True."""
    return True


def run(main: Callable[[], None], takes_arguments: bool = False, exclusive: Callable[[], bool] = always) -> NoReturn:
    """Run a stage's `main` and exit: 0 when done, 1 with a line on stderr for an expected failure, 130 on Ctrl-C.

    Args:
        main: Does the work.
        takes_arguments: Whether `main` reads the command line. If not, there is still `--help`, the module's docstring,
            and any other argument is an error.
        exclusive: Whether to wait until no other stage works in this project. False only in a process that helps
            another one, which must not wait for it.
    """
    if not takes_arguments:
        parser = argparse.ArgumentParser(
            description=sys.modules[main.__module__].__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        parser.parse_args()
    warn_of_processor()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, as in the background
        signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that temporary files are removed on the way out
    sys.unraisablehook = _resend_interrupt
    try:
        run_and_exit(main, exclusive, NOTHING_LOST)
    except SystemExit as exit_:
        sys.stderr.flush()
        if exit_.code:
            os._exit(int(exit_.code))  # HDF5 crashes at the usual exit if it could not write a file
        raise


def _interrupt(*_: Any) -> NoReturn:
    _interrupted.set()
    raise KeyboardInterrupt


def _resend_interrupt(ignored: Any) -> None:
    """Send Ctrl-C again if it came where Python ignores exceptions, such as in `__del__`."""
    if isinstance(ignored.exc_value, KeyboardInterrupt):
        timer = threading.Timer(RESEND_SECONDS, os.kill, (os.getpid(), signal.SIGINT))
        timer.daemon = True
        timer.start()
    else:
        sys.__unraisablehook__(ignored)


def run_and_exit(main: Callable[[], None], exclusive: Callable[[], bool] = always, advice: str = "") -> NoReturn:
    """Call `main` and raise SystemExit with the code that `run` describes; errors of the program pass through.

    `advice` ends the message of an interruption, and of an error of the system.
    """
    try:
        with project_lock() if exclusive() else nullcontext():
            main()
    except StageError as error:
        _fail(str(error), 1)
    except KeyboardInterrupt:
        _fail_interrupted(advice)
    except OSError as error:
        if error.errno not in USER_ERRORS:
            raise
        _fail("; ".join(filter(None, [f"{error.filename or 'output'}: {error.strerror}", advice])), 1)
    except Exception:
        if not _interrupted.is_set():
            raise
        _fail_interrupted(advice)
    sys.exit(0)


@contextmanager
def project_lock() -> Iterator[None]:
    """Wait until no other stage works in this project: one may have outlived a `dvc` that was killed.

    The lock is on the folder itself, since editors replace files. It ends with the process, however that ends, so no
    lock is ever left behind.
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


def _fail_interrupted(advice: str) -> NoReturn:
    _fail("; ".join(filter(None, ["interrupted", advice])), 130)


def _fail(message: str, code: int) -> NoReturn:
    for line in message.splitlines():
        say(f"error: {line}")
    sys.exit(code)
