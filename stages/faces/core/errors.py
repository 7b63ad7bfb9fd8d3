"""The error for failures that the user can repair."""

from collections.abc import Iterator
from contextlib import contextmanager


class StageError(Exception):
    """Ends a stage with exit code 1 and its message, which names the file, key or value."""


@contextmanager
def errors_named(where: str) -> Iterator[None]:
    """Put `where` before each line of a StageError from the block."""
    try:
        yield
    except StageError as error:
        raise StageError("\n".join(f"{where}: {line}" for line in str(error).splitlines())) from None
