"""What is known of the topics that the node hears: whether they were ever there, still are, how they are stamped."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

STOPPED_AFTER_S = 2.0
"""A stream that was there and has been silent for so long has stopped."""

RECENT_S = 5.0
"""The share of lost messages is of this time."""

_STANDS_STILL = 3


@dataclass(frozen=True)
class Stream:
    """A topic since activation.

    Attributes:
        topic: its full name.
        publishers: how many there are now.
        silent_s: since the last message, None where none came.
        known_s: since the first message, 0 where none came.
        other_types: types under which it is published and which this node does not hear, such as
            `sensor_msgs/msg/CompressedImage`.
        lost: how many messages were lost on the way, None where the middleware does not tell.
        lost_lately: how many of them in the last `RECENT_S`.
        lost_share: which share of all that were sent in that time, 0..1.
    """

    topic: str
    publishers: int
    silent_s: float | None
    known_s: float
    other_types: tuple[str, ...] = ()
    lost: int | None = None
    lost_lately: int = 0
    lost_share: float = 0.0

    @property
    def flows(self) -> bool:
        """Whether messages come."""
        return self.silent_s is not None and self.silent_s <= STOPPED_AFTER_S

    @property
    def stopped(self) -> bool:
        """Whether messages came once and come no more."""
        return self.silent_s is not None and not self.flows


class Arrivals:
    """Notes when messages of a stream come, and what is wrong with their stamps.

    Args:
        what: what the stream carries, for sentences.

    Attributes:
        losses_told: whether the middleware tells of lost messages.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._first_s: float | None = None
        self._last_s = 0.0
        self._stamp_ns: int | None = None
        self._alike = 0
        self.losses_told = False
        self._lost = 0
        self._recent: deque[tuple[float, int, int]] = deque(maxlen=2000)  # time, came, lost

    def note(self, stamp_ns: int, now_s: float) -> str:
        """Note a message that came now, by a monotonic clock.

        Returns:
            What is wrong with its stamp, or "".
        """
        self._first_s = now_s if self._first_s is None else self._first_s
        self._last_s = now_s
        self._recent.append((now_s, 1, 0))
        self._alike = self._alike + 1 if stamp_ns == self._stamp_ns else 1
        self._stamp_ns = stamp_ns
        if stamp_ns == 0:
            return (
                f"the stamp of {self._what} is 0: age and pairing are unknown, the newest are taken for one moment: "
                "let the driver stamp what it publishes"
            )
        if self._alike >= _STANDS_STILL:
            return (
                f"the stamp of {self._what} stands still at {stamp_ns / 1e9:.3f} s: age and pairing are unknown, the "
                "newest are taken for one moment: let the driver stamp each message anew"
            )
        return ""

    def lose(self, count: int) -> None:
        """Note that messages were lost."""
        self._lost += count
        self._recent.append((time.monotonic(), 0, count))

    def stream(self, topic: str, publishers: int, now_s: float, other_types: tuple[str, ...] = ()) -> Stream:
        """Return what is known now; arguments are fields of `Stream`."""
        recent = [(came, lost) for at_s, came, lost in self._recent if now_s - at_s <= RECENT_S]
        came, lost = (sum(entry[i] for entry in recent) for i in (0, 1))
        known = self._first_s is not None
        return Stream(
            topic,
            publishers,
            silent_s=now_s - self._last_s if known else None,
            known_s=now_s - self._first_s if self._first_s is not None else 0.0,
            other_types=other_types,
            lost=self._lost if self.losses_told else None,
            lost_lately=lost,
            lost_share=lost / (came + lost) if lost else 0.0,
        )
