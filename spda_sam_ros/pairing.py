"""Which depth belongs to which image: pairing by stamp, without queueing images and without stalling."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from statistics import median
from typing import Any

from spda_sam_core.messages.fields import stamp_to_ns

STREAM_TIMEOUT_S = 2.0
"""Without depth for this long nothing waits for depth."""

MAXIMUM_LAG_S = 1.0
"""Depth which lags further behind than this is not worth waiting for: the clocks differ, or it stopped."""

LARGEST_OWN_SLOP_S = 0.1
"""Unless the user says otherwise: at 1 Hz half a period would pair what a robot saw half a second before."""

_FIRST_SLOP_S = 0.02
_CAPACITY = 8


class NoDepth(Exception):
    """An image has no usable depth of a sensor.

    Attributes:
        reason: `absent` (no stream), `unpaired` (no depth of this moment), `refused` (of another size, frame
            or encoding) or `empty` (no valid pixel).
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class PairingClosed(Exception):
    """Nobody waits for the depth of this image any more.

    Attributes:
        reason: `inactive`.
    """

    reason = "inactive"


@dataclass(frozen=True)
class PairedDepth:
    """A depth message and how far its stamp lies after that of the image, in seconds."""

    message: Any
    skew_s: float


class DepthPairing:
    """Keeps the newest few depth messages, undecoded, and finds the one of an image's moment.

    `add_depth` and `add_image` are called where messages arrive, `find` in the thread which segments.

    Args:
        changed: called when depth came or it is closed: what `find` waits for may be there.
        clock: monotonic seconds.
    """

    def __init__(self, changed: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._tell = changed
        self._clock = clock
        self._lock = threading.Lock()
        self._depths: deque[tuple[int, Any]] = deque(maxlen=_CAPACITY)
        self._depth_arrived_s = float("-inf")
        self._image_stamp_ns: int | None = None
        self._image_periods_ns: deque[int] = deque(maxlen=15)
        self._closed = False

    def close(self) -> None:
        """End the wait for depth, of whoever waits or comes later."""
        with self._lock:
            self._closed = True
        self._tell()

    def add_depth(self, message: Any) -> bool:
        """Keep a depth message (any with a header). Returns whether time ran backwards, as when a bag starts again."""
        stamp_ns = stamp_to_ns(message.header.stamp)
        with self._lock:
            behind_ns = self._depths[-1][0] - stamp_ns if self._depths else 0
            backwards = behind_ns > MAXIMUM_LAG_S * 1e9
            if backwards:
                self._depths.clear()
            # one that comes late, after a newer one, is put where it belongs
            place = bisect_right([kept_ns for kept_ns, _ in self._depths], stamp_ns)
            kept = list(self._depths)
            kept.insert(place, (stamp_ns, message))
            self._depths = deque(kept[-_CAPACITY:], maxlen=_CAPACITY)
            self._depth_arrived_s = self._clock()
        self._tell()
        return backwards

    def add_image(self, stamp_ns: int) -> bool:
        """Note that an image came. Returns whether its stamp ran backwards, as when a bag starts again."""
        with self._lock:
            previous, self._image_stamp_ns = self._image_stamp_ns, stamp_ns
            if previous is None or stamp_ns == previous:
                return False
            if stamp_ns > previous:
                self._image_periods_ns.append(stamp_ns - previous)
                return False
            self._image_periods_ns.clear()
            # depth of the earlier run; that of the new one may have come before its first image
            horizon_ns = stamp_ns + round(MAXIMUM_LAG_S * 1e9)
            kept = [entry for entry in self._depths if entry[0] <= horizon_ns]
            self._depths = deque(kept, maxlen=_CAPACITY)
            return True

    def find(self, stamp_ns: int, *, slop_s: float, deadline_s: float) -> Generator[float, None, PairedDepth]:
        """Find the depth nearest to an image's stamp, and wait for it where it may still come.

        Of depths equally near, as where all stamps are 0, it is the one that came last.

        Args:
            stamp_ns: stamp of the image.
            slop_s: largest difference; 0 is half the period of the images seen so far, at most `LARGEST_OWN_SLOP_S`.
            deadline_s: monotonic time until which to wait at most.

        Yields:
            Seconds for which to wait, or until `changed` is called.

        Returns:
            The depth.

        Raises:
            NoDepth: `absent` or `unpaired`.
            PairingClosed: after `close`.
        """
        with self._lock:
            slop_ns = round(slop_s * 1e9) or self._half_image_period_ns()
        while True:
            found = self._nearest(stamp_ns, slop_ns, deadline_s)
            if isinstance(found, PairedDepth):
                return found
            yield found

    def _nearest(self, stamp_ns: int, slop_ns: int, deadline_s: float) -> PairedDepth | float:
        """The depth, or the seconds for which it may be waited for."""
        with self._lock:
            if self._closed:
                raise PairingClosed
            now_s = self._clock()
            if not self._depths or now_s - self._depth_arrived_s > STREAM_TIMEOUT_S:
                raise NoDepth("absent", f"no depth arrived in the last {STREAM_TIMEOUT_S:g} s")
            # of those equally near, the one that came last
            nearest_ns, message = min(reversed(self._depths), key=lambda entry: abs(entry[0] - stamp_ns))
            if abs(nearest_ns - stamp_ns) <= slop_ns:
                return PairedDepth(message, (nearest_ns - stamp_ns) / 1e9)
            behind_ns = stamp_ns - self._depths[-1][0]
            may_come = 0 < behind_ns < MAXIMUM_LAG_S * 1e9
            if not may_come or now_s >= deadline_s:
                raise NoDepth(
                    "unpaired",
                    f"the nearest depth is {(nearest_ns - stamp_ns) / 1e9:+.3f} s from the image, beyond "
                    f"{slop_ns / 1e9:.3f} s: check that both stamps are of one clock, or raise "
                    "depth_slop_s or depth_wait_s",
                )
            return deadline_s - now_s

    def _half_image_period_ns(self) -> int:
        if not self._image_periods_ns:
            return round(_FIRST_SLOP_S * 1e9)
        return min(round(median(self._image_periods_ns) / 2), round(LARGEST_OWN_SLOP_S * 1e9))
