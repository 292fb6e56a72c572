"""What a run of the node amounts to: frames in and out, their age, instances per class. No ROS in here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Generic, TypedDict, TypeVar

import numpy as np

Item = TypeVar("Item")


class RunSummary(TypedDict):
    """Content of `summary.json`; times are in milliseconds, None where nothing arrived."""

    frames_in: int
    frames_out: int
    dropped: int
    latency_ms_p50: float | None
    latency_ms_p95: float | None
    fps: float | None
    instances: dict[str, int]


class RunStatistics:
    """Counts messages, matched by their stamp in nanoseconds.

    Messages may come in any order and twice. Results of frames that were not counted in do not count.
    """

    def __init__(self) -> None:
        self._images: set[int] = set()
        self._received_ns: dict[int, int] = {}
        self._class_names: dict[int, tuple[str, ...]] = {}

    def add_image(self, stamp_ns: int) -> None:
        """Count an input image."""
        self._images.add(stamp_ns)

    def add_label_image(self, stamp_ns: int, received_ns: int) -> None:
        """Count a label image; `received_ns` is the time of its arrival on the clock of the stamps."""
        self._received_ns.setdefault(stamp_ns, received_ns)

    def add_detections(self, stamp_ns: int, class_names: Sequence[str]) -> None:
        """Count the instances of one image, a class name each."""
        self._class_names[stamp_ns] = tuple(class_names)

    @property
    def frames_in(self) -> int:
        """Number of input images so far."""
        return len(self._images)

    @property
    def frames_out(self) -> int:
        """Number of input images so far which have a label image."""
        return len(self._images & self._received_ns.keys())

    @property
    def unanswered(self) -> int:
        """Number of input images so far which lack their label image or their detections."""
        return len(self._images - (self._received_ns.keys() & self._class_names.keys()))

    def summary(self) -> RunSummary:
        """Sum up.

        `dropped` is frames without a label image. Latency is arrival minus stamp. `fps` is label images per
        second between the first and the last arrival. `instances` is per class, most frequent first.
        """
        answered = sorted(self._images & self._received_ns.keys())
        received_ns = sorted(self._received_ns[s] for s in answered)
        latency_ms = [(self._received_ns[s] - s) / 1e6 for s in answered]
        lasted_s = (received_ns[-1] - received_ns[0]) / 1e9 if received_ns else 0.0
        counts = Counter(name for s in self._images for name in self._class_names.get(s, ()))
        return {
            "frames_in": len(self._images),
            "frames_out": len(answered),
            "dropped": len(self._images) - len(answered),
            "latency_ms_p50": _percentile(latency_ms, 50),
            "latency_ms_p95": _percentile(latency_ms, 95),
            "fps": round((len(answered) - 1) / lasted_s, 2) if lasted_s > 0 else None,
            "instances": dict(counts.most_common()),
        }


def _percentile(values: list[float], percent: float) -> float | None:
    return round(float(np.percentile(values, percent)), 1) if values else None


def format_summary(summary: RunSummary) -> str:
    """Lay a summary out as the table that people read."""

    def shown(value: float | None, unit: str) -> str:
        return "-" if value is None else f"{value:g} {unit}"

    rows = [
        ("frames in", str(summary["frames_in"])),
        ("frames out", str(summary["frames_out"])),
        ("dropped", str(summary["dropped"])),
        ("latency p50", shown(summary["latency_ms_p50"], "ms")),
        ("latency p95", shown(summary["latency_ms_p95"], "ms")),
        ("rate", shown(summary["fps"], "frames/s")),
        ("instances", str(sum(summary["instances"].values()))),
        *((f"  {name}", str(count)) for name, count in summary["instances"].items()),
    ]
    return "\n".join(f"{name:<18} {value:>14}" for name, value in rows)


class EvenSample(Generic[Item]):
    """Keeps items spread evenly over a stream of unknown length, in bounded memory.

    Args:
        size: number of items that `spread` gives, at least 1; at most twice as many are held.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"a sample of {size} items is empty: keep at least 1")
        self._size = size
        self._stride = 1
        self._seen = 0
        self._kept: list[Item] = []

    def add(self, item: Item) -> None:
        """Offer the next item of the stream."""
        if self._seen % self._stride == 0:
            self._kept.append(item)
            if len(self._kept) > 2 * self._size:
                self._kept = self._kept[::2]
                self._stride *= 2
        self._seen += 1

    def spread(self) -> list[Item]:
        """Return up to `size` of the items, in order, spread over the whole stream."""
        count = min(self._size, len(self._kept))
        return [self._kept[round(i)] for i in np.linspace(0, len(self._kept) - 1, count)]
