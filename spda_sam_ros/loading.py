"""Long work in a thread, for a caller who must hear signals meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

T = TypeVar("T")

_TURN_S = 0.05


class Interrupted(Exception):
    """The process is to end; the work was left alone."""


def run_interruptibly(work: Callable[[], T], *, stopping: Callable[[], bool], each_second: Callable[[], None]) -> T:
    """Do work in a daemon thread and wait for it.

    Python runs signal handlers between two steps of the main thread, which a call into a library is not.

    Args:
        work: what to do; its thread is abandoned where it is not done in time.
        stopping: tells whether the process is to end; asked many times a second.
        each_second: called meanwhile, by the caller's thread.

    Returns:
        What the work returned. What it raised is raised.

    Raises:
        Interrupted: `stopping` came before the end.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="loading", daemon=True).start()
    called_s = time.monotonic()
    while not wait([future], timeout=_TURN_S).done:
        if stopping():
            raise Interrupted("the process is to end")
        if time.monotonic() - called_s >= 1.0:
            called_s = time.monotonic()
            each_second()
    return future.result()
