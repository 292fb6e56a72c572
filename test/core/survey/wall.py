"""A wall with three discs, pictures of it on the way past, and a network that knows it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from spda_sam_core.results.instances import Instances
from spda_sam_core.survey.dive import survey_dive
from spda_sam_core.survey.journal import Frame, Journal

CLASSES = ("marine_growth", "anode", "ship_hull")
SIZE_HW = (120, 160)
STEP_PX = 10
THINGS = ((60, 60, 12, 0), (200, 40, 15, 1), (330, 80, 14, 0))
"""x, y, radius and class of discs on a wall that is longer than the view."""


def whole_wall() -> np.ndarray:
    rng = np.random.default_rng(0)
    noise = cv2.GaussianBlur(rng.integers(0, 256, (120, 520, 3), np.uint8), (0, 0), 2).astype(np.float32)
    return np.clip((noise - 128) * 4 + 128, 40, 215).astype(np.uint8)


class SeesDiscs:
    """A network that knows the wall: what is at `left` of it; counts how often it was asked."""

    class_names = CLASSES
    checkpoint_sha256 = "ab" * 32
    terms: tuple[str, ...] = ()

    def __init__(self, fails_at: int | None = None) -> None:
        self.asked, self.fails_at = 0, fails_at

    def predict(self, rgb, depth_m=None, *, score_threshold=0.3) -> Instances:
        if self.asked == self.fails_at:
            raise KeyboardInterrupt
        self.asked += 1
        left = left_of(rgb)
        ys, xs = np.mgrid[: SIZE_HW[0], : SIZE_HW[1]]
        masks = [(np.hypot(xs + left - x, ys - y) < r, c) for x, y, r, c in THINGS]
        seen = [(mask, c) for mask, c in masks if mask.sum() > 100]
        if not seen:
            return Instances.empty(*SIZE_HW, CLASSES)
        return Instances.of_labels(np.stack([m for m, _ in seen]), np.array([c for _, c in seen]), CLASSES)


class BlindInTheDark(SeesDiscs):
    def predict(self, rgb, depth_m=None, *, score_threshold=0.3) -> Instances:
        return super().predict(rgb) if rgb.any() else Instances.empty(*SIZE_HW, CLASSES)


def left_of(rgb: np.ndarray) -> int:
    """Where on the wall a picture was taken, by its pixels."""
    whole = whole_wall()
    return int(np.argmin([np.abs(whole[:, x : x + 4].astype(int) - rgb[:, :4]).mean() for x in range(361)]))


def pictures(lefts, problem_at=()) -> list[Frame]:
    whole, frames = whole_wall(), []
    for i, left in enumerate(lefts):
        rgb = None if i in problem_at else np.ascontiguousarray(whole[:, left : left + 160])
        frames.append(Frame(f"{i:03d}.png", i * 500_000_000, rgb, problem="" if rgb is not None else f"{i}: damaged"))
    return frames


def look_at(folder: Path, frames, model=None, *, resume=False, **options):
    journal = Journal(folder / "journal.jsonl", {"a": 1}, CLASSES, resume=resume)
    try:
        return survey_dive(frames, model or SeesDiscs(), journal, folder, interval_s=0.5, **options)
    finally:
        journal.close()


PASS = list(range(0, 361, STEP_PX))
