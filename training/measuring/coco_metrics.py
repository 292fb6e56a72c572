"""From COCO results to average precision, precision-recall curves and the quality of each picture, by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

FREE_CLASS = "object"
"""The one class of the rendered world that is not of LIACI."""
DRAWN_SCORE = 0.3
"""The node's default: what scores less is neither drawn nor counted in the quality of a picture."""
SIZES = ("small", "medium", "large")
"""COCO's: below 32 x 32 pixels, up to 96 x 96, and larger."""
RESULT_LIMITS = (1, 10, 100)
"""So many results of a picture and a class count: all of these for average recall, the last for precision."""
MAX_RESULTS = RESULT_LIMITS[-1]


class CocoRuns(NamedTuple):
    """Finished runs of `COCOeval` on the same results.

    Attributes:
        mask: masks, class by class.
        box: boxes, class by class.
        mask_agnostic: masks, all classes as one, those of results that the labels do not have included.
        box_agnostic: boxes, likewise.
    """

    mask: COCOeval
    box: COCOeval
    mask_agnostic: COCOeval
    box_agnostic: COCOeval


def coco_metrics(coco: COCO, results: Sequence[dict[str, Any]], image_ids: Sequence[int]) -> dict[str, Any]:
    """COCO average precision in per cent; None where there is no label to find.

    Args:
        coco: the labels.
        results: COCO results with mask (RLE) and box.
        image_ids: the pictures that count.

    Returns:
        n_images; for mask and box: `mask_ap` (mean over IoU 0.5 to 0.95), `mask_ap50`, `mask_ap75`,
        `mask_ap_small`, `mask_ap_medium`, `mask_ap_large`; average recall with the best 1, 10 and 100 results of a
        picture and a class `mask_ar1`, `mask_ar10`, `mask_ar100`, and with 100 by size `mask_ar100_small` and so on;
        the same with all classes as one, where results are counted by picture: `mask_ap_agnostic`,
        `mask_ap_agnostic50`, `mask_ap_agnostic_small`, `mask_ar1_agnostic`, `mask_ar100_small_agnostic` and so on;
        `box_ap` and so on; `mask_ap_liaci` (mean over the classes but `object`); and `per_class`: name to mask_ap,
        mask_ap50, box_ap and n_instances.
    """
    return metrics_of_runs(run_cocoeval(coco, results, image_ids))


def run_cocoeval(coco: COCO, results: Sequence[dict[str, Any]], image_ids: Sequence[int]) -> CocoRuns:
    """Run COCOeval for masks and boxes, by class and with all classes as one; arguments as of `coco_metrics`."""
    # pycocotools prints its progress
    with contextlib.redirect_stdout(io.StringIO()):
        mask, box = load_results(coco, results, "segm"), load_results(coco, results, "bbox")
        return CocoRuns(
            _run(coco, mask, image_ids, "segm"),
            _run(coco, box, image_ids, "bbox"),
            _run(coco, mask, image_ids, "segm", by_class=False),
            _run(coco, box, image_ids, "bbox", by_class=False),
        )


def metrics_of_runs(runs: CocoRuns) -> dict[str, Any]:
    """What `coco_metrics` gives."""
    metrics: dict[str, Any] = {"n_images": len(runs.mask.params.imgIds)}
    for name, run, merged in (("mask", runs.mask, runs.mask_agnostic), ("box", runs.box, runs.box_agnostic)):
        metrics |= {
            f"{name}_ap": _mean(run),
            f"{name}_ap50": _mean(run, iou=0.5),
            f"{name}_ap75": _mean(run, iou=0.75),
            **{f"{name}_ap_{size}": _mean(run, area=size) for size in SIZES},
            f"{name}_ap_agnostic": _mean(merged),
            f"{name}_ap_agnostic50": _mean(merged, iou=0.5),
            f"{name}_ap_agnostic75": _mean(merged, iou=0.75),
            **{f"{name}_ap_agnostic_{size}": _mean(merged, area=size) for size in SIZES},
        }
        for of_run, end in ((run, ""), (merged, "_agnostic")):
            metrics |= {f"{name}_ar{limit}{end}": _mean_recall(of_run, limit) for limit in RESULT_LIMITS}
            metrics |= {
                f"{name}_ar{MAX_RESULTS}_{size}{end}": _mean_recall(of_run, MAX_RESULTS, area=size) for size in SIZES
            }
    coco = runs.mask.cocoGt
    counts = _count_instances(coco, runs.mask.params.imgIds)
    per_class = {}
    for k, category in enumerate(runs.mask.params.catIds):
        per_class[str(coco.cats[category]["name"])] = {
            "mask_ap": _mean(runs.mask, category=k),
            "mask_ap50": _mean(runs.mask, category=k, iou=0.5),
            "box_ap": _mean(runs.box, category=k),
            "n_instances": counts.get(category, 0),
        }
    of_liaci = [c["mask_ap"] for name, c in per_class.items() if name != FREE_CLASS]
    found = [ap for ap in of_liaci if ap is not None]
    metrics["mask_ap_liaci"] = float(np.mean(found)) if found else None
    return {**metrics, "per_class": per_class}


