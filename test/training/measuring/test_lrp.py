"""Optimal LRP on cases worked out by hand, and next to the definition tried at every threshold."""

from __future__ import annotations

import numpy as np
import pytest
from coco_cases import A_LOWER, A, B, C, labels, random_case, results_of

from training.measuring.lrp import lrp_by_class, optimal_lrp
from training.measuring.matching import match


def lrp(scores: list[float], iou: list[float], n_labels: int) -> tuple[float | None, ...]:
    return tuple(optimal_lrp(np.array(scores), np.array(iou), n_labels))


def test_perfect_masks_have_no_error_and_the_last_score_is_the_threshold() -> None:
    assert lrp([0.6, 0.9], [1.0, 1.0], 2) == (0, 0, 0, 0, 0.6)


def test_a_loose_mask_a_false_alarm_and_a_miss() -> None:
    # keep one: (0.2 / 0.5 + 0 + 1) / 2 = 0.7; two: (0.4 + 1 + 1) / 3 = 0.8; three: (0.4 + 0.8 + 1 + 0) / 3 = 0.73
    assert lrp([0.9, 0.8, 0.7], [0.8, 0.0, 0.6], 2) == pytest.approx((0.7, 0.2, 0.0, 0.5, 0.9))
    # with a tighter third it pays to take the false alarm along: (0.4 + 0.2 + 1) / 3
    assert lrp([0.9, 0.8, 0.7], [0.8, 0.0, 0.9], 2) == pytest.approx((1.6 / 3, 0.15, 1 / 3, 0.0, 0.7))


def test_nothing_found_is_the_greatest_error_and_has_no_threshold() -> None:
    for scores, iou in (([], []), ([0.9], [0.0])):
        assert lrp(scores, iou, 3) == (1, None, None, 1, None)


def test_equal_scores_are_kept_or_dropped_together() -> None:
    error, _, false_positive, _, threshold = lrp([0.5, 0.5], [1.0, 0.0], 1)
    assert (error, false_positive, threshold) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_least_error_of_the_definition_over_all_thresholds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = np.round(rng.random(30), 1)  # many are equal
    iou = np.where(rng.random(30) < 0.5, rng.uniform(0.5, 1, 30), 0.0)
    n_labels = int((iou > 0).sum()) + 4
    errors = {2.0: 1.0}
    for threshold in np.unique(scores):
        kept = iou[scores >= threshold]
        tp = int((kept > 0).sum())
        fp, fn = len(kept) - tp, n_labels - tp
        errors[float(threshold)] = (sum((1 - x) / 0.5 for x in kept if x > 0) + fp + fn) / (tp + fp + fn)
    found = optimal_lrp(scores, iou, n_labels)
    assert found.error == pytest.approx(min(errors.values()))
    assert errors[found.threshold if found.threshold is not None else 2.0] == pytest.approx(found.error)


def test_matching_goes_by_class_and_leaves_crowd_regions_out() -> None:
    truth = [[(A, 0), (B, 1), (C, 0)]]
    coco = labels(truth)
    coco.dataset["annotations"][2]["iscrowd"] = 1
    # the mask of B has the wrong class; the mask in the crowd counts neither way
    results = results_of([[(A_LOWER, 0, 0.9), (B, 0, 0.8), (C, 0, 0.7)]])
    matches = match(coco, results, [0])
    assert matches.class_names == ("anode", "hull", "object")
    assert matches.n_labels.tolist() == [1, 1, 0]
    assert sorted(zip(matches.scores.tolist(), matches.iou.tolist(), strict=True)) == [
        (pytest.approx(0.8), 0.0),
        (pytest.approx(0.9), pytest.approx(0.77)),
    ]
    by_class = lrp_by_class(matches)
    assert by_class["anode"] is not None
    assert by_class["anode"].error == pytest.approx(0.23 / 0.5)
    assert by_class["hull"] is not None
    assert by_class["hull"].error == 1
    assert by_class["object"] is None


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_matches_are_those_of_going_through_the_detections_best_first(seed: int) -> None:
    truth, found = random_case(seed)
    expected = []
    for wanted, one in zip(truth, found, strict=True):
        free = list(wanted)
        for mask, class_id, score in one:  # best first
            ious = [(mask & t).sum() / (mask | t).sum() if c == class_id else 0.0 for t, c in free]
            best = max(ious, default=0.0)
            if best >= 0.5:
                free.pop(ious.index(best))
            expected.append((class_id, score, best if best >= 0.5 else 0.0))
    matches = match(labels(truth), results_of(found), range(len(truth)))
    given = zip(matches.class_ids.tolist(), matches.scores.tolist(), matches.iou.tolist(), strict=True)
    assert sorted(given) == [pytest.approx(row, abs=1e-6) for row in sorted(expected)]
    assert 0 < matches.true.sum() < len(matches.scores)
