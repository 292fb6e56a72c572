"""Localisation Recall Precision (LRP) error: Oksuz et al., "One Metric to Measure Them All", TPAMI 2021."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.measuring.matching import Matches

TRUE_IOU = 0.5
"""The tau of the paper: what overlaps a label by less has not found it."""


class OptimalLrp(NamedTuple):
    """The smallest LRP error that any score threshold gives, and where it comes from; all but the last in 0..1.

    Attributes:
        error: the LRP error; 1 where nothing is found.
        localisation: mean of 1 - IoU over what is found, None where nothing is.
        false_positive: false share of what is kept, None where nothing is kept.
        false_negative: share of the labels that is not found.
        threshold: the lowest score that is kept, None where keeping nothing is best.
    """

    error: float
    localisation: float | None
    false_positive: float | None
    false_negative: float
    threshold: float | None


def optimal_lrp(scores: NDArray[np.float64], iou: NDArray[np.float64], n_labels: int) -> OptimalLrp:
    """Optimal LRP of one class, exact: every score is tried as the threshold.

    With TP, FP and FN counted at IoU tau = 0.5 among the detections that are kept,
    `LRP = (sum over TP of (1 - IoU) / (1 - tau) + FP + FN) / (TP + FP + FN)`.

    Args:
        scores: (D,) of the detections.
        iou: (D,) with the label that each has found, at least tau; 0 where it has found none.
        n_labels: number of labels, at least 1.
    """
    order = np.argsort(-scores, kind="stable")
    scores, iou = scores[order], iou[order]
    true = iou > 0
    # entry k: the k best are kept
    found = np.concatenate(([0], np.cumsum(true)))
    loose = np.concatenate(([0.0], np.cumsum(np.where(true, 1 - iou, 0.0))))
    kept = np.arange(len(scores) + 1)
    false = kept - found
    errors = (loose / (1 - TRUE_IOU) + false + n_labels - found) / (n_labels + false)
    tied = np.flatnonzero(scores[1:] == scores[:-1]) + 1  # no threshold keeps one and drops the other
    errors[tied] = np.inf
    k = int(np.argmin(errors))
    return OptimalLrp(
        error=float(errors[k]),
        localisation=float(loose[k] / found[k]) if found[k] else None,
        false_positive=float(false[k] / k) if k else None,
        false_negative=float(1 - found[k] / n_labels),
        threshold=float(scores[k - 1]) if k else None,
    )


def lrp_by_class(matches: Matches) -> dict[str, OptimalLrp | None]:
    """Optimal LRP of each class by name, of matches at IoU 0.5; None where there is no label to find."""
    found: dict[str, OptimalLrp | None] = {}
    for class_id, name in enumerate(matches.class_names):
        own = matches.chosen(matches.class_ids == class_id)
        n_labels = int(matches.n_labels[class_id])
        found[name] = optimal_lrp(own.scores, own.iou, n_labels) if n_labels else None
    return found
