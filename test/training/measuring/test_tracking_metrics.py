"""HOTA and switches: what can be worked out by hand, and what TrackEval gives for the same sequence."""

from __future__ import annotations

import math

import numpy as np
import pytest

from training.measuring.tracking_metrics import NumberedFrame, tracking_score


def frames_of(*ids: list[int], at: int = 0) -> list[NumberedFrame]:
    """Frames in which thing number k of a frame is a square k * 20 pixels from the left."""
    made = []
    for numbers in ids:
        masks = np.zeros((len(numbers), 20, 100), np.bool_)
        for k, mask in enumerate(masks):
            mask[at : at + 10, 20 * k : 20 * k + 10] = True
        made.append(NumberedFrame(masks, np.array(numbers, np.int64)))
    return made


def test_the_same_masks_under_any_numbers_that_stay_are_perfect() -> None:
    score = tracking_score(frames_of([1, 2], [1, 2], [1, 2]), frames_of([7, 5], [7, 5], [7, 5]))
    assert score == pytest.approx((100, 100, 100, 0))


def test_a_number_that_changes_halfway_halves_the_association() -> None:
    """Each of the four frames has an association of 2 shared over 4 of either."""
    score = tracking_score(frames_of([1], [1], [1], [1]), frames_of([5], [5], [6], [6]))
    assert score == pytest.approx((100 * math.sqrt(0.5), 100, 50, 1))


def test_what_is_missed_or_invented_costs_detection() -> None:
    """Two of three are hits; one is missed, one is of nothing: 2 / (3 + 3 - 2)."""
    true, found = frames_of([1], [1], [1]), [*frames_of([5], [5]), *frames_of([5], at=10)]
    score = tracking_score(true, found)
    assert score.det_a == pytest.approx(50)
    assert score.ass_a == pytest.approx(50)  # 2 shared, 4 of either
    nothing = tracking_score(true, frames_of([], [], []))
    assert nothing == pytest.approx((0, 0, 0, 0))


def test_a_switch_counts_when_a_thing_is_found_again_however_long_after() -> None:
    true = frames_of([1], [1], [1], [1])
    assert tracking_score(true, frames_of([5], [], [6], [6])).switches == 1
    assert tracking_score(true, frames_of([5], [], [5], [5])).switches == 0


def drifting() -> tuple[list[NumberedFrame], list[NumberedFrame]]:
    """Six things that drift for 12 frames; what is found is shifted, at times missed, renumbered or invented."""
    rng = np.random.default_rng(7)
    corners, speeds = rng.integers(4, 60, (6, 2)), rng.integers(-1, 2, (6, 2))
    true, found = [], []
    for step in range(12):
        frames = []
        for shift in (np.zeros((6, 2), int), rng.integers(-2, 3, (6, 2))):
            masks = np.zeros((6, 80, 80), bool)
            for mask, (y, x) in zip(masks, np.clip(corners + step * speeds + shift, 0, 70), strict=True):
                mask[y : y + 9, x : x + 9] = True
            frames.append(masks)
        seen, kept = rng.random(6) < 0.9, rng.random(6) < 0.8
        numbers = np.arange(6) + 10 * (step >= rng.integers(4, 9, 6))
        true.append(NumberedFrame(frames[0][seen], np.arange(6)[seen]))
        found.append(NumberedFrame(frames[1][kept], numbers[kept]))
    return true, found


def test_a_messy_sequence_scores_as_trackeval_has_it() -> None:
    """Worked out once with trackeval 1.3.0 (HOTA and CLEAR) from the same matrices of mask IoU."""
    score = tracking_score(*drifting())
    expected = (34.13602910747301, 45.02819900359676, 26.268321779325954, 10)
    assert score == pytest.approx(expected, rel=1e-9)
