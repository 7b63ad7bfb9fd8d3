"""Silencing native libraries: they write to file descriptor 2, past sys.stderr."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_stderr() -> Iterator[list[str]]:
    """Hold back what native code writes to stderr; print it if the block raises.

    The list that it yields has the lines that were held back, once the block has ended.
    """
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        lines: list[str] = []
        try:
            yield lines
            held.seek(0)
            lines += held.read().decode("utf-8", "replace").splitlines()
        except BaseException:
            held.seek(0)
            os.write(original, held.read())
            raise
        finally:
            os.dup2(original, 2)
            os.close(original)
