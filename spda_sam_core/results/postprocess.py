"""From the network's outputs for one image to `Instances` at the image's size. Pure functions of arrays."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from spda_sam_core.preprocess import Letterbox
from spda_sam_core.results.calibration import UNCALIBRATED, Calibration
from spda_sam_core.results.instances import Instances, boxes_of_masks

DUPLICATE_IOU = 0.8
"""Of two masks that overlap more than this, whatever their classes, only the better one is kept."""

_BITS_SET: NDArray[np.uint8] = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(1, dtype=np.uint8)


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

    masks, boxes_xyxy = _paste(low_res, letterbox)
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


def inside_letterbox(maps: NDArray[np.float32], box: Letterbox) -> NDArray[np.float32]:
    """The part of (N, h, w) maps, at a fraction of the input's size, that shows the image, without the padding."""
    height, width = (math.ceil(n * side / box.size) for n, side in zip(box.resized_hw, maps.shape[1:], strict=True))
    return maps[:, :height, :width]


def _without_duplicates(masks: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Indices of the (N, h, w) masks, best first, that are neither empty nor doubles of a better one."""
    # eight pixels in a byte; a matrix product would go through BLAS, whose threads wait for each other for a tenth of
    # a second as soon as another process uses a core
    packed = np.packbits(masks.reshape(len(masks), masks.shape[1] * masks.shape[2]), axis=1)
    areas = _BITS_SET[packed].sum(axis=1, dtype=np.int64)
    keep = areas > 0
    for i in range(1, len(masks)):
        # what differs more in area cannot overlap that much
        alike = (areas > DUPLICATE_IOU * areas[i]) & (areas[i] > DUPLICATE_IOU * areas)
        better = np.flatnonzero(keep[:i] & alike[:i])
        shared = _BITS_SET[packed[better] & packed[i]].sum(axis=1, dtype=np.int64)
        keep[i] &= not (shared > DUPLICATE_IOU * (areas[i] + areas[better] - shared)).any()
    return np.flatnonzero(keep)


def _paste(mask_logits: NDArray[np.float32], box: Letterbox) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """(N, h, w) logits to (N, H, W) masks at the size of the image, and their boxes (N, 4)."""
    masks = np.zeros((len(mask_logits), box.height, box.width), np.bool_)
    boxes_xyxy = np.zeros((len(mask_logits), 4), np.float32)
    cell = box.size // mask_logits.shape[1]
    for logits, mask, box_xyxy in zip(mask_logits, masks, boxes_xyxy, strict=True):
        positive = logits > 0
        if not positive.any():
            continue
        rows, columns = (
            _Span.around(positive.any(axis=1 - axis), cell, box.resized_hw[axis], (box.height, box.width)[axis])
            for axis in (0, 1)
        )
        if not (rows.length and columns.length):  # all of it lies in the padding
            continue
        part = logits[rows.cells, columns.cells]
        # OpenCV's resize is several times faster here than a batched torch interpolation, with equal results
        enlarged = cv2.resize(part, (part.shape[1] * cell, part.shape[0] * cell), interpolation=cv2.INTER_LINEAR)
        inside = enlarged[rows.inside, columns.inside]
        full = cv2.resize(inside, (columns.length, rows.length), interpolation=cv2.INTER_LINEAR)
        pasted = mask[rows.image, columns.image]
        np.greater(full, 0, out=pasted)
        (tight,) = boxes_of_masks(pasted[None])
        if tight[2] > 0:
            box_xyxy[:] = tight + np.array([columns.image.start, rows.image.start] * 2, np.float32)
    return masks, boxes_xyxy


class _Span(NamedTuple):
    """What of an axis holds everything positive, and interpolates as the whole axis does.

    Attributes:
        cells: in the logits.
        inside: of those, enlarged to the size of the network's input, what is taken.
        image: what that covers in the image.
    """

    cells: slice
    inside: slice
    image: slice

    @property
    def length(self) -> int:
        """Pixels in the image."""
        return int(self.image.stop - self.image.start)

    @classmethod
    def around(cls, positive: NDArray[np.bool_], cell: int, resized: int, full: int) -> _Span:
        """The smallest one.

        Args:
            positive: which rows or columns of the logits have a positive one; at least one of them.
            cell: pixels of the network's input per cell.
            resized: pixels of the network's input that show the image.
            full: pixels of the image.
        """
        found = np.flatnonzero(positive)
        # only every so many pixels begin those of the network's input and those of the image together
        step = resized // math.gcd(resized, full)
        # a cell more at both ends, where nothing is positive any more, and one more to interpolate those with
        start = max(0, int(found[0]) - 1) * cell // step * step
        stop = min(resized, math.ceil((int(found[-1]) + 2) * cell / step) * step)
        start = min(start, stop)
        first, last = max(0, start // cell - 1), min(len(positive), math.ceil(stop / cell) + 1)
        return cls(
            slice(first, last),
            slice(start - first * cell, stop - first * cell),
            slice(start * full // resized, stop * full // resized),
        )
