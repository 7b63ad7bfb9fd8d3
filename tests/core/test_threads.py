import time
from concurrent.futures import ThreadPoolExecutor

from faces.core.threads import in_order


def test_results_come_in_order_and_not_far_ahead() -> None:
    started = []

    def slow_for_the_first(item: int) -> int:
        started.append(item)
        time.sleep(0.05 if item == 0 else 0)
        return item * item

    with ThreadPoolExecutor(3) as pool:
        results = in_order(pool, slow_for_the_first, range(10), ahead=3)
        assert next(results) == 0
        assert sorted(started) == [0, 1, 2]
        assert list(results) == [item * item for item in range(1, 10)]
