"""Which depth belongs to which picture: the one whose stamp is nearest, among those recorded at about the same time."""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from statistics import median
from typing import Any

LAG_NS = 1_000_000_000
"""Depth that was recorded later than its picture by more than this is not waited for."""
_LARGEST_SLOP_NS = 100_000_000
_FIRST_SLOP_NS = 20_000_000
"""Where the rate of depth is not known, because there is one in a second."""


class DepthsAtHand:
    """Depth messages of the last moments, in the order in which they were recorded."""

    def __init__(self) -> None:
        self._depths: deque[tuple[int, int, Any]] = deque()

    def add(self, stamp_ns: int, logged_ns: int, message: Any) -> None:
        """Keep one more."""
        self._depths.append((stamp_ns, logged_ns, message))

    def forget(self, before_logged_ns: int) -> None:
        """Drop what was recorded before that by more than `LAG_NS`."""
        while self._depths and self._depths[0][1] < before_logged_ns - LAG_NS:
            self._depths.popleft()

    def settled(self, stamp_ns: int) -> bool:
        """Whether no nearer depth is to come, as stamps rise."""
        return len(self._depths) > 1 and max(d[0] for d in self._depths) >= stamp_ns + self._slop_ns()

    def nearest(self, stamp_ns: int) -> Any | None:
        """The depth for a picture; None where none is within half a period of depth, and within 0.1 s."""
        if not self._depths:
            return None
        stamp, _, message = min(self._depths, key=lambda depth: abs(depth[0] - stamp_ns))
        return message if abs(stamp - stamp_ns) <= self._slop_ns() else None

    def _slop_ns(self) -> float:
        stamps = sorted(depth[0] for depth in self._depths)
        periods = [b - a for a, b in pairwise(stamps) if b > a]
        return min(median(periods) / 2, _LARGEST_SLOP_NS) if periods else _FIRST_SLOP_NS
