"""Average precision on hand-made cases whose value follows from its definition, and next to pycocotools itself."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from coco_cases import A_LOWER, A, B, C, Found, Labelled, labels, random_case, results_of, square
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from training.measuring.coco_metrics import coco_metrics, picture_quality, precision_curves, run_cocoeval

ONE_OF_TWO = 100 * 51 / 101
"""Half of the labels found, none wrong: precision 1 at the recalls 0, 0.01 .. 0.5 of COCO's 101."""


def measure(truth: list[list[Labelled]], found: list[list[Found]]) -> dict[str, Any]:
    return coco_metrics(labels(truth), results_of(found), range(len(truth)))


def test_perfect_predictions_score_100() -> None:
    metrics = measure([[(A, 0), (B, 1)], [(C, 2)]], [[(A, 0, 0.9), (B, 1, 0.8)], [(C, 2, 0.7)]])
    for name in ("ap", "ap50", "ap75", "ap_medium", "ap_large", "ap_agnostic", "ap_agnostic50"):
        assert metrics[f"mask_{name}"] == pytest.approx(100), name
        assert metrics[f"box_{name}"] == pytest.approx(100), name
    assert metrics["mask_ap_liaci"] == pytest.approx(100)
    assert metrics["mask_ap_small"] is None  # there is nothing small
    assert metrics["n_images"] == 2


def test_one_of_two_instances_found() -> None:
    metrics = measure([[(A, 0), (B, 0)]], [[(A, 0, 0.9)]])
    assert metrics["mask_ap"] == pytest.approx(ONE_OF_TWO)
    assert metrics["box_ap50"] == pytest.approx(ONE_OF_TWO)


def test_nothing_found_scores_0() -> None:
    metrics = measure([[(A, 0)], []], [[], []])
    assert metrics["mask_ap"] == 0
    assert metrics["mask_ap_agnostic"] == 0
    assert metrics["per_class"]["anode"] == {"mask_ap": 0, "mask_ap50": 0, "box_ap": 0, "n_instances": 1}


def test_nothing_to_find_has_no_value() -> None:
    metrics = measure([[]], [[(A, 0, 0.9)]])
    assert metrics["mask_ap"] is None
    assert metrics["mask_ap_liaci"] is None


def test_a_wrong_class_counts_for_the_agnostic_value_only() -> None:
    metrics = measure([[(A, 0), (B, 1)]], [[(A, 0, 0.9), (B, 0, 0.8)]])
    assert metrics["mask_ap"] == pytest.approx(50)  # anode 100, hull 0
    assert metrics["mask_ap_agnostic"] == pytest.approx(100)
    assert metrics["box_ap_agnostic"] == pytest.approx(100)


def test_a_false_alarm_that_scores_higher_halves_the_precision() -> None:
    assert measure([[(A, 0)]], [[(B, 0, 0.9), (A, 0, 0.8)]])["mask_ap"] == pytest.approx(50)
    assert measure([[(A, 0)]], [[(A, 0, 0.9), (B, 0, 0.8)]])["mask_ap"] == pytest.approx(100)


def test_iou_thresholds() -> None:
    part = square(10, 10, 100)
    part[10:36] = False  # IoU 0.74: above 0.5, 0.55, 0.6, 0.65, 0.7 of the ten thresholds
    metrics = measure([[(A, 0)]], [[(part, 0, 0.9)]])
    assert metrics["mask_ap50"] == pytest.approx(100)
    assert metrics["mask_ap75"] == pytest.approx(0)
    assert metrics["mask_ap"] == pytest.approx(50)


def test_masks_are_judged_as_masks_and_boxes_as_boxes() -> None:
    frame = A.copy()
    frame[12:108, 12:108] = False  # the same box, hardly any mask
    metrics = measure([[(A, 0)]], [[(frame, 0, 0.9)]])
    assert metrics["box_ap"] == pytest.approx(100)
    assert metrics["mask_ap50"] == pytest.approx(0)


def test_the_size_of_a_false_alarm_is_the_area_of_its_mask() -> None:
    medium = square(10, 10, 60)
    frame = square(150, 10, 120)
    frame[14:126, 154:266] = False  # 1856 pixels, medium, in a large box
    metrics = measure([[(medium, 0)]], [[(frame, 0, 0.9), (medium, 0, 0.8)]])
    assert metrics["mask_ap_medium"] == pytest.approx(50)
    assert metrics["box_ap_medium"] == pytest.approx(100)


