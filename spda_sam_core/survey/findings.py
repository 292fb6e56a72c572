"""Findings: each thing once, however many frames show it, and whatever became of its track in between.

A track is a thing as long as it is followed. What leaves and comes back gets a new track; it is joined with the old
finding where both lie at one place of the strip, and are of one class or of one size and look; or where the camera's
motion was lost only for a moment, and one thing of that class, size and look was there before it. Else, where the look
is alike and the place not known, it is only said to be possibly the same.
"""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

_NEAR = 0.5
"""Of the larger extent: two masks whose middles lie closer are at one place."""
_DRIFT = 0.03
"""By so much of the way in between the strip's places may be wrong."""
_ALIKE = 0.7
"""Correlation of two histograms of colour."""
_SIZE_JUMP = 2.0
"""From one view to the next, at most."""
_SIZES_KEPT = 64


class View(NamedTuple):
    """A thing as one frame shows it.

    Attributes:
        frame: name of the picture.
        stamp_ns: its time.
        track: number.
        class_name: name.
        score: 0..1.
        box_xyxy: pixels.
        area_px: pixels of the mask.
        area_m2: None where unknown.
        point_m: its middle in the camera's optical frame, metres; None where unknown.
        whole: whether the mask stays off the picture's border.
        piece: index of the strip's piece.
        place: (x, y) on that piece.
        extent: root of the mask's area, in the strip's unit.
        way: length of the camera's way up to here, in the strip's unit.
    """

    frame: str
    stamp_ns: int
    track: int
    class_name: str
    score: float
    box_xyxy: tuple[float, float, float, float]
    area_px: int
    area_m2: float | None
    point_m: tuple[float, float, float] | None
    whole: bool
    piece: int
    place: tuple[float, float]
    extent: float
    way: float

    @property
    def quality(self) -> float:
        """How well it shows the thing: sure of it, whole, large."""
        return self.score * (1.0 if self.whole else 0.5) * float(self.area_px) ** 0.25


@dataclass
class Finding:
    """One thing of the dive.

    Attributes:
        number: from 1, in the order of first sight.
        first: view at first sight.
        last: latest view.
        best: the view that shows it best.
        look: histogram of its colours in the best view.
        frames: number of frames that show it.
        tracks: numbers of its tracks.
        possibly_same: numbers of earlier findings that may be this one.
    """

    number: int
    first: View
    last: View
    best: View
    look: NDArray[np.float32]
    frames: int = 0
    tracks: list[int] = field(default_factory=list)
    possibly_same: list[int] = field(default_factory=list)
    votes: Counter[str] = field(default_factory=Counter)
    largest_px: int = 0
    _areas_m2: list[tuple[bool, float]] = field(default_factory=list)

    @property
    def class_name(self) -> str:
        """What most of its score says that it is."""
        return self.votes.most_common(1)[0][0]

    @property
    def score(self) -> float:
        """Of the best view."""
        return self.best.score

    @property
    def mean_score(self) -> float:
        """Of all views."""
        return sum(self.votes.values()) / self.frames

    @property
    def area_m2(self) -> float | None:
        """Median of its measured sizes, of those that show it whole where there are any."""
        whole = [area for is_whole, area in self._areas_m2 if is_whole]
        sizes = whole or [area for _, area in self._areas_m2]
        return statistics.median(sizes) if sizes else None

    @property
    def largest_m2(self) -> float | None:
        """The largest measured size."""
        return max((area for _, area in self._areas_m2), default=None)

    def is_best(self, view: View) -> bool:
        """Whether a view, the latest, shows it better than the best so far, as what it is taken for."""
        if self.frames == 1:
            return True
        name = self.class_name
        if (view.class_name == name) != (self.best.class_name == name):
            return view.class_name == name
        return view.quality > self.best.quality

    def see(self, view: View) -> None:
        """Take another view of it."""
        self.last = view
        self.frames += 1
        self.votes[view.class_name] += view.score  # type: ignore[assignment]
        self.largest_px = max(self.largest_px, view.area_px)
        if view.track not in self.tracks:
            self.tracks.append(view.track)
        if view.area_m2 is not None:
            sizes = self._areas_m2
            sizes.append((view.whole, view.area_m2))
            if len(sizes) > _SIZES_KEPT:  # the ends stay, so that the largest is the largest
                sizes.sort(key=lambda size: size[1])
                del sizes[1:-1:2]


