"""The pictures of a bag, in the order of time, with their depth in metres and their camera."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spda_sam_core.bags.pairing import LAG_NS, DepthsAtHand
from spda_sam_core.bags.recording import Message, Recording
from spda_sam_core.bags.topics import IMAGE, Topics, choose_topics
from spda_sam_core.look import Look
from spda_sam_core.messages.camera_info import pinhole_of
from spda_sam_core.messages.depth import decode_compressed_depth, decode_depth
from spda_sam_core.messages.fields import stamp_to_ns
from spda_sam_core.messages.image import decode_compressed_image, decode_image
from spda_sam_core.results.metric import Pinhole

_JUMP_NS = 10_000_000_000
"""By so much stamps and the time of recording may drift apart from one picture to the next."""
_MOST_REASONS = 10
_EARLY = 0.2
"""Of the interval: a picture that comes so much before it is due is taken, because cameras jitter."""


class _Waiting(NamedTuple):
    number: int
    time_ns: int
    message: Message
    decoded: Any


class Bag:
    """Pictures of a bag.

    Args:
        path: its folder, or one of its files.
        topics: which of its topics.
        every: so many pictures are passed on to the next one that is looked at.
        rate: pictures to look at in a second, by their stamps; None: as `every` says.

    Attributes:
        topics: the topics that are read.
        camera: from the first camera_info; None where there is none that serves.
        noticed: what is not as it should be, complete once all pictures were read.

    Raises:
        ValueError: no bag that can be read, or its topics must be chosen.
    """

    def __init__(self, path: Path, topics: Topics | None = None, *, every: int = 1, rate: float | None = None) -> None:
        self.source, self.every, self.rate = path, every, rate
        self.noticed: list[str] = []
        self._recording = Recording(path)
        self.topics = choose_topics(self._recording, topics or Topics())
        assert self.topics.image is not None
        there = {topic.name: topic for topic in self._recording.topics()}
        self._count = there[self.topics.image].messages
        self._seconds = self._recording.seconds()
        self.camera = self._camera()

    def __len__(self) -> int:
        every_nth = -(-self._count // self.every)
        return every_nth if self.rate is None else min(every_nth, round(self._seconds * self.rate) + 1)

    @property
    def interval_s(self) -> float:
        """Seconds from one picture that is looked at to the next, as a rule."""
        apart = self._seconds / max(1, self._count - 1) * self.every
        return max(1 / self.rate if self.rate else 0.0, apart, 1e-3)

    def __iter__(self) -> Iterator[Look]:
        assert self.topics.image is not None
        waiting: deque[_Waiting] = deque()
        depths, refused = DepthsAtHand(), Counter[str]()
        clock, number = _Clock(), -1
        due_ns = 0
        for message in self._recording.messages({t for t in (self.topics.image, self.topics.depth) if t}):
            try:
                decoded, problem = self._recording.decode(message), ""
            except ValueError as error:
                decoded, problem = None, str(error)
            if message.topic == self.topics.image:
                number += 1
                stamp_ns = message.logged_ns if decoded is None else stamp_to_ns(decoded.header.stamp)
                time_ns = clock.time_ns(number, stamp_ns or message.logged_ns, message.logged_ns)
                if self.rate is not None and time_ns < due_ns - _EARLY * 1e9 / self.rate:
                    continue
                if self.rate is not None:
                    due_ns = round(max(due_ns + 1e9 / self.rate, time_ns + 0.5e9 / self.rate))
                elif number % self.every:
                    continue
                if decoded is None:
                    yield from self._finished(waiting, depths, refused)
                    yield _lost(number, time_ns, f"{self.source}: picture {number}: {problem}")
                    continue
                waiting.append(_Waiting(number, time_ns, message, decoded))
            elif decoded is None:
                refused[problem] += 1
            else:
                depths.add(stamp_to_ns(decoded.header.stamp), message.logged_ns, decoded)
            yield from self._finished(waiting, depths, refused, now_ns=message.logged_ns)
        yield from self._finished(waiting, depths, refused)
        self._notice(clock, refused)
        if number + 1 < self._count:
            missing = f"{self.source}: ends after {number + 1} pictures, it says that it has {self._count}"
            yield _lost(number + 1, clock.last_ns, missing)

    def _finished(
        self, waiting: deque[_Waiting], depths: DepthsAtHand, refused: Counter[str], *, now_ns: int | None = None
    ) -> Iterator[Look]:
        """The pictures whose depth is known by now; all of them where no time is given."""
        while waiting:
            first = waiting[0]
            stamp_ns = stamp_to_ns(first.decoded.header.stamp)
            late = now_ns is None or now_ns - first.message.logged_ns > LAG_NS
            if self.topics.depth is not None and not late and not depths.settled(stamp_ns):
                break
            waiting.popleft()
            yield self._look(first, depths.nearest(stamp_ns), refused)
        if now_ns is not None:
            depths.forget(waiting[0].message.logged_ns if waiting else now_ns)

    def _look(self, picture: _Waiting, depth: Any | None, refused: Counter[str]) -> Look:
        header = picture.decoded.header
        try:
            raw = picture.message.kind == IMAGE
            rgb = decode_image(picture.decoded) if raw else decode_compressed_image(picture.decoded)
        except ValueError as error:
            return _lost(picture.number, picture.time_ns, f"{self.source}: picture {picture.number}: {error}")
        depth_m = None
        if depth is None and self.topics.depth is not None:
            refused["no depth has about the same stamp"] += 1
        elif depth is not None:
            try:
                depth_m = _depth_for(depth, header.frame_id, (rgb.shape[0], rgb.shape[1]))
            except ValueError as error:
                refused[str(error)] += 1
        name = f"{picture.number:06d}.jpg"
        return Look(name, rgb, depth_m, "", picture.time_ns, header, picture.message.logged_ns)

    def _notice(self, clock: _Clock, refused: Counter[str]) -> None:
        if clock.jumps:
            self.noticed.append(
                f"{self.source}: the stamps of {len(clock.jumps)} pictures, the first is picture {clock.jumps[0]}, run "
                "back, stand still or jump; there the time of recording counts"
            )
        told = refused.most_common(_MOST_REASONS)
        self.noticed += [f"{self.source}: {count} times without depth: {why}" for why, count in told]
        self.noticed += self._recording.problems

    def _camera(self) -> Pinhole | None:
        if self.topics.camera_info is None or self.topics.image is None:
            return None
        info, first = self._recording.first(self.topics.camera_info), self._first_picture()
        if info is None or first is None:
            return None
        try:
            return pinhole_of(info, first[0], first[1])
        except ValueError as error:
            self.noticed.append(f"{self.source}: {error}; sizes are in pixels")
            return None

    def _first_picture(self) -> tuple[tuple[int, int], str] | None:
        """Height, width and frame of the first picture that can be read."""
        assert self.topics.image is not None
        for message in self._recording.messages({self.topics.image}):
            try:
                decoded = self._recording.decode(message)
                rgb = decode_image(decoded) if message.kind == IMAGE else decode_compressed_image(decoded)
            except ValueError:
                continue
            return (rgb.shape[0], rgb.shape[1]), decoded.header.frame_id
        return None


class _Clock:
    """Time from the first picture, which goes on where stamps do not."""

    def __init__(self) -> None:
        self.jumps: list[int] = []
        self.last_ns = 0
        self._offset_ns = 0
        self._logged_ns: int | None = None

    def time_ns(self, number: int, stamp_ns: int, logged_ns: int) -> int:
        """The time of the next picture; `jumps` gets its number where its stamp says nothing."""
        if self._logged_ns is None:
            self._offset_ns = -stamp_ns
        else:
            step_ns, recorded_ns = stamp_ns + self._offset_ns - self.last_ns, max(logged_ns - self._logged_ns, 1)
            if step_ns <= 0 or abs(step_ns - recorded_ns) > _JUMP_NS:
                self._offset_ns += recorded_ns - step_ns
                self.jumps.append(number)
        self._logged_ns = logged_ns
        self.last_ns = stamp_ns + self._offset_ns
        return self.last_ns


def _lost(number: int, time_ns: int, problem: str) -> Look:
    return Look(f"{number:06d}.jpg", None, None, problem, time_ns)


def _depth_for(message: Any, frame_id: str, size_hw: tuple[int, int]) -> NDArray[np.float32]:
    """Depth in metres, as the node takes it.

    Raises:
        ValueError: of another frame or size, or no depth.
    """
    register = "bring depth into the camera's view with depth_image_proc/register before recording"
    if message.header.frame_id != frame_id:
        raise ValueError(f"depth is in frame '{message.header.frame_id}', the picture in '{frame_id}': {register}")
    depth_m = decode_compressed_depth(message) if hasattr(message, "format") else decode_depth(message)
    if depth_m.shape != size_hw:
        sizes = [f"{width}x{height}" for height, width in (depth_m.shape, size_hw)]
        raise ValueError(f"depth has {sizes[0]} pixels, the picture {sizes[1]}: {register}")
    return depth_m
