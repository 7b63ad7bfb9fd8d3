"""Messages and progress bars on stderr."""

import sys
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any, TypeVar

from tqdm import tqdm

TERMINAL_BAR_SECONDS = 0.2  # between updates of a progress bar
LOG_BAR_SECONDS = 15  # between updates in a log file, where each is a line

Item = TypeVar("Item")


def say(message: str) -> None:
    """Write a line to stderr, above a progress bar if there is one."""
    tqdm.write(message, file=sys.stderr)


def warn(message: str) -> None:
    """Write `warning: <message>` to stderr, for a probable mistake of the user."""
    say(f"warning: {message}")


def say_left_out(name: str, figures: Sequence[str]) -> None:
    """Write one line on the figures of a set that are left out, each with its reason; nothing if there are none."""
    if figures:
        say(f"{name}: left out: {', '.join(figures)}")


def progress(items: Iterable[Item], title: str, total: int | None = None, unit: str = "it") -> Iterator[Item]:
    """Yield `items` and count them with a progress bar on stderr; a log file gets few lines."""
    total = total if total is not None or not isinstance(items, Sized) else len(items)
    with progress_bar(title, total, unit) as bar:
        for item in items:
            yield item
            bar.update()


def progress_bar(title: str, total: int | None, unit: str) -> Any:
    """Return a tqdm progress bar, a context manager; the caller advances it by `update`."""
    seconds = TERMINAL_BAR_SECONDS if sys.stderr.isatty() else LOG_BAR_SECONDS
    return tqdm(desc=title, total=total, unit=unit, mininterval=seconds, maxinterval=seconds, leave=True)
