"""Calibration errors of hand-made detections."""

from __future__ import annotations

import numpy as np
import pytest
from coco_cases import A_LOWER, A, B, C, labels, results_of

from training.measuring.calibration_error import calibration_error, laece, mean_true_score, reliability
from training.measuring.matching import ANY_OVERLAP, Matches, match


def matches(scores: list[float], iou: list[float], class_ids: list[int] | None = None) -> Matches:
    ids = np.array(class_ids or [0] * len(scores), np.int64)
    return Matches(np.array(scores), ids, np.zeros_like(ids), np.array(iou), np.ones(2, np.int64), ("a", "b"))


def test_scores_that_come_true_as_often_as_they_say_have_no_error() -> None:
    scores = np.repeat([0.225, 0.525, 0.975], 40)
    true = np.concatenate([np.arange(40) < round(40 * p) for p in (0.225, 0.525, 0.975)])
    assert calibration_error(matches(scores.tolist(), true.astype(float).tolist())) == pytest.approx(0)


def test_the_error_is_the_mean_distance_over_detections() -> None:
    # bin 0.90: 2 of 3 true, score 0.92; bin 0.30: 0 of 1, score 0.31
    found = matches([0.91, 0.92, 0.93, 0.31], [0.6, 0.9, 0.0, 0.0])
    assert calibration_error(found) == pytest.approx((3 * (0.92 - 2 / 3) + 0.31) / 4)
    assert mean_true_score(found) == pytest.approx(0.915)


def test_scores_below_a_twentieth_do_not_count() -> None:
    weak = matches([0.049] * 100 + [0.05], [0.9] * 100 + [0.0])
    assert calibration_error(weak) == pytest.approx(0.05)
    assert calibration_error(matches([0.049], [0.9])) is None
    assert laece(matches([0.049], [0.9])) is None
    assert mean_true_score(matches([0.049], [0.9])) is None


def test_bins_are_a_twentieth_wide_and_those_of_laece_a_twenty_fifth() -> None:
    # apart in bins of 0.05 but not of 0.1; apart in bins of 0.04 but not of 0.05
    assert calibration_error(matches([0.91, 0.97], [0.9, 0.0])) == pytest.approx((0.09 + 0.97) / 2)
    assert laece(matches([0.83, 0.845], [0.9, 0.0])) == pytest.approx((0.07 + 0.845) / 2)


def test_bins_hold_their_lower_edge_and_the_last_its_upper_one() -> None:
    bins = reliability(np.array([0.0, 0.25, 0.5, 1.0]), np.array([1.0, 0.0, 1.0, 0.0]), bins=4)
    assert bins.counts.tolist() == [1, 1, 1, 1]
    assert bins.score.tolist() == [0, 0.25, 0.5, 1]
    assert bins.target.tolist() == [1, 0, 1, 0]


def test_laece_wants_the_score_to_be_the_iou_and_takes_the_mean_over_classes() -> None:
    # class a: a bin with scores 0.81, 0.83 and IoU 0.9, 0; class b: right
    found = matches([0.81, 0.83, 0.7], [0.9, 0.0, 0.7], [0, 0, 1])
    assert laece(found) == pytest.approx(((0.82 - 0.45) + 0) / 2)


def test_a_loose_mask_is_right_for_laece_and_wrong_at_iou_50() -> None:
    loose = A.copy()
    loose[10:80] = False  # IoU 0.3
    coco, results = labels([[(A, 0), (B, 1)]]), results_of([[(loose, 0, 0.3), (C, 1, 0.1)]])
    assert laece(match(coco, results, [0], iou_threshold=ANY_OVERLAP)) == pytest.approx((0 + 0.1) / 2, abs=1e-6)
    assert calibration_error(match(coco, results, [0])) == pytest.approx(0.2, abs=1e-6)


def test_masks_that_do_not_touch_a_label_do_not_take_it_away() -> None:
    coco, results = labels([[(A, 0)]]), results_of([[(B, 0, 0.9), (A_LOWER, 0, 0.8)]])
    found = match(coco, results, [0], iou_threshold=ANY_OVERLAP)
    assert found.iou.tolist() == pytest.approx([0.0, 0.77])
