"""How far a backend, or another precision, is from PyTorch on pictures: masks, scores, average precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask
from scipy.optimize import linear_sum_assignment

from spda_sam_core.graph.onnx_file import Precision
from training.data.coco_file import by_picture

PUBLISHED = 0.3
"""Score from which the node publishes."""
SAME_THING = 0.5
"""Mask IoU from which two results are taken for the same thing."""

LEAST_IOU: Mapping[Precision, float] = {"float32": 0.99, "float16": 0.98, "int8": 0.0}
MOST_AP: Mapping[Precision, float] = {"float32": 0.2, "float16": 1.0, "int8": 1.0}
"""What a backend may differ by: the mean IoU of its masks with PyTorch's, and points of class-agnostic AP."""


class Parity(NamedTuple):
    """Of two lists of results on the same pictures.

    Attributes:
        matched: results of PyTorch's, from a score of 0.3 up, that the other has too.
        missed: those that it does not have.
        added: those of the other, from 0.3 up, that match none of PyTorch's of any score.
        mask_iou: mean over the matched.
        score_difference: the largest of the matched.
    """

    matched: int
    missed: int
    added: int
    mask_iou: float
    score_difference: float


def parity(reference: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]) -> Parity:
    """Match COCO results picture by picture, so that the sum of mask IoUs is largest.

    A result near the threshold may be published by one and not by the other; it is matched whatever the other's score.
    """
    ours, theirs = by_picture(reference), by_picture(found)
    ious: list[float] = []
    differences: list[float] = []
    missed = added = 0
    for picture in ours.keys() | theirs.keys():
        a, b = ours[picture], theirs[picture]
        pairs: list[tuple[int, int, float]] = []
        if a and b:
            overlap = np.asarray(
                coco_mask.iou([r["segmentation"] for r in a], [r["segmentation"] for r in b], [0] * len(b))
            )
            rows, columns = linear_sum_assignment(-overlap)
            pairs = [(i, j, overlap[i, j]) for i, j in zip(rows, columns, strict=True) if overlap[i, j] >= SAME_THING]
        kept = [(i, j, iou) for i, j, iou in pairs if a[i]["score"] >= PUBLISHED]
        ious += [float(iou) for _, _, iou in kept]
        differences += [abs(a[i]["score"] - b[j]["score"]) for i, j, _ in kept]
        missed += sum(r["score"] >= PUBLISHED for r in a) - len(kept)
        partners = {j for _, j, _ in pairs}
        added += sum(r["score"] >= PUBLISHED and j not in partners for j, r in enumerate(b))
    mean = float(np.mean(ious)) if ious else float("nan")
    return Parity(len(ious), missed, added, mean, max(differences, default=float("nan")))


def verdict(precision: Precision, found: Parity, ap_difference: float) -> str:
    """What is beyond its limit; "ok" where nothing is."""
    beyond = []
    if not found.mask_iou >= LEAST_IOU[precision]:
        beyond.append(f"IoU below {LEAST_IOU[precision]}")
    if not abs(ap_difference) <= MOST_AP[precision]:
        beyond.append(f"AP off by more than {MOST_AP[precision]}")
    return ", ".join(beyond) or "ok"
