"""Reading ahead and writing behind, in threads of their own, and the still of a finding."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from spda_sam_core.results.draw import class_colour
from spda_sam_core.results.instances import Instances

T = TypeVar("T")
_MOST_WAITING = 8
_STILL_PX = 360
_TINT = 0.3


def ahead(items: Iterable[T], count: int) -> Iterator[T]:
    """The same items, up to `count` of them made in another thread before they are asked for."""
    waiting: queue.Queue[Any] = queue.Queue(count)
    stop = threading.Event()

    def put(item: Any) -> bool:
        while not stop.is_set():
            try:
                waiting.put(item, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False

    def make() -> None:
        try:
            for item in items:
                if not put((item, None)):
                    return
            put((None, None))
        except BaseException as error:  # belongs to whoever waits for the item
            put((None, error))

    threading.Thread(target=make, name="reading", daemon=True).start()
    try:
        while True:
            item, error = waiting.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item
    finally:
        stop.set()


def still_of(rgb: NDArray[np.uint8], thing: Instances) -> NDArray[np.uint8]:
    """The surroundings of one instance with its mask, (h, w, 3) uint8 of at most `_STILL_PX`."""
    x0, y0, x1, y1 = thing.boxes_xyxy[0].tolist()
    side = max(x1 - x0, y1 - y0, min(rgb.shape[:2]) / 4) * 1.6
    spans = []
    for low, high, length in ((y0, y1, rgb.shape[0]), (x0, x1, rgb.shape[1])):
        size = min(length, round(side))
        start = int(min(max(0, (low + high - size) / 2), length - size))
        spans.append(slice(start, start + size))
    rows, columns = spans
    part = np.ascontiguousarray(rgb[rows, columns])
    scale = min(1.0, _STILL_PX / max(part.shape[:2]))
    size_wh = (max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale)))
    small = cv2.resize(part, size_wh, interpolation=cv2.INTER_AREA)
    mask = cv2.resize(thing.masks[0, rows, columns].astype(np.uint8), size_wh, interpolation=cv2.INTER_NEAREST)
    colour = class_colour(int(thing.class_ids[0]))  # no text: it would hide what is small, and stands beside
    tint = np.array(colour, np.float32) * _TINT
    still: NDArray[np.uint8] = np.where(mask[..., None] > 0, small * (1 - _TINT) + tint, small).astype(np.uint8)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(still, contours, -1, colour, 1)
    return still


class Writing:
    """Writes in another thread, a few at most waiting; an error comes out of the next call.

    Args:
        at_end: called in that thread when all is written, also where an error ends it.
    """

    def __init__(self, at_end: Sequence[Callable[[], None]]) -> None:
        self._at_end = at_end

    def __enter__(self) -> Writing:
        self._pool = ThreadPoolExecutor(1, "writing")
        self._waiting: list[Future[None]] = []
        return self

    def __exit__(self, *_: object) -> None:
        self._waiting += [self._pool.submit(close) for close in self._at_end]
        self._pool.shutdown(wait=True)
        for one in self._waiting:
            one.result()

    def soon(self, write: Callable[..., None], *given: Any) -> None:
        """Call `write` soon, after what was asked for before; raises OSError, perhaps of that."""
        self._waiting.append(self._pool.submit(write, *given))
        while len(self._waiting) > _MOST_WAITING:
            self._waiting.pop(0).result()
