import os
import signal

import pytest

from faces.core.errors import StageError
from faces.core.processes import map_in_processes


def kill_itself_at_two(number: int) -> int:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return -number


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_items(workers: int) -> None:
    handler = signal.getsignal(signal.SIGINT)
    assert list(map_in_processes(abs, range(-9, 9), workers, "stage.workers")) == [abs(n) for n in range(-9, 9)]
    assert signal.getsignal(signal.SIGINT) == handler


def test_a_killed_worker_is_an_error_that_names_the_parameter() -> None:
    with pytest.raises(StageError, match="stage.workers: 2"):
        list(map_in_processes(kill_itself_at_two, range(4), 2, "stage.workers"))


def test_an_error_in_a_worker_is_raised_here() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        list(map_in_processes(int, ["1", "x"], 2, "stage.workers"))
