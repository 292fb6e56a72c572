"""Measure a model on a labelled set: average precision, LRP, calibration and doubles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from pycocotools.coco import COCO

from spda_sam_core.spda_sam import SpdaSam
from training.data.dataset import CocoRgbdDataset
from training.measuring.calibration_error import calibration_error, laece, mean_true_score
from training.measuring.coco_metrics import CocoRuns, metrics_of_runs, run_cocoeval
from training.measuring.lrp import OptimalLrp, lrp_by_class
from training.measuring.matching import ANY_OVERLAP, Matches, match
from training.measuring.predict import WORKERS, DepthMode, PredictedSet, predict


class Measured(NamedTuple):
    """How good results are.

    Attributes:
        metrics: see `evaluate`.
        runs: of COCOeval.
        matches: detections and labels, matched at mask IoU 0.5.
    """

    metrics: dict[str, Any]
    runs: CocoRuns
    matches: Matches


def evaluate(
    model: SpdaSam,
    dataset: CocoRgbdDataset,
    depth_mode: DepthMode = "true",
    *,
    depth_holes: float = 0.0,
    batch_size: int | None = None,
    workers: int = WORKERS,
) -> dict[str, Any]:
    """Predict every picture and compare with the labels. Results are what the node publishes: one class a mask.

    Args:
        model: the model to measure.
        dataset: the labelled pictures.
        depth_mode: see `predict`.
        depth_holes: see `predict`.
        batch_size: see `predict`.
        workers: see `predict`.

    Returns:
        What `measure` gives, the conditions of `PredictedSet`, and `doubles`: the share of the network's candidates
        scoring at least 0.05 that overlap a better one by a mask IoU above 0.8, in 0..1. Classes are told by their
        names: `model_lacks` has those of the data that the model does not have, with the number of their labels, which
        nothing can find; `data_lack` those of the model, with the number of detections, which count where all classes
        are one, and nowhere else.

    Raises:
        ValueError: as `predict`.
    """
    predicted = predict(model, dataset, depth_mode, depth_holes=depth_holes, batch_size=batch_size, workers=workers)
    return measure_predicted(dataset, predicted).metrics


def measure_predicted(dataset: CocoRgbdDataset, predicted: PredictedSet) -> Measured:
    """As `measure`; the metrics are those of `evaluate`."""
    measured = measure(dataset.coco, predicted.results, dataset.image_ids)
    doubles, candidates = predicted.doubles
    share = doubles / candidates if candidates else None
    per_class, further = measured.metrics["per_class"], predicted.classes.further
    detections = Counter(result["category_id"] for result in predicted.results)
    classes = {
        "model_lacks": {name: per_class[name]["n_instances"] for name in predicted.classes.lacking},
        "data_lack": {name: detections[category] for category, name in further.items()},
    }
    return measured._replace(metrics={**measured.metrics, **predicted.conditions, **classes, "doubles": share})


def measure(coco: COCO, results: Sequence[dict[str, Any]], image_ids: Sequence[int]) -> Measured:
    """Compare results with labels; figures are None where there is nothing that they could be made from.

    Args:
        coco: the labels.
        results: COCO results with mask (RLE) and box.
        image_ids: the pictures that count.

    Returns:
        Metrics: those of `coco_metrics`; in per cent, of masks, the mean over classes of optimal LRP `mask_olrp`, its
        parts `mask_olrp_localisation`, `mask_olrp_false_positive`, `mask_olrp_false_negative`, and for each class
        `mask_olrp` and `lrp_optimal_threshold`, the score in 0..1 from which results should be kept; in 0..1
        `calibration_error`, `laece`, and `true_score`, the mean score of the detections that are true and score at
        least 0.05.
    """
    runs = run_cocoeval(coco, results, image_ids)
    matches = match(coco, results, image_ids)
    metrics = metrics_of_runs(runs)
    by_class = lrp_by_class(matches)
    for name, lrp in by_class.items():
        metrics["per_class"][name] |= {
            "mask_olrp": None if lrp is None else 100 * lrp.error,
            "lrp_optimal_threshold": None if lrp is None else lrp.threshold,
        }
    found = [lrp for lrp in by_class.values() if lrp is not None]
    metrics |= {
        "mask_olrp": _mean_part(found, "error"),
        **{f"mask_olrp_{part}": _mean_part(found, part) for part in OptimalLrp._fields[1:4]},
        "calibration_error": calibration_error(matches),
        "laece": laece(match(coco, results, image_ids, iou_threshold=ANY_OVERLAP)),
        "true_score": mean_true_score(matches),
    }
    return Measured(metrics, runs, matches)


def _mean_part(found: Sequence[OptimalLrp], part: str) -> float | None:
    """Mean over the classes that have it, in per cent."""
    values = [value for lrp in found if (value := getattr(lrp, part)) is not None]
    return 100 * float(np.mean(values)) if values else None