def precision_curves(run: COCOeval, iou: float) -> list[NDArray[np.float64] | None]:
    """COCOeval's interpolated precision, for instances of all sizes.

    Args:
        run: one of `CocoRuns`.
        iou: one of COCO's thresholds 0.5, 0.55 .. 0.95.

    Returns:
        For each class of the run, one if it takes all as one: (101,) in 0..1 at the recalls 0, 0.01 .. 1, whose mean
        is the AP at this IoU; None where there is no label to find.
    """
    precision = _precision(run, "all", iou)[0]
    return [curve if curve[0] > -1 else None for curve in precision.T]


def picture_quality(run: COCOeval, score_threshold: float) -> dict[int, float | None]:
    """How good the result for each picture is: its F-score, averaged over COCO's ten IoU thresholds.

    At each threshold TP, FP and FN are COCOeval's matches, misses and false alarms among the instances that score at
    least `score_threshold`, of all classes and sizes, and the F-score is TP / (TP + (FP + FN) / 2).

    Args:
        run: `CocoRuns.mask` or `CocoRuns.box`.
        score_threshold: 0..1.

    Returns:
        Picture id to 0..1; None where there was nothing to find and nothing was found.
    """
    image_ids = [int(image_id) for image_id in run.params.imgIds]
    # (picture, IoU): 2 TP, and 2 TP + FP + FN, which is the number of labels and results
    right, all_instances = np.zeros((2, len(image_ids), len(run.params.iouThrs)), np.int64)
    row = {image_id: i for i, image_id in enumerate(image_ids)}
    for one in run.evalImgs:  # a class, a range of sizes and a picture; None where it has neither label nor result
        if one is None or one["aRng"] != run.params.areaRng[0]:
            continue
        counts = ~one["dtIgnore"].astype(bool) & (np.array(one["dtScores"]) >= score_threshold)  # (IoU, result)
        right[row[one["image_id"]]] += 2 * (counts & (one["dtMatches"] > 0)).sum(axis=1)
        all_instances[row[one["image_id"]]] += counts.sum(axis=1) + np.count_nonzero(one["gtIgnore"] == 0)
    return {
        image_id: float(np.mean(right[i] / all_instances[i])) if all_instances[i].all() else None
        for image_id, i in row.items()
    }


def _run(
    coco: COCO, results: COCO, image_ids: Sequence[int], kind: Literal["segm", "bbox"], *, by_class: bool = True
) -> COCOeval:
    run = COCOeval(coco, results, kind)
    run.params.imgIds = list(image_ids)
    run.params.maxDets = list(RESULT_LIMITS)
    if not by_class:
        run.params.useCats = 0
        # those of results too, or COCOeval leaves them out
        run.params.catIds = sorted({*coco.getCatIds(), *(result["category_id"] for result in results.anns.values())})
    run.evaluate()
    run.accumulate()
    return run


def load_results(coco: COCO, results: Sequence[dict[str, Any]], kind: Literal["segm", "bbox"]) -> COCO:
    """COCO results, none included, as COCOeval takes them; their size is that of the mask ("segm") or the box."""
    left_out = {"segm": "bbox", "bbox": "segmentation"}[kind]
    # with a box present pycocotools would take its area for the area of a mask, and shift the sizes
    own = [{key: value for key, value in result.items() if key != left_out} for result in results]
    coco.dataset.setdefault("info", {})  # pycocotools 2.0.9 and 2.0.10 read it
    if own:
        return coco.loadRes(own)
    nothing = COCO()  # loadRes fails on an empty list
    nothing.dataset = {**coco.dataset, "annotations": []}
    nothing.createIndex()
    return nothing


def _precision(run: COCOeval, area: str, iou: float | None = None) -> NDArray[np.float64]:
    """(IoU, recall, class) interpolated precision, -1 where no label counts."""
    # (IoU, recall, category, area, detections per image)
    precision: NDArray[np.float64] = run.eval["precision"][..., run.params.areaRngLbl.index(area), -1]
    return precision if iou is None else precision[np.isclose(run.params.iouThrs, iou)]


def _mean(run: COCOeval, *, iou: float | None = None, area: str = "all", category: int | None = None) -> float | None:
    """Mean of the interpolated precision, in per cent, over what is not fixed here."""
    precision = _precision(run, area, iou)
    if category is not None:
        precision = precision[:, :, category]
    precision = precision[precision > -1]
    return float(precision.mean() * 100) if precision.size else None


def _mean_recall(run: COCOeval, limit: int, *, area: str = "all") -> float | None:
    """Mean over IoU thresholds and classes of the recall with the best `limit` results, in per cent."""
    # (IoU, category, area, detections per image)
    recall: NDArray[np.float64] = run.eval["recall"][
        :, :, run.params.areaRngLbl.index(area), RESULT_LIMITS.index(limit)
    ]
    recall = recall[recall > -1]
    return float(recall.mean() * 100) if recall.size else None


def _count_instances(coco: COCO, image_ids: Sequence[int]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for image_id in image_ids:
        for annotation in coco.imgToAnns[image_id]:
            if not annotation.get("iscrowd", 0):
                counts[annotation["category_id"]] = counts.get(annotation["category_id"], 0) + 1
    return counts
