"""Numbers of threads: one a core where the result does not depend on it, else a fixed number."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager
from typing import TypeVar

from pydantic import Field
from threadpoolctl import threadpool_limits

from faces.core.params import Params, load_params

Item = TypeVar("Item")
Result = TypeVar("Result")


class RuntimeParams(Params):
    """The section `runtime:` of params.yaml: settings of all stages."""

    threads: int = Field(ge=1, le=1024)
    portable: bool


def load_runtime() -> RuntimeParams:
    """Return the section `runtime:`."""
    return load_params("runtime", RuntimeParams)


def load_threads() -> int:
    """Return `runtime.threads`: the threads of TensorFlow, NumPy and FAISS; their number changes how sums round."""
    return load_runtime().threads


def available_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux; it shows a container's set of cores, but not its quota of CPU time
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def fixed_threads(threads: int) -> AbstractContextManager[object]:
    """Return a context in which NumPy, scikit-learn and FAISS use `threads` threads, whatever the number of cores.

    They split sums by the number of threads, so another number rounds differently. Import these libraries first.
    """
    return threadpool_limits(threads)


def in_order(pool: Executor, function: Callable[[Item], Result], items: Iterable[Item], ahead: int) -> Iterator[Result]:
    """Yield `function(item)` in the order of `items`; the pool computes at most `ahead` results in advance."""
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) == ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
