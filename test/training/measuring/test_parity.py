"""How far results are from others: what is matched, missed, added, and which limits hold."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from training.measuring.parity import Parity, parity, verdict


def result(picture: int, score: float, left: int, width: int = 10):
    mask = np.zeros((20, 60), np.uint8, order="F")
    mask[:, left : left + width] = 1
    return {"image_id": picture, "score": score, "segmentation": coco_mask.encode(mask)}


def test_results_are_matched_within_their_picture_and_counted() -> None:
    reference = [result(1, 0.9, 0), result(1, 0.8, 20), result(1, 0.1, 40), result(2, 0.7, 0)]
    found = [
        result(1, 0.85, 0),  # the same
        result(1, 0.2, 21, 9),  # one column less, and below the threshold: still the same thing
        result(1, 0.4, 40),  # above the threshold now; PyTorch has it too
        result(2, 0.6, 30),  # another thing
        result(3, 0.5, 0),  # nothing of PyTorch's there at all
    ]
    same = parity(reference, found)
    assert same[:3] == (2, 1, 2)
    assert same.mask_iou == pytest.approx((1 + 0.9) / 2)
    assert same.score_difference == pytest.approx(0.6)
    assert parity(reference, reference) == Parity(3, 0, 0, 1.0, 0.0)


def test_the_sum_of_overlaps_decides_who_is_matched_with_whom() -> None:
    reference = [result(1, 0.9, 0, 20), result(1, 0.9, 4, 20)]
    found = [result(1, 0.5, 2, 20), result(1, 0.5, 6, 20)]  # each is nearest to the second, or as near to both
    assert parity(reference, found).mask_iou == pytest.approx(18 / 22)


@pytest.mark.parametrize(
    ("precision", "iou", "ap", "expected"),
    [
        ("float32", 0.991, -0.2, "ok"),
        ("float32", 0.989, 0.3, "IoU below 0.99, AP off by more than 0.2"),
        ("float16", 0.981, 0.9, "ok"),
        ("float16", float("nan"), 0.0, "IoU below 0.98"),
        ("int8", 0.9, -1.1, "AP off by more than 1.0"),
    ],
)
def test_limits_are_those_of_the_precision(precision, iou, ap, expected) -> None:
    assert verdict(precision, Parity(1, 0, 0, iou, 0.1), ap) == expected
