"""One slot and one thread: the newest frame wins, older ones are dropped and counted, nothing ever queues."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from statistics import median
from typing import Generic, TypeVar

T = TypeVar("T")

_PATIENCE_S = 0.2


class Worker(Generic[T]):
    """Processes the newest item in a thread of its own.

    Args:
        process: called with one item at a time, in the thread.
        failed: called in the thread with what `process` raised; the thread goes on.
        dropped: called with why an item was given up: `busy` (a newer one came while another was processed),
            `rate` (a newer one came while the rate limit held) or `inactive` (left over at the end).
        minimum_interval_s: gives the time between the starts of two items, 0 for no limit; asked each time.
        after: a stopped worker whose last item has to be done before the first one here is begun.
    """

    def __init__(
        self,
        process: Callable[[T], None],
        *,
        failed: Callable[[Exception], None],
        dropped: Callable[[str], None],
        minimum_interval_s: Callable[[], float],
        after: Worker[T] | None = None,
    ) -> None:
        self._process = process
        self._failed = failed
        self._dropped = dropped
        self._minimum_interval_s = minimum_interval_s
        self._changed = threading.Condition()
        self._item: T | None = None
        self._after = after
        self._busy_since_s: float | None = None
        self._stopping = False
        self._ended = False
        self._when_done: list[Callable[[], None]] = []
        self._durations_s: deque[float] = deque(maxlen=9)
        self._started_s = float("-inf")
        self._thread = threading.Thread(target=self._run, name="segmentation", daemon=True)

    def start(self) -> None:
        """Start the thread; once only."""
        if self._after is not None:
            self._busy_since_s = time.monotonic()
        self._thread.start()

    @property
    def busy_s(self) -> float:
        """Seconds for which the thread has been at the same item, or has waited for the worker before; else 0."""
        since_s = self._busy_since_s
        return 0.0 if since_s is None else time.monotonic() - since_s

    @property
    def usual_s(self) -> float:
        """Median of how long the last items took, 0 before the first was done."""
        durations_s = tuple(self._durations_s)
        return median(durations_s) if durations_s else 0.0

    def submit(self, item: T) -> None:
        """Put an item into the slot, in the place of one which still waits there. Never blocks."""
        with self._changed:
            if self._stopping:
                reason: str | None = "inactive"
            else:
                reason = None if self._item is None else "rate" if self._busy_since_s is None else "busy"
                self._item = item
                self._changed.notify_all()
        if reason is not None:
            self._dropped(reason)

    def stop(self, timeout_s: float) -> bool:
        """End the thread after the item that it is at.

        Returns:
            Whether it ended in time.
        """
        with self._changed:
            self._stopping = True
            left_over, self._item = self._item, None
            self._changed.notify_all()
        if left_over is not None:
            self._dropped("inactive")
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def when_done(self, action: Callable[[], None]) -> None:
        """Call something once a stopped worker's thread is at its end: at once, or in that thread."""
        with self._changed:
            if not self._ended:
                self._when_done.append(action)
                return
        action()

    def _run(self) -> None:
        try:
            self._wait_for_the_one_before()
            while (item := self._take()) is not None:
                try:
                    self._process(item)
                except Exception as error:
                    self._failed(error)
                with self._changed:
                    self._durations_s.append(time.monotonic() - self._started_s)
                    self._busy_since_s = None
        finally:
            with self._changed:
                self._busy_since_s = None
                self._ended = True
            for action in self._when_done:
                action()

    def _wait_for_the_one_before(self) -> None:
        after, self._after = self._after, None
        while after is not None and after._thread.is_alive() and not self._stopping:
            after._thread.join(_PATIENCE_S)
        with self._changed:
            self._busy_since_s = None

    def _take(self) -> T | None:
        """Wait for an item and for its time; None at the end."""
        with self._changed:
            while not self._stopping:
                # asked anew in every round, so that a limit which is lifted ends the wait for it
                wait_s = self._started_s + self._minimum_interval_s() - time.monotonic()
                if wait_s <= 0 and self._item is not None:
                    item, self._item = self._item, None
                    self._busy_since_s = self._started_s = time.monotonic()
                    return item
                self._changed.wait(min(wait_s, _PATIENCE_S) if wait_s > 0 else None)
            return None
