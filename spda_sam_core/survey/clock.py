"""Time as people read it."""

from __future__ import annotations


def clock(stamp_ns: int) -> str:
    """Time code: hours, minutes, seconds and tenths from the first frame."""
    tenths = round(stamp_ns / 1e8)
    return f"{tenths // 36000}:{tenths // 600 % 60:02d}:{tenths // 10 % 60:02d}.{tenths % 10}"
