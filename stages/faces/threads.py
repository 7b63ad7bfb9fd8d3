"""How many threads work: as many as there are cores where the result does not depend on it, else a fixed number."""

import os
from contextlib import AbstractContextManager

from threadpoolctl import threadpool_limits


def available_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux; smaller than the machine in a container
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def fixed_threads(threads: int) -> AbstractContextManager[object]:
    """Return a context in which NumPy, scikit-learn and FAISS use `threads` threads, on however many cores.

    They split sums by the number of threads, so another number rounds otherwise. Import those libraries before.
    """
    return threadpool_limits(threads)
