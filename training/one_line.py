"""Errors of commands as their users want them: one line that says what to do, and no traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from spda_sam_core.weights.files import CheckpointError


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """End the program with status 1 and one line where files, settings or data cannot be used.

    Raises:
        SystemExit: in place of the exceptions by which they are refused.
    """
    try:
        yield
    except (CheckpointError, OSError, ValueError) as error:
        raise SystemExit(f"error: {' '.join(str(error).split())}") from error