def test_per_class_and_the_mean_without_object() -> None:
    metrics = measure([[(A, 0), (B, 1), (C, 2)]], [[(A, 0, 0.9), (B, 1, 0.8)]])
    assert metrics["per_class"]["anode"]["mask_ap"] == pytest.approx(100)
    assert metrics["per_class"]["object"]["mask_ap"] == pytest.approx(0)
    assert metrics["mask_ap"] == pytest.approx(200 / 3)
    assert metrics["mask_ap_liaci"] == pytest.approx(100)


def plain_cocoeval(coco: COCO, results: list[dict[str, Any]], kind: str) -> list[float | None]:
    """COCOeval's own twelve figures, in per cent: AP, AP50, AP75, by size; AR with 1, 10, 100 results, by size."""
    other = {"segm": "bbox", "bbox": "segmentation"}[kind]
    own = [{key: value for key, value in result.items() if key != other} for result in results]
    with contextlib.redirect_stdout(io.StringIO()):
        run = COCOeval(coco, coco.loadRes(own), kind)
        run.evaluate()
        run.accumulate()
        run.summarize()
    return [None if value == -1 else 100 * value for value in run.stats]


ONE_LOOSE = ([[(A, 0), (B, 0)]], [[(C, 0, 0.9), (A_LOWER, 0, 0.8)]])
"""A false alarm, then one of two labels with IoU 0.77."""


def test_a_loose_mask_a_false_alarm_and_a_miss_give_the_ap_of_the_definition() -> None:
    metrics = measure(*ONE_LOOSE)
    # precision 1/2 up to recall 1/2, at the six thresholds 0.5 .. 0.75 of ten
    for name, precision in (("ap", 0.6 / 2), ("ap50", 1 / 2), ("ap75", 1 / 2), ("ap_agnostic", 0.6 / 2)):
        assert metrics[f"mask_{name}"] == pytest.approx(precision * ONE_OF_TWO), name
        assert metrics[f"box_{name}"] == pytest.approx(precision * ONE_OF_TWO), name
    # the false alarm is of medium size
    assert metrics["mask_ap_large"] == pytest.approx(0.6 * ONE_OF_TWO)
    assert metrics["mask_ap_medium"] is None


CROWDED = [random_case(seed, n_labels=40, n_found=150) for seed in range(1)]
"""More than 10 results of a class in a picture count, and more than 100 of all classes are there."""


@pytest.mark.parametrize(("kind", "name"), [("segm", "mask"), ("bbox", "box")])
@pytest.mark.parametrize("case", [ONE_LOOSE, *(random_case(seed) for seed in range(3)), *CROWDED])
def test_all_values_are_those_of_pycocotools(case: tuple[Any, Any], kind: str, name: str) -> None:
    truth, found = case
    coco, results = labels(truth), results_of(found)
    coco.dataset["annotations"][-1]["iscrowd"] = 1
    expected = plain_cocoeval(coco, results, kind)[:9]
    metrics = coco_metrics(coco, results, range(len(truth)))
    keys = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar1", "ar10", "ar100")
    assert [metrics[f"{name}_{key}"] for key in keys] == pytest.approx(expected, abs=1e-9)
    assert 0 < expected[0] < 100


def test_in_the_crowded_case_results_beyond_the_tenth_are_worth_something() -> None:
    truth, found = CROWDED[0]
    few = [[result for result in one if sum(r[1] == result[1] and r[2] > result[2] for r in one) < 10] for one in found]
    assert measure(truth, few)["mask_ap"] < 0.8 * measure(truth, found)["mask_ap"]
    metrics = measure(truth, found)
    assert metrics["mask_ar1"] < metrics["mask_ar10"] < metrics["mask_ar100"]


