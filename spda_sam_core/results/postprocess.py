"""From the network's outputs for one image to `Instances` at the image's size. Pure functions of arrays."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from spda_sam_core.preprocess import Letterbox
from spda_sam_core.results.calibration import UNCALIBRATED, Calibration
from spda_sam_core.results.instances import Instances, boxes_of_masks

DUPLICATE_IOU = 0.8
"""Of two masks that overlap more than this, whatever their classes, only the better one is kept."""


def postprocess(
    mask_logits: NDArray[np.float32],
    class_logits: NDArray[np.float32],
    predicted_iou: NDArray[np.float32],
    *,
    letterbox: Letterbox,
    class_names: tuple[str, ...],
    score_threshold: float,
    calibration: Calibration = UNCALIBRATED,
) -> Instances:
    """Score the K candidates of one image, drop the weak, the empty and the doubles, paste the rest.

    Scores are those of `score_candidates`. Mask logits are enlarged to the network's input, the padding is cut off,
    and the rest is brought to the size of the image, all bilinearly; positive logits are the mask. The boxes are
    those of the masks.

    Args:
        mask_logits: (K, h, w) float32, at a fraction of the network's input size.
        class_logits: (K, C) float32, before the sigmoid.
        predicted_iou: (K,) float32; clipped to [0, 1].
        letterbox: how the image was put into the network's input.
        class_names: the C classes.
        score_threshold: the lowest score to keep, calibrated; weaker candidates are never pasted.
        calibration: what makes the score of the raw one.

    Returns:
        The instances, best first. Candidates with a score that is not a number are dropped.

    Raises:
        ValueError: the arrays disagree in K, or in C with the class names.
    """
    k = len(mask_logits)
    if class_logits.shape != (k, len(class_names)) or predicted_iou.shape != (k,):
        raise ValueError(
            f"class_logits {class_logits.shape} and predicted_iou {predicted_iou.shape} do not fit {k} masks "
            f"and {len(class_names)} classes: expected {(k, len(class_names))} and {(k,)}"
        )
    scores, class_ids = score_candidates(class_logits, predicted_iou, calibration)
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] >= score_threshold]  # NaN is never above
    low_res = mask_logits[order]
    kept = _without_duplicates(inside_letterbox(low_res, letterbox) > 0)
    order, low_res = order[kept], low_res[kept]

    masks = _paste(low_res, letterbox)
    boxes_xyxy = boxes_of_masks(masks)
    visible = boxes_xyxy[:, 2] > 0
    if not visible.all():
        order, masks, boxes_xyxy = order[visible], masks[visible], boxes_xyxy[visible]
    return Instances(masks, boxes_xyxy, scores[order], class_ids[order], class_names)


def score_candidates(
    class_logits: NDArray[np.float32], predicted_iou: NDArray[np.float32], calibration: Calibration = UNCALIBRATED
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Score and class of each candidate.

    The raw score is the root of the best class probability times the predicted mask IoU: the root weighs the mask
    more than the class, and ranks better than the plain product (docs/benchmarks.md).

    Args:
        class_logits: (K, C) float32, before the sigmoid.
        predicted_iou: (K,) float32; clipped to [0, 1].
        calibration: what makes the score of the raw one.

    Returns:
        (K,) float32 in [0, 1], not a number where an input is none, and (K,) int64.
    """
    class_ids = class_logits.argmax(axis=1).astype(np.int64)
    best = np.clip(class_logits.max(axis=1).astype(np.float32), -80, 80)  # exp stays finite in float32
    raw = np.sqrt(1 / (1 + np.exp(-best))) * np.clip(predicted_iou, 0, 1)
    return calibration(raw, class_ids), class_ids


def inside_letterbox(mask_logits: NDArray[np.float32], box: Letterbox) -> NDArray[np.float32]:
    """The part of (N, h, w) logits that shows the image, without the padding."""
    height, width = (
        math.ceil(n * side / box.size) for n, side in zip(box.resized_hw, mask_logits.shape[1:], strict=True)
    )
    return mask_logits[:, :height, :width]


def _without_duplicates(masks: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Indices of the (N, h, w) masks, best first, that are neither empty nor doubles of a better one."""
    flat = masks.reshape(len(masks), masks.shape[1] * masks.shape[2]).astype(np.float32)
    shared = flat @ flat.T
    areas = shared.diagonal()
    union = areas[:, None] + areas[None, :] - shared
    double = shared > DUPLICATE_IOU * union
    keep = areas > 0
    for i in range(1, len(masks)):
        keep[i] &= not (double[i, :i] & keep[:i]).any()
    return np.flatnonzero(keep)


def _paste(mask_logits: NDArray[np.float32], box: Letterbox) -> NDArray[np.bool_]:
    """(N, h, w) logits to (N, H, W) masks at the size of the image."""
    masks = np.empty((len(mask_logits), box.height, box.width), np.bool_)
    height, width = box.resized_hw
    for logits, mask in zip(mask_logits, masks, strict=True):
        # OpenCV's resize is several times faster here than a batched torch interpolation, with equal results
        inside = cv2.resize(logits, (box.size, box.size), interpolation=cv2.INTER_LINEAR)[:height, :width]
        full = cv2.resize(inside, (box.width, box.height), interpolation=cv2.INTER_LINEAR)
        np.greater(full, 0, out=mask)
    return masks
