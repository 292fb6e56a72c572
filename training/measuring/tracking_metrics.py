"""How well things keep their numbers: HOTA, and switches of identity, by masks.

HOTA (Luiten et al., IJCV 2021) at a localisation threshold is the root of detection accuracy times association
accuracy; the score is its mean over the thresholds 0.05 to 0.95. Pairs are chosen as the paper has it: those first
that fit best over the whole sequence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

THRESHOLDS = np.arange(0.05, 0.99, 0.05)
SWITCH_IOU = 0.5
"""A thing counts as found at this mask IoU, for switches (CLEAR MOT, Bernardin and Stiefelhagen, 2008)."""


class NumberedFrame(NamedTuple):
    """Masks of one frame and whose they are.

    Attributes:
        masks: (N, H, W) bool.
        ids: (N,) int64, no number twice.
    """

    masks: NDArray[np.bool_]
    ids: NDArray[np.int64]


class TrackingScore(NamedTuple):
    """Scores of a sequence, in per cent but for the last.

    Attributes:
        hota: mean over thresholds.
        det_a: detection accuracy, likewise.
        ass_a: association accuracy, likewise.
        switches: how often a thing was found under another number than before.
    """

    hota: float
    det_a: float
    ass_a: float
    switches: int


def tracking_score(true: Sequence[NumberedFrame], found: Sequence[NumberedFrame]) -> TrackingScore:
    """Compare what was followed with what is there.

    Args:
        true: the frames of a sequence, at least one with something in it.
        found: as many.
    """
    ious = [_ious(a.masks, b.masks) for a, b in zip(true, found, strict=True)]
    true_ids, found_ids = ([_numbered(frame.ids, frames) for frame in frames] for frames in (true, found))
    n_true, n_found = (
        1 + max((int(ids.max()) for ids in each if len(ids)), default=-1) for each in (true_ids, found_ids)
    )
    alignment = _alignment(ious, true_ids, found_ids, n_true, n_found)
    times_true, times_found = (
        np.bincount(np.concatenate(each), minlength=n) for each, n in ((true_ids, n_true), (found_ids, n_found))
    )
    det_a, ass_a = np.zeros(len(THRESHOLDS)), np.zeros(len(THRESHOLDS))
    for k, threshold in enumerate(THRESHOLDS):
        together = np.zeros((n_true, n_found))
        for iou, rows, columns in zip(ious, true_ids, found_ids, strict=True):
            i, j = linear_sum_assignment(alignment[np.ix_(rows, columns)] * iou, maximize=True)
            fits = iou[i, j] >= threshold - np.finfo(float).eps
            together[rows[i[fits]], columns[j[fits]]] += 1
        hits = together.sum()
        det_a[k] = hits / (times_true.sum() + times_found.sum() - hits)
        association = together / np.maximum(1, times_true[:, None] + times_found[None] - together)
        ass_a[k] = (together * association).sum() / max(1.0, hits)
    hota = np.sqrt(det_a * ass_a)
    return TrackingScore(
        *(100 * float(values.mean()) for values in (hota, det_a, ass_a)), _switches(ious, true_ids, found_ids)
    )


def _ious(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(N, M) IoU of (N, H, W) and (M, H, W) masks."""
    flat_a, flat_b = (each.reshape(len(each), math.prod(each.shape[1:])).astype(np.float32) for each in (a, b))
    shared = (flat_a @ flat_b.T).astype(np.float64)
    either = flat_a.sum(axis=1)[:, None] + flat_b.sum(axis=1)[None] - shared
    return np.divide(shared, either, out=np.zeros_like(shared), where=either > 0)


def _numbered(ids: NDArray[np.int64], frames: Sequence[NumberedFrame]) -> NDArray[np.int64]:
    """Numbers of a frame as indices into all numbers of the sequence."""
    every = np.unique(np.concatenate([frame.ids for frame in frames]))
    return np.searchsorted(every, ids)


def _alignment(
    ious: Sequence[NDArray[np.float64]],
    true_ids: Sequence[NDArray[np.int64]],
    found_ids: Sequence[NDArray[np.int64]],
    n_true: int,
    n_found: int,
) -> NDArray[np.float64]:
    """(n_true, n_found): how well each pair fits over the whole sequence, a Jaccard index of soft matches."""
    soft, times_true, times_found = np.zeros((n_true, n_found)), np.zeros(n_true), np.zeros(n_found)
    for iou, rows, columns in zip(ious, true_ids, found_ids, strict=True):
        either = iou.sum(axis=0)[None] + iou.sum(axis=1)[:, None] - iou
        share = np.divide(iou, either, out=np.zeros_like(iou), where=either > np.finfo(float).eps)
        soft[np.ix_(rows, columns)] += share
        times_true[rows] += 1
        times_found[columns] += 1
    return soft / np.maximum(times_true[:, None] + times_found[None] - soft, np.finfo(float).eps)


def _switches(
    ious: Sequence[NDArray[np.float64]], true_ids: Sequence[NDArray[np.int64]], found_ids: Sequence[NDArray[np.int64]]
) -> int:
    """How often a thing is found under another number than when it was found last; a pair of before goes first."""
    known: dict[int, int] = {}
    switches = 0
    for iou, rows, columns in zip(ious, true_ids, found_ids, strict=True):
        same = np.array([[known.get(int(row)) == int(column) for column in columns] for row in rows]).reshape(iou.shape)
        gain = np.where(iou >= SWITCH_IOU, 1000.0 * same + iou, 0.0)
        for i, j in zip(*linear_sum_assignment(gain, maximize=True), strict=True):
            if gain[i, j] > 0:
                row, column = int(rows[i]), int(columns[j])
                switches += known.get(row, column) != column
                known[row] = column
    return switches
