"""Doubles among candidates, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from spda_sam_core.preprocess import Letterbox
from spda_sam_core.results.calibration import UNCALIBRATED, Calibration
from training.measuring.doubles import Doubles, count_doubles

SQUARE = Letterbox(96, 96, 96)


def rows(first: int, last: int) -> np.ndarray:
    """(24, 24) logits, positive in these rows."""
    mask = np.full((24, 24), -5, np.float32)
    mask[first:last] = 5
    return mask


def count(masks: list[np.ndarray], iou: list[float], box: Letterbox = SQUARE, **changes: Calibration) -> Doubles:
    logits = np.zeros((len(masks), 2), np.float32)
    logits[:, 1] = 50  # surely class 1: the score is the IoU
    calibration = changes.get("calibration", UNCALIBRATED)
    return count_doubles(np.stack(masks), logits, np.array(iou, np.float32), letterbox=box, calibration=calibration)


def test_a_candidate_that_overlaps_a_better_one_by_more_than_080_is_a_double() -> None:
    assert count([rows(0, 10), rows(0, 9), rows(12, 20)], [0.9, 0.8, 0.7]) == (1, 3)  # IoU 0.9
    assert count([rows(0, 10), rows(0, 8)], [0.9, 0.8]) == (0, 2)  # IoU 0.8 is not above
    assert count([rows(0, 9), rows(0, 10), rows(0, 10)], [0.7, 0.8, 0.9]) == (2, 3)  # whatever the order


def test_a_double_of_a_double_counts() -> None:
    # neighbours overlap by 0.85 and 0.82, the ends by 0.7: postprocess would keep the last
    assert count([rows(0, 20), rows(0, 17), rows(0, 14)], [0.9, 0.8, 0.7]) == (2, 3)


def test_weak_and_empty_candidates_are_none() -> None:
    assert count([rows(0, 10), rows(0, 10), rows(5, 5)], [0.9, 0.049, 0.8]) == (0, 1)


def test_the_score_that_makes_a_candidate_is_the_calibrated_one() -> None:
    masks, iou = [rows(0, 10), rows(0, 10)], [0.9, 0.1]
    assert count(masks, iou) == (1, 2)
    assert count(masks, iou, calibration=Calibration((1.0,), (-2.0,))) == (0, 1)


def test_what_masks_do_in_the_padding_does_not_matter() -> None:
    wide = Letterbox(40, 96, 96)  # rows 10 to 23 are padding
    assert count([rows(0, 24), rows(0, 9)], [0.9, 0.8], wide) == (1, 2)
    assert count([rows(12, 20), rows(12, 20)], [0.9, 0.8], wide) == (0, 0)


@pytest.mark.parametrize("seed", [0, 1])
def test_it_counts_as_the_definition_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    masks = [rows(*sorted(rng.integers(0, 24, 2).tolist())) for _ in range(40)]
    scores = rng.random(40).tolist()
    seen = [(m > 0, s) for m, s in zip(masks, scores, strict=True) if s >= 0.05 and (m > 0).any()]
    doubles = sum(any(t > s and (m & o).sum() / (m | o).sum() > 0.8 for o, t in seen) for m, s in seen)
    assert count(masks, scores) == (doubles, len(seen))
    assert doubles > 3
