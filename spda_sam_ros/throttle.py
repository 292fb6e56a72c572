"""Whether something may be said again: each kind of report waits for its own last one, and silences no other."""

from __future__ import annotations

import time
from collections.abc import Callable


class Throttle:
    """Asked before each report; from any thread.

    rclpy's own throttle counts by the line that logs, and all reports of this node come through one line.

    Args:
        period_s: between two reports of a kind.
        clock: monotonic seconds.
    """

    def __init__(self, period_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._period_s = period_s
        self._clock = clock
        self._said_s: dict[str, float] = {}

    def allows(self, kind: str) -> bool:
        """Whether a report of this kind may be made now; if so, it counts as made."""
        now_s = self._clock()
        if now_s - self._said_s.get(kind, float("-inf")) < self._period_s:
            return False
        self._said_s[kind] = now_s
        return True
