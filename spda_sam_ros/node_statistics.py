"""What the node counts: frames, drops by reason, latencies, depth. Thread-safe, no ROS."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

RECENT_S = 5.0
"""Rates are means over this time, and a problem or a kind of measurement counts as present for this time."""

_MEASURED_S = 30.0

_WINDOW = 200


@dataclass(frozen=True)
class Snapshot:
    """The numbers at one moment.

    Attributes:
        frames_in: images received.
        frames_out: images segmented and published.
        drops: images given up, by reason.
        events: other things that happened, by name.
        depth_sources: published images by source of depth (`sensor`, `estimated`, `none`).
        depth_problems: published or dropped images without sensor depth, by reason.
        rate_in_hz: images per second lately.
        rate_out_hz: results per second lately.
        since_image_s: time since the last image, None before the first.
        unanswered_s: time for which images have come in without a result.
        samples: name to (median, 95th percentile) of the frames of late, in the unit that the name ends with.
        problems: kind to message of what went wrong lately.
        last_error: the last thing that went wrong, however long ago, or "".
    """

    frames_in: int
    frames_out: int
    drops: Mapping[str, int]
    events: Mapping[str, int]
    depth_sources: Mapping[str, int]
    depth_problems: Mapping[str, int]
    rate_in_hz: float
    rate_out_hz: float
    since_image_s: float | None
    unanswered_s: float
    samples: Mapping[str, tuple[float, float]]
    problems: Mapping[str, str]
    last_error: str


@dataclass
class NodeStatistics:
    """Counts from any thread; `snapshot` gives it all, consistent.

    Each image is counted in once, and once either out or as one drop.
    """

    clock: Callable[[], float] = time.monotonic
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _frames_in: int = 0
    _frames_out: int = 0
    _drops: Counter[str] = field(default_factory=Counter)
    _events: Counter[str] = field(default_factory=Counter)
    _depth_sources: Counter[str] = field(default_factory=Counter)
    _depth_problems: Counter[str] = field(default_factory=Counter)
    _in_s: deque[float] = field(default_factory=lambda: deque(maxlen=1000))
    _out_s: deque[float] = field(default_factory=lambda: deque(maxlen=1000))
    _unanswered_since_s: float | None = None
    _samples: dict[str, deque[tuple[float, float]]] = field(default_factory=dict)
    _problems: dict[str, tuple[float, str]] = field(default_factory=dict)
    _last_error: str = ""

    def begin_session(self) -> None:
        """Forget what was of late; the counts stay."""
        with self._lock:
            self._in_s.clear()
            self._out_s.clear()
            self._samples.clear()
            self._problems.clear()
            self._unanswered_since_s = None

    def count_in(self) -> None:
        """Count an image that came."""
        with self._lock:
            now_s = self.clock()
            gap = bool(self._in_s) and now_s - self._in_s[-1] > RECENT_S
            if self._unanswered_since_s is None or gap:
                self._unanswered_since_s = now_s
            self._frames_in += 1
            self._in_s.append(now_s)

    def count_out(self, depth_source: str, samples: Mapping[str, float]) -> None:
        """Count a published result, with measurements of it by name."""
        with self._lock:
            now_s = self.clock()
            self._frames_out += 1
            self._unanswered_since_s = None
            self._out_s.append(now_s)
            self._depth_sources[depth_source] += 1
            self._measure(now_s, samples)

    def measure(self, samples: Mapping[str, float]) -> None:
        """Note measurements by name."""
        with self._lock:
            self._measure(self.clock(), samples)

    def count_drop(self, reason: str) -> None:
        """Count an image that was given up."""
        with self._lock:
            self._drops[reason] += 1
            if reason == "disabled":  # nobody wants a result
                self._unanswered_since_s = None

    def count_depth_problem(self, reason: str) -> None:
        """Count an image without usable depth of a sensor."""
        with self._lock:
            self._depth_problems[reason] += 1

    def count_event(self, name: str) -> None:
        """Count anything else."""
        with self._lock:
            self._events[name] += 1

    def problem(self, kind: str, message: str) -> None:
        """Note that something went wrong now."""
        with self._lock:
            self._problems[kind] = (self.clock(), message)
            self._last_error = message

    def _measure(self, now_s: float, samples: Mapping[str, float]) -> None:
        for name, value in samples.items():
            self._samples.setdefault(name, deque(maxlen=_WINDOW)).append((now_s, value))

    def snapshot(self) -> Snapshot:
        """Return all numbers as they are now."""
        with self._lock:
            now_s = self.clock()
            measured = {
                name: [value for at_s, value in values if now_s - at_s <= _MEASURED_S]
                for name, values in self._samples.items()
                if now_s - values[-1][0] <= RECENT_S
            }
            flows = bool(self._in_s) and now_s - self._in_s[-1] <= RECENT_S
            since_s = self._unanswered_since_s
            return Snapshot(
                frames_in=self._frames_in,
                frames_out=self._frames_out,
                drops=dict(self._drops),
                events=dict(self._events),
                depth_sources=dict(self._depth_sources),
                depth_problems=dict(self._depth_problems),
                rate_in_hz=_rate(self._in_s, now_s),
                rate_out_hz=_rate(self._out_s, now_s),
                since_image_s=now_s - self._in_s[-1] if self._in_s else None,
                unanswered_s=now_s - since_s if flows and since_s is not None else 0.0,
                samples={
                    name: (float(np.percentile(values, 50)), float(np.percentile(values, 95)))
                    for name, values in measured.items()
                },
                problems={k: text for k, (at_s, text) in self._problems.items() if now_s - at_s <= RECENT_S},
                last_error=self._last_error,
            )


def _rate(times_s: deque[float], now_s: float) -> float:
    """Events per second over the last `RECENT_S`, or since the first one where that is shorter ago."""
    recent = [t for t in times_s if now_s - t <= RECENT_S]
    if len(recent) < 2:
        return len(recent) / RECENT_S
    # a full window is counted; one which is still filling is measured by its intervals
    full = len(recent) < len(times_s)
    return len(recent) / RECENT_S if full else (len(recent) - 1) / max(now_s - recent[0], 1e-3)
