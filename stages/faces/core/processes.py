"""A pool of worker processes for work that needs all cores."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import TypeVar

from faces.core.errors import StageError

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int, key: str
) -> Iterator[Result]:
    """Yield `function(item)` in the order of `items`, computed by `workers` processes; one worker is this process.

    `function`, items and results must be picklable. Only this process handles Ctrl-C, and the workers end when it does,
    even if it is killed.

    Raises:
        StageError: a worker was killed; the message names `key`, the parameter that sets the number of workers.
    """
    if workers == 1:
        yield from map(function, items)
        return
    # Spawned, not forked: a fork copies locks that other threads hold.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_initialise_worker)
    try:
        with _ctrl_c_ignored():  # workers inherit it while they start
            results = pool.map(function, items)
        yield from results
    except BrokenProcessPool:
        raise StageError(f"a worker process was killed, probably for lack of memory; {key}: {workers}") from None
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _ctrl_c_ignored() -> Iterator[None]:
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _initialise_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with, args=[multiprocessing.parent_process()], daemon=True).start()


def _exit_with(parent: BaseProcess) -> None:
    """Wait for the parent to end, then exit: a parent that is killed cannot end its workers."""
    parent.join()
    os._exit(1)