class Findings:
    """Collects views into findings.

    Args:
        bridge_s: seconds over which a thing goes on although the camera's motion was lost.

    Attributes:
        all: in the order of first sight.
    """

    def __init__(self, bridge_s: float) -> None:
        self.bridge_ns = round(bridge_s * 1e9)
        self.all: list[Finding] = []
        self._of_track: dict[int, Finding] = {}

    def frame(self, views: list[View], rgb: NDArray[np.uint8]) -> list[tuple[View, Finding, bool]]:
        """Take the views of one frame; each with its finding, and whether it is that finding's best so far."""
        here = [self._of_track[v.track] for v in views if v.track in self._of_track]
        taken = {finding.number for finding in here}
        told = []
        for view in views:
            finding, look = self._of_track.get(view.track), None
            if finding is None:
                look = look_of(rgb, view.box_xyxy)
                finding = self._returned(view, taken, look) or self._went_on(view, taken, look)
                finding = finding or self._begin(view, look)
                self._of_track[view.track] = finding
                taken.add(finding.number)
            finding.see(view)
            best = finding.is_best(view)
            if best:
                finding.best, finding.look = view, look_of(rgb, view.box_xyxy) if look is None else look
            told.append((view, finding, best))
        return told

    def _returned(self, view: View, taken: set[int], look: NDArray[np.float32]) -> Finding | None:
        """The finding that lies where this view lies; the nearest of those.

        One of another class is the same thing under another name where it is as large and of that look.
        """
        found: tuple[float, Finding] | None = None
        for finding in self.all:
            last = finding.last
            if finding.number in taken or last.piece != view.piece:
                continue
            away = float(np.hypot(view.place[0] - last.place[0], view.place[1] - last.place[1]))
            allowed = _NEAR * max(view.extent, last.extent) + _DRIFT * (view.way - last.way)
            if away > allowed or (found is not None and away >= found[0]):
                continue
            if finding.class_name == view.class_name or _as_large_and_alike(finding, view, look):
                found = away, finding
        return found[1] if found else None

    def _went_on(self, view: View, taken: set[int], look: NDArray[np.float32]) -> Finding | None:
        """The one finding that was here a moment ago, before the motion was lost, as large and of that look."""
        found = [
            f
            for f in self.all
            if f.number not in taken
            and f.class_name == view.class_name
            and f.last.piece != view.piece
            and view.stamp_ns - f.last.stamp_ns <= self.bridge_ns
            and _as_large_and_alike(f, view, look)
        ]
        return found[0] if len(found) == 1 else None

    def _begin(self, view: View, look: NDArray[np.float32]) -> Finding:
        finding = Finding(len(self.all) + 1, view, view, view, look)
        for other in self.all:
            # at another place of the same piece it is another thing
            if other.class_name == view.class_name and other.last.piece != view.piece and alike(other.look, look):
                finding.possibly_same.append(other.number)
        self.all.append(finding)
        return finding


def _as_large_and_alike(finding: Finding, view: View, look: NDArray[np.float32]) -> bool:
    as_large = 1 / _SIZE_JUMP <= view.area_px / finding.last.area_px <= _SIZE_JUMP
    return as_large and alike(finding.look, look)


def look_of(rgb: NDArray[np.uint8], box_xyxy: tuple[float, float, float, float]) -> NDArray[np.float32]:
    """Histogram of hue and saturation in a box; for `alike`."""
    x0, y0 = (max(0, int(v)) for v in box_xyxy[:2])
    x1, y1 = int(np.ceil(box_xyxy[2])), int(np.ceil(box_xyxy[3]))
    hsv = cv2.cvtColor(np.ascontiguousarray(rgb[y0:y1, x0:x1]), cv2.COLOR_RGB2HSV)
    histogram: NDArray[np.float32] = cv2.calcHist([hsv], [0, 1], None, [18, 8], [0, 180, 0, 256])
    return histogram


def alike(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    """Whether two looks may be of one thing."""
    return bool(cv2.compareHist(a, b, cv2.HISTCMP_CORREL) >= _ALIKE)
