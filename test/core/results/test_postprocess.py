"""Scores, thresholds, duplicates, and pasting against torch's own interpolation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from spda_sam_core.preprocess import Letterbox
from spda_sam_core.results.calibration import Calibration
from spda_sam_core.results.instances import Instances, boxes_of_masks
from spda_sam_core.results.postprocess import postprocess

NAMES = ("anode", "hull", "object")
SQUARE = Letterbox(96, 96, 96)


def logit(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))


def raw(probability: float, iou: float = 1.0) -> float:
    """The score of the definition, before calibration."""
    return math.sqrt(probability) * iou


def rectangle(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    """(24, 24) logits, +5 inside and -5 outside."""
    mask = np.full((24, 24), -5, np.float32)
    mask[y0:y1, x0:x1] = 5
    return mask


def run(masks: list[np.ndarray], classes: list[list[float]], iou: list[float], **changes: Any) -> Instances:
    """Post-process candidates given by class probabilities."""
    logits = np.array([[logit(p) for p in row] for row in classes], np.float32)
    settings: dict[str, Any] = {"letterbox": SQUARE, "class_names": NAMES, "score_threshold": 0.0}
    return postprocess(np.stack(masks), logits, np.array(iou, np.float32), **{**settings, **changes})


LEFT, RIGHT = rectangle(2, 2, 8, 8), rectangle(14, 14, 20, 22)


def test_score_is_the_root_of_the_class_probability_times_predicted_iou_and_orders_the_result() -> None:
    # by the plain product the first would be better: 0.4 > 0.36
    result = run([LEFT, RIGHT], [[0.8, 0.1, 0.2], [0.3, 0.4, 0.2]], [0.5, 0.9])
    assert result.scores.tolist() == pytest.approx([math.sqrt(0.4) * 0.9, math.sqrt(0.8) * 0.5])
    assert result.class_ids.tolist() == [1, 0]
    assert result.masks[0, 70, 68]  # the second candidate, enlarged four times
    assert result.masks[1, 20, 20]


def test_predicted_iou_outside_0_to_1_is_clipped() -> None:
    result = run([LEFT, RIGHT], [[0.5, 0.1, 0.1], [0.6, 0.1, 0.1]], [1.7, -0.4])
    assert result.scores.tolist() == pytest.approx([raw(0.5), 0.0])


def test_the_published_score_is_the_calibrated_one_and_the_threshold_is_one_of_it() -> None:
    masks, classes, iou = [LEFT, RIGHT], [[0.81, 0.1, 0.1], [0.25, 0.1, 0.1]], [0.8, 1.0]
    double = Calibration((2.0,), (math.log(3),))
    # raw 0.72 and 0.5; odds are squared, then three times as high
    odds = [3 * (r / (1 - r)) ** 2 for r in (0.72, 0.5)]
    expected = [o / (1 + o) for o in odds]
    assert run(masks, classes, iou, calibration=double).scores.tolist() == pytest.approx(expected)
    assert len(run(masks, classes, iou, calibration=double, score_threshold=expected[1] + 0.01)) == 1


def test_the_map_is_that_of_the_class_of_a_candidate_and_can_change_the_order() -> None:
    maps = Calibration((1.0, 1.0, 1.0), (math.log(1 / 36), 0.0, 0.0))
    result = run([LEFT, RIGHT], [[0.81, 0.1, 0.1], [0.1, 0.25, 0.1]], [1.0, 1.0], calibration=maps)
    assert result.class_ids.tolist() == [1, 0]
    assert result.scores.tolist() == pytest.approx([0.5, 0.2])  # odds of 0.9 are 9, a 36th of them 1 to 4


def test_a_score_that_is_no_number_is_dropped_calibrated_or_not() -> None:
    for calibration in (Calibration(), Calibration((1.5,), (0.3,))):
        result = run([LEFT, RIGHT], [[0.9, 0.1, 0.1]] * 2, [float("nan"), 0.5], calibration=calibration)
        assert result.masks[0, 70, 68]  # the second
        assert len(result) == 1


def test_threshold_keeps_equal_scores() -> None:
    masks, classes = [LEFT, RIGHT], [[0.5, 0.1, 0.1], [0.25, 0.1, 0.1]]
    assert len(run(masks, classes, [1, 1], score_threshold=0.5)) == 2
    assert len(run(masks, classes, [1, 1], score_threshold=0.51)) == 1
    assert len(run(masks, classes, [1, 1], score_threshold=0.9)) == 0


def test_extreme_and_broken_logits_do_not_overflow_or_get_through() -> None:
    masks = np.stack([LEFT, RIGHT, RIGHT])
    classes = np.array([[1e4, 0, 0], [-1e4, -1e4, -1e4], [np.nan, 0, 0]], np.float32)
    with np.errstate(all="raise"):
        result = postprocess(
            masks,
            classes,
            np.ones(3, np.float32),
            letterbox=SQUARE,
            class_names=NAMES,
            score_threshold=0.5,
        )
    assert result.scores.tolist() == [1.0]


def test_no_candidate_gives_an_empty_result_of_the_image_size() -> None:
    box = Letterbox(48, 64, 96)
    result = postprocess(
        np.zeros((0, 24, 24), np.float32),
        np.zeros((0, 3), np.float32),
        np.zeros(0, np.float32),
        letterbox=box,
        class_names=NAMES,
        score_threshold=0.1,
    )
    assert (len(result), result.height, result.width) == (0, 48, 64)


def test_empty_masks_are_dropped() -> None:
    result = run([np.full((24, 24), -1, np.float32), LEFT], [[0.9, 0.1, 0.1]] * 2, [0.9, 0.5])
    assert result.scores.tolist() == pytest.approx([raw(0.9, 0.5)])


def test_masks_that_lie_in_the_padding_only_are_dropped() -> None:
    wide = Letterbox(40, 96, 96)  # rows 10..23 of the logits are padding
    result = run([RIGHT, LEFT], [[0.9, 0.1, 0.1]] * 2, [0.9, 0.5], letterbox=wide)
    assert result.scores.tolist() == pytest.approx([raw(0.9, 0.5)])


def test_of_duplicates_the_better_one_stays_whatever_the_class() -> None:
    almost = rectangle(2, 2, 8, 8)
    almost[2, 2] = -5  # IoU 35/36
    result = run([LEFT, almost, RIGHT], [[0.6, 0.1, 0.1], [0.1, 0.7, 0.1], [0.2, 0.1, 0.1]], [1, 1, 1])
    assert result.scores.tolist() == pytest.approx([raw(0.7), raw(0.2)])
    assert result.class_ids.tolist() == [1, 0]


def test_what_a_mask_does_in_the_padding_does_not_hide_a_duplicate() -> None:
    wide = Letterbox(40, 96, 96)  # rows 10..23 of the logits are padding
    spilt = LEFT.copy()
    spilt[10:] = 5
    result = run([LEFT, spilt], [[0.6, 0.1, 0.1], [0.5, 0.1, 0.1]], [1, 1], letterbox=wide)
    assert result.scores.tolist() == pytest.approx([raw(0.6)])


def test_overlap_below_the_limit_is_no_duplicate() -> None:
    part = rectangle(2, 2, 8, 6)  # IoU 24/36
    assert len(run([LEFT, part], [[0.6, 0.1, 0.1]] * 2, [1, 1])) == 2


def test_a_dropped_duplicate_drops_nothing_itself() -> None:
    row = [rectangle(0, 0, x, 10) for x in (20, 17, 14)]  # neighbours: IoU 0.85 and 0.82; ends: 0.7
    result = run(row, [[p, 0.1, 0.1] for p in (0.9, 0.8, 0.7)], [1, 1, 1])
    assert result.scores.tolist() == pytest.approx([raw(0.9), raw(0.7)])


@pytest.mark.parametrize(("height", "width"), [(480, 640), (640, 480), (96, 96), (123, 457), (50, 40)])
def test_pasting_equals_torch_interpolation(height: int, width: int) -> None:
    box = Letterbox(height, width, 96)
    noise = torch.randn(3, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    logits = functional.interpolate(noise, (24, 24), mode="bicubic")
    rows, columns = box.resized_hw
    square = functional.interpolate(logits, (96, 96), mode="bilinear", align_corners=False)
    inside = square[..., :rows, :columns]
    full = functional.interpolate(inside, (height, width), mode="bilinear", align_corners=False)[:, 0].numpy()
    result = run(list(logits[:, 0].numpy()), [[p, 0.1, 0.1] for p in (0.9, 0.8, 0.7)], [1, 1, 1], letterbox=box)
    assert len(result) == 3
    clear = np.abs(full) > 1e-4  # elsewhere rounding decides
    np.testing.assert_array_equal(result.masks[clear], (full > 0)[clear])


def pasted_whole(logits: np.ndarray, box: Letterbox) -> np.ndarray:
    """(H, W) logits at the size of the image, every pixel of them, by two plain bilinear interpolations."""

    def interpolated(values: np.ndarray, size: int) -> np.ndarray:
        positions = np.clip((np.arange(size) + 0.5) * len(values) / size - 0.5, 0, len(values) - 1)
        before = np.floor(positions).astype(int)
        after = np.minimum(before + 1, len(values) - 1)
        share = (positions - before)[:, None]
        return values[before] * (1 - share) + values[after] * share

    def resized(values: np.ndarray, height: int, width: int) -> np.ndarray:
        return interpolated(interpolated(values, height).T, width).T

    height, width = box.resized_hw
    return resized(resized(logits.astype(np.float64), box.size, box.size)[:height, :width], box.height, box.width)


def test_pasting_where_a_mask_is_equals_pasting_it_whole() -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:24, 0:24]
    sizes = [(72, 128), (480, 640), (108, 192), (90, 40), (1, 60), (7, 5), *rng.integers(5, 300, (30, 2)).tolist()]
    for height, width in sizes:
        box = Letterbox(int(height), int(width), 96)
        centres, radii = rng.uniform(-2, 26, (4, 2)), rng.uniform(0.7, 14, (4, 2))
        masks = [
            2 - 6 * np.hypot((x - cx) / rx, (y - cy) / ry) + rng.normal(0, 0.4, (24, 24))
            for (cx, cy), (rx, ry) in zip(centres, radii, strict=True)
        ]
        for mask in np.stack(masks).astype(np.float32):
            result = run([mask], [[0.9, 0.1, 0.1]], [1.0], letterbox=box)
            expected = pasted_whole(mask, box)
            clear = np.abs(expected) > 1e-4  # elsewhere rounding decides
            found = result.masks[0] if len(result) else np.zeros((box.height, box.width), np.bool_)
            np.testing.assert_array_equal(found[clear], (expected > 0)[clear])
            np.testing.assert_array_equal(result.boxes_xyxy, boxes_of_masks(result.masks))


def test_duplicates_are_those_of_the_intersections_over_unions() -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:24, 0:24]
    for _ in range(20):
        masks = [
            5 - np.hypot((x - 12 - rng.normal()) / rng.uniform(0.9, 1.1), y - 12 - rng.normal()).astype(np.float32)
            for _ in range(12)
        ]
        probabilities = np.sort(rng.uniform(0.2, 0.9, 12))[::-1]
        kept: list[int] = []
        for i, mask in enumerate(masks):
            overlaps = [((mask > 0) & (masks[k] > 0)).sum() / ((mask > 0) | (masks[k] > 0)).sum() for k in kept]
            if max(overlaps, default=0) <= 0.8:
                kept.append(i)
        result = run(masks, [[p, 0.1, 0.1] for p in probabilities], [1.0] * 12)
        assert 1 < len(kept) < 12
        assert result.scores.tolist() == pytest.approx(np.sqrt(probabilities[kept]).tolist())


def test_boxes_are_those_of_the_masks() -> None:
    result = run([LEFT, RIGHT], [[0.9, 0.1, 0.1], [0.8, 0.1, 0.1]], [1, 1])
    for mask, box in zip(result.masks, result.boxes_xyxy, strict=True):
        ys, xs = np.nonzero(mask)
        assert box.tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


def test_arrays_that_disagree_are_refused() -> None:
    with pytest.raises(ValueError, match=r"predicted_iou \(1,\) do not fit 2 masks and 3 classes"):
        run([LEFT, RIGHT], [[0.9, 0.1, 0.1]] * 2, [1])