def test_in_a_crowd_region_nothing_is_right_and_nothing_is_wrong() -> None:
    coco = labels([[(A, 0), (B, 0)]])
    coco.dataset["annotations"][1]["iscrowd"] = 1
    inside = B.copy()
    inside[60:] = False  # two results in the region, one of them all of it
    metrics = coco_metrics(coco, results_of([[(B, 0, 0.9), (inside, 0, 0.8), (A, 0, 0.7)]]), [0])
    for key in ("mask_ap", "mask_ap_agnostic", "mask_ar100", "mask_ar100_agnostic", "box_ap"):
        assert metrics[key] == pytest.approx(100), key
    assert metrics["per_class"]["anode"]["n_instances"] == 1


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_agnostic_equals_labels_and_results_with_their_classes_merged(seed: int) -> None:
    truth, found = random_case(seed, n_labels=20, n_found=30)
    plain = measure(truth, found)
    merged = measure([[(m, 0) for m, _ in one] for one in truth], [[(m, 0, s) for m, _, s in one] for one in found])
    assert 0 < plain["mask_ap_agnostic"] < 100
    assert plain["mask_ap_agnostic"] == pytest.approx(merged["mask_ap"], abs=1e-9)
    assert plain["mask_ap_agnostic50"] == pytest.approx(merged["mask_ap50"], abs=1e-9)
    assert plain["box_ap_agnostic"] == pytest.approx(merged["box_ap"], abs=1e-9)
    assert plain["mask_ar100_agnostic"] == pytest.approx(merged["mask_ar100"], abs=1e-9)


def test_the_curve_of_one_loose_mask_after_a_false_alarm() -> None:
    truth, found = ONE_LOOSE
    runs = run_cocoeval(labels(truth), results_of(found), range(1))
    for run, classes in ((runs.mask, 3), (runs.mask_agnostic, 1), (runs.box, 3)):
        curves = precision_curves(run, 0.75)
        assert len(curves) == classes
        np.testing.assert_allclose(curves[0], [0.5] * 51 + [0.0] * 50)
        assert curves[1:] == [None] * (classes - 1)  # no label
        assert precision_curves(run, 0.8)[0].max() == 0


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_mean_of_a_curve_is_the_average_precision(seed: int) -> None:
    truth, found = random_case(seed)
    coco, results = labels(truth), results_of(found)
    runs, metrics = run_cocoeval(coco, results, range(6)), coco_metrics(coco, results, range(6))
    assert 100 * precision_curves(runs.mask_agnostic, 0.5)[0].mean() == pytest.approx(metrics["mask_ap_agnostic50"])
    for curve, of_class in zip(precision_curves(runs.mask, 0.5), metrics["per_class"].values(), strict=True):
        assert 100 * curve.mean() == pytest.approx(of_class["mask_ap50"])


def quality(truth: list[Labelled], found: list[Found], *, crowd: bool = False) -> float | None:
    coco = labels([truth])
    for annotation in coco.dataset["annotations"]:
        annotation["iscrowd"] = int(crowd)
    return picture_quality(run_cocoeval(coco, results_of([found]), [0]).mask, 0.3)[0]


def test_the_quality_of_a_picture_counts_misses_false_alarms_classes_and_iou() -> None:
    assert quality([(A, 0), (B, 1)], [(A, 0, 0.9), (B, 1, 0.8)]) == pytest.approx(1)
    assert quality([(A, 0), (B, 1)], [(A, 0, 0.9)]) == pytest.approx(1 / 1.5)
    assert quality([(A, 0)], [(A, 0, 0.9), (B, 0, 0.8)]) == pytest.approx(1 / 1.5)
    assert quality([(A, 0)], [(A, 1, 0.9)]) == 0
    assert quality([(A, 0)], [(A_LOWER, 0, 0.9)]) == pytest.approx(0.6)  # six of ten thresholds
    assert quality(ONE_LOOSE[0][0], ONE_LOOSE[1][0]) == pytest.approx(0.6 * 0.5)


def test_the_quality_of_a_picture_ignores_weak_results_and_crowd_regions() -> None:
    assert quality([(A, 0)], [(A, 0, 0.9), (B, 0, 0.2)]) == pytest.approx(1)
    assert quality([(A, 0)], [(A, 0, 0.2)]) == 0
    assert quality([(A, 0)], [(A_LOWER, 0, 0.9)], crowd=True) is None


def test_an_empty_picture_has_a_quality_only_if_something_is_found() -> None:
    assert quality([], []) is None
    assert quality([], [(A, 0, 0.2)]) is None
    assert quality([], [(A, 0, 0.9)]) == 0


def test_results_of_pictures_that_do_not_count_change_nothing() -> None:
    truth, found = random_case(0)
    coco, results = labels(truth), results_of(found)
    some = coco_metrics(coco, results, [1, 3])
    own = [result for result in results if result["image_id"] in (1, 3)]
    assert some == coco_metrics(coco, own, [1, 3])
    assert some["n_images"] == 2
