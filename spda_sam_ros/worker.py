"""One thread and a slot for each that it serves: the newest item wins, older ones are dropped and counted.

Nothing ever queues. The thread takes the slots in turn, so that one which is filled often takes nothing from the
others, and what waits for something of its own holds up nobody else.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from statistics import median
from typing import Any, Generic, TypeVar

T = TypeVar("T")

Steps = Generator[float, None, None]
"""Work in steps: between two of them it gives the seconds for which it has nothing to do."""

_PATIENCE_S = 0.2
_NEVER = float("inf")
_AT_ONCE = float("-inf")


class Mailbox(Generic[T]):
    """A slot that a worker empties; made by `Worker.mailbox`."""

    def __init__(
        self,
        worker: Worker,
        process: Callable[[T], Steps],
        failed: Callable[[Exception], None],
        dropped: Callable[[str], None],
        minimum_interval_s: Callable[[], float],
    ) -> None:
        self._worker = worker
        self._process = process
        self._failed = failed
        self._dropped = dropped
        self._minimum_interval_s = minimum_interval_s
        self._item: T | None = None
        self._at_hand: Steps | None = None
        self._due_s = _AT_ONCE  # the next step of what is at hand
        self._started_s = _AT_ONCE
        self._durations_s: deque[float] = deque(maxlen=9)

    @property
    def busy_s(self) -> float:
        """Seconds for which the item at hand has been at hand, or the thread at whatever it does; else 0."""
        own_s = 0.0 if self._at_hand is None else time.monotonic() - self._started_s
        return max(own_s, self._worker.busy_s)

    @property
    def usual_s(self) -> float:
        """Median of how long the last items took, 0 before the first was done."""
        durations_s = tuple(self._durations_s)
        return median(durations_s) if durations_s else 0.0

    def submit(self, item: T) -> None:
        """Put an item into the slot, in the place of one which still waits there. Never blocks."""
        with self._worker.changed:
            if self._worker.stopping:
                reason: str | None = "inactive"
            else:
                reason = None if self._item is None else self._why_it_still_waits()
                self._item = item
                self._worker.changed.notify_all()
        if reason is not None:
            self._dropped(reason)

    def wake(self) -> None:
        """End the wait of what is at hand: what it waits for may have come."""
        with self._worker.changed:
            self._due_s = _AT_ONCE
            self._worker.changed.notify_all()

    def _why_it_still_waits(self) -> str:
        if self._at_hand is not None:
            return "busy"
        limited = time.monotonic() < self._started_s + self._minimum_interval_s()
        return "rate" if limited or not self._worker.busy_s else "busy"

    # For the worker, which holds its lock but for `step`

    def due_s(self) -> float:
        """When there is something to do, by the monotonic clock; a limit is asked anew, as it may be lifted."""
        if self._at_hand is not None:
            return _AT_ONCE if self._worker.stopping else self._due_s
        return _NEVER if self._item is None else self._started_s + self._minimum_interval_s()

    def begin(self) -> None:
        """Take the item out of the slot, unless one is at hand."""
        self._due_s = _NEVER  # until the step says when; a wake-up meanwhile counts
        if self._at_hand is None:
            assert self._item is not None
            item, self._item = self._item, None
            self._started_s = time.monotonic()
            self._at_hand = self._process(item)

    def empty(self) -> bool:
        """Empty the slot; whether there was something in it."""
        left_over, self._item = self._item, None
        return left_over is not None

    def step(self) -> None:
        """Do the next step of what is at hand."""
        assert self._at_hand is not None
        try:
            wait_s = next(self._at_hand)
        except StopIteration:
            self._done()
        except Exception as error:
            self._failed(error)
            self._done()
        else:
            with self._worker.changed:
                self._due_s = min(self._due_s, time.monotonic() + wait_s)

    def _done(self) -> None:
        with self._worker.changed:
            self._durations_s.append(time.monotonic() - self._started_s)
            self._at_hand = None

    def count_left_over(self) -> None:
        """Count what the slot was emptied of at the end."""
        self._dropped("inactive")


class Worker:
    """Processes the newest item of each mailbox in a thread of its own, in turn.

    Args:
        name: of the thread.
        after: a stopped worker whose last item has to be done before the first one here is begun.

    Attributes:
        changed: held whenever a mailbox is looked into or filled.
        stopping: whether it takes nothing any more.
    """

    def __init__(self, name: str, *, after: Worker | None = None) -> None:
        self.changed = threading.Condition()
        self.stopping = False
        self._mailboxes: list[Mailbox[Any]] = []
        self._turn = 0
        self._after = after
        self._busy_since_s: float | None = None
        self._ended = False
        self._when_done: list[Callable[[], None]] = []
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def mailbox(
        self,
        process: Callable[[T], Steps],
        *,
        failed: Callable[[Exception], None],
        dropped: Callable[[str], None],
        minimum_interval_s: Callable[[], float],
    ) -> Mailbox[T]:
        """Make a mailbox; before `start` only.

        Args:
            process: called with one item at a time. It runs in the thread, step by step; where it waits, others are
                served, until the time is over or the mailbox is woken. Once the worker stops no wait is kept.
            failed: called in the thread with what `process` raised; the thread goes on.
            dropped: called with why an item was given up: `busy` (a newer one came while this one's turn had not come),
                `rate` (a newer one came while the rate limit held) or `inactive` (left over at the end).
            minimum_interval_s: gives the time between the starts of two items, 0 for no limit; asked each time.
        """
        made = Mailbox(self, process, failed, dropped, minimum_interval_s)
        self._mailboxes.append(made)
        return made

    def start(self) -> None:
        """Start the thread; once only."""
        if self._after is not None:
            self._busy_since_s = time.monotonic()
        self._thread.start()

    @property
    def busy_s(self) -> float:
        """Seconds for which the thread has been at the same step, or has waited for the worker before; else 0."""
        since_s = self._busy_since_s
        return 0.0 if since_s is None else time.monotonic() - since_s

    @property
    def usual_s(self) -> float:
        """How long it usually takes until each mailbox had its turn: an item waits no longer for its own."""
        return sum(mailbox.usual_s for mailbox in self._mailboxes)

    def stop(self, timeout_s: float) -> bool:
        """End the thread after what is at hand.

        Returns:
            Whether it ended in time.
        """
        with self.changed:
            self.stopping = True
            left_over = [mailbox for mailbox in self._mailboxes if mailbox.empty()]
            self.changed.notify_all()
        for mailbox in left_over:
            mailbox.count_left_over()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def when_done(self, action: Callable[[], None]) -> None:
        """Call something once a stopped worker's thread is at its end: at once, or in that thread."""
        with self.changed:
            if not self._ended:
                self._when_done.append(action)
                return
        action()

    def _run(self) -> None:
        try:
            self._wait_for_the_one_before()
            while (mailbox := self._next()) is not None:
                mailbox.step()
                with self.changed:
                    self._busy_since_s = None
        finally:
            with self.changed:
                self._busy_since_s = None
                self._ended = True
            for action in self._when_done:
                action()

    def _wait_for_the_one_before(self) -> None:
        after, self._after = self._after, None
        while after is not None and after._thread.is_alive() and not self.stopping:
            after._thread.join(_PATIENCE_S)
        with self.changed:
            self._busy_since_s = None

    def _next(self) -> Mailbox[Any] | None:
        """Wait until a mailbox has something to do, the one after the last first; None at the end."""
        with self.changed:
            while True:
                now_s, soonest_s = time.monotonic(), _NEVER
                count = len(self._mailboxes)
                for i in ((self._turn + k) % count for k in range(count)):
                    mailbox = self._mailboxes[i]
                    if (due_s := mailbox.due_s()) <= now_s:
                        self._turn = i + 1
                        self._busy_since_s = now_s
                        mailbox.begin()
                        return mailbox
                    soonest_s = min(soonest_s, due_s)
                if self.stopping:
                    return None
                # no longer than that, so that a limit which is lifted ends the wait for it
                self.changed.wait(None if soonest_s == _NEVER else min(soonest_s - now_s, _PATIENCE_S))
