"""Which detection is which label's: what LRP, the calibration errors and the calibration itself are made from."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from spda_sam_core.results.calibration import Calibration
from training.measuring.coco_metrics import MAX_RESULTS, load_results

ANY_OVERLAP = 1e-9
"""An IoU threshold at which every overlap is a match; at 0 COCOeval would match masks that do not touch."""


class Matches(NamedTuple):
    """D detections, each true or false, of C classes. What matches a crowd region is left out, as in COCO.

    Attributes:
        scores: (D,) float64 in 0..1.
        class_ids: (D,) int64, index into the categories in the order of their ids.
        image_ids: (D,) int64.
        iou: (D,) float64, of its mask with that of its label, 0 where it has none.
        n_labels: (C,) int64, labels to find.
        class_names: names of the C classes.
    """

    scores: NDArray[np.float64]
    class_ids: NDArray[np.int64]
    image_ids: NDArray[np.int64]
    iou: NDArray[np.float64]
    n_labels: NDArray[np.int64]
    class_names: tuple[str, ...]

    @property
    def true(self) -> NDArray[np.bool_]:
        """(D,) whether a detection has found a label."""
        return self.iou > 0

    def chosen(self, keep: NDArray[np.bool_]) -> Matches:
        """The detections of a (D,) mask; the labels stay as they are."""
        return self._replace(
            scores=self.scores[keep],
            class_ids=self.class_ids[keep],
            image_ids=self.image_ids[keep],
            iou=self.iou[keep],
        )

    def rescored(self, calibration: Calibration) -> Matches:
        """The same detections with calibrated scores."""
        return self._replace(scores=calibration(self.scores, self.class_ids).astype(np.float64))


def together(parts: Sequence[Matches]) -> Matches:
    """The detections and labels of several sets with the same classes as those of one; picture ids may repeat."""
    first, *_ = parts
    fields = ("scores", "class_ids", "image_ids", "iou")
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in fields}
    return first._replace(**joined, n_labels=np.sum([part.n_labels for part in parts], axis=0))


def match(
    coco: COCO, results: Sequence[dict[str, Any]], image_ids: Sequence[int], *, iou_threshold: float = 0.5
) -> Matches:
    """Match masks with labels of their class as COCOeval does: best score first, each to the free label it fits best.

    Args:
        coco: the labels.
        results: COCO results with mask (RLE); the best 100 of a picture and a class count.
        image_ids: the pictures that count.
        iou_threshold: the lowest mask IoU of a match, above 0; `ANY_OVERLAP` for whatever overlaps.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        run = COCOeval(coco, load_results(coco, results, "segm"), "segm")
        run.params.imgIds = list(image_ids)
        run.params.iouThrs = np.array([iou_threshold])
        run.params.maxDets = [MAX_RESULTS]
        run.params.areaRng, run.params.areaRngLbl = run.params.areaRng[:1], run.params.areaRngLbl[:1]
        run.evaluate()
    class_of = {category: i for i, category in enumerate(run.params.catIds)}
    rows: list[tuple[float, int, int, float]] = []
    n_labels = np.zeros(len(class_of), np.int64)
    for one in run.evalImgs:  # a class in a picture; None where it has neither label nor detection
        if one is None:
            continue
        key = (one["image_id"], one["category_id"])
        class_id = class_of[one["category_id"]]
        n_labels[class_id] += np.count_nonzero(one["gtIgnore"] == 0)
        column = {label["id"]: j for j, label in enumerate(run._gts[key])}
        # (threshold, detection), of which there is one threshold
        for d, (score, label, ignored) in enumerate(
            zip(one["dtScores"], one["dtMatches"][0], one["dtIgnore"][0], strict=True)
        ):
            if not ignored:
                iou = float(run.ious[key][d][column[int(label)]]) if label > 0 else 0.0
                rows.append((score, class_id, one["image_id"], iou))
    scores, class_ids, images, iou = np.array(rows, np.float64).reshape(-1, 4).T
    names = tuple(str(coco.cats[category]["name"]) for category in run.params.catIds)
    return Matches(scores, class_ids.astype(np.int64), images.astype(np.int64), iou, n_labels, names)
