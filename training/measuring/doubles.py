"""How much of what the network decodes it has decoded already."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spda_sam_core.preprocess import Letterbox
from spda_sam_core.results.calibration import Calibration
from spda_sam_core.results.postprocess import DUPLICATE_IOU, inside_letterbox, score_candidates
from training.measuring.calibration_error import LOWEST_SCORE


class Doubles(NamedTuple):
    """Of the candidates that score at least 0.05: how many repeat a better one, and how many there are."""

    doubles: int
    candidates: int


def count_doubles(
    mask_logits: NDArray[np.float32],
    class_logits: NDArray[np.float32],
    predicted_iou: NDArray[np.float32],
    *,
    letterbox: Letterbox,
    calibration: Calibration,
) -> Doubles:
    """Count candidates whose mask overlaps that of a better one, of whatever class, by an IoU above 0.8.

    Empty masks are no candidates. Unlike in `postprocess`, a double may repeat another double: what counts is what
    was decoded for nothing.

    Args:
        mask_logits: (K, h, w) float32 of the last pass, as `postprocess` gets them.
        class_logits: (K, C) float32.
        predicted_iou: (K,) float32.
        letterbox: how the image was put into the network's input; what masks do in the padding does not matter.
        calibration: that of the scores.
    """
    scores, _ = score_candidates(class_logits, predicted_iou, calibration)
    masks = inside_letterbox(mask_logits, letterbox) > 0
    seen = (scores >= LOWEST_SCORE) & masks.any(axis=(1, 2))
    scores, masks = scores[seen], masks[seen]
    masks = masks[np.argsort(-scores, kind="stable")]
    doubles = 0
    for i in range(1, len(masks)):
        shared = (masks[:i] & masks[i]).sum(axis=(1, 2))
        union = (masks[:i] | masks[i]).sum(axis=(1, 2))
        doubles += bool((shared > DUPLICATE_IOU * union).any())
    return Doubles(doubles, len(masks))
