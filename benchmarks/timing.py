"""Time several ways of doing the same work in turn, so that a machine that slows down slows all of them."""

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import NamedTuple


class Ratio(NamedTuple):
    """How many times as fast as another way, by the median over rounds, and the least and most of any round."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        """Return it as the tables show it."""
        return f"{self.median:.3g} ({self.least:.3g} to {self.most:.3g})"


def alternate(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Run every way once to warm up, then all of them in turn, `rounds` times; return the seconds of each."""
    for way in ways.values():
        way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - began)
    return seconds


def ratio(of: list[float], to: list[float], work_of: float = 1, work_to: float = 1) -> Ratio:
    """Return how many times as fast `of` is as `to`, round by round, when they did so much of the same work."""
    ratios = [(work_of / one) / (work_to / other) for one, other in zip(of, to, strict=True)]
    return Ratio(median(ratios), min(ratios), max(ratios))


def table(title: str, unit: str, seconds: dict[str, list[float]], work: dict[str, float], ours: str) -> None:
    """Print a Markdown table: the pace of each way, and how many times as fast ours is.

    Args:
        title: what is timed.
        unit: of the pace, as "images/s".
        seconds: as `alternate` returns them.
        work: how many units a call of each way does.
        ours: the way of this project.
    """
    print(f"\n{title}\n\n| way | {unit} | ours is faster by |\n|---|---|---|")
    for name, times in seconds.items():
        faster = "" if name == ours else str(ratio(seconds[ours], times, work[ours], work[name]))
        print(f"| {name} | {work[name] / median(times):.3g} | {faster} |", flush=True)
