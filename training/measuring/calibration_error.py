"""Whether a score is what it says: reliability of bins of detections, and two errors made from it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.measuring.matching import Matches

LOWEST_SCORE = 0.05
"""What scores less is neither drawn nor looked at; counted in, its great number would hide all the rest."""
BINS = 20
"""Of the calibration error: 0.05 wide."""
LAECE_BINS = 25


class Reliability(NamedTuple):
    """Detections in bins of equal width over 0..1; NaN where a bin has none.

    Attributes:
        counts: (bins,) int64.
        score: (bins,) mean score.
        target: (bins,) mean of what the score should have been.
    """

    counts: NDArray[np.int64]
    score: NDArray[np.float64]
    target: NDArray[np.float64]

    @property
    def error(self) -> float | None:
        """Mean distance of score and target over the detections; None where there are none."""
        total = int(self.counts.sum())
        if not total:
            return None
        some = self.counts > 0
        return float((self.counts * np.abs(self.score - self.target))[some].sum() / total)


def reliability(scores: NDArray[np.float64], target: NDArray[np.float64], bins: int = BINS) -> Reliability:
    """Sort detections into bins that hold their lower edge, the last its upper one too.

    Args:
        scores: (D,) in 0..1.
        target: (D,) in 0..1, such as 1 for a true and 0 for a false detection.
        bins: number of bins over 0..1.
    """
    place = np.digitize(scores, np.linspace(0, 1, bins + 1)[1:-1])
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = (np.bincount(place, values, minlength=bins) / counts for values in (scores, target))
        return Reliability(counts, *means)


def calibration_error(matches: Matches) -> float | None:
    """How far scores are from the share of detections that is true.

    `sum over bins of n / N * |mean score - share true|`, over the detections of all classes together that score at
    least 0.05, in bins 0.05 wide.

    Args:
        matches: at the mask IoU that makes a detection true, 0.5.

    Returns:
        0..1; None where nothing scores so much.
    """
    seen = matches.chosen(matches.scores >= LOWEST_SCORE)
    return reliability(seen.scores, seen.true.astype(np.float64)).error


def mean_true_score(matches: Matches) -> float | None:
    """Mean score of the true detections among those that score at least 0.05; None where there are none."""
    scores = matches.scores[matches.true & (matches.scores >= LOWEST_SCORE)]
    return float(scores.mean()) if len(scores) else None


def laece(matches: Matches) -> float | None:
    """Localisation-aware calibration error LaECE_0 of Kuzucu et al., arXiv 2405.20459.

    `mean over classes c of (sum over bins j of n_cj / N_c * |mean score_cj - mean IoU_cj|)` in 25 bins over 0..1,
    where a detection that has found no label has IoU 0: here a score of 0.8 promises an IoU of 0.8. The paper takes
    the detections above a threshold per class that is chosen elsewhere, we those that score at least 0.05.

    Args:
        matches: at `ANY_OVERLAP`, the paper's tau = 0.

    Returns:
        0..1; None where nothing scores so much.
    """
    errors = []
    for class_id in range(len(matches.class_names)):
        seen = matches.chosen((matches.class_ids == class_id) & (matches.scores >= LOWEST_SCORE))
        errors.append(reliability(seen.scores, seen.iou, LAECE_BINS).error)
    found = [error for error in errors if error is not None]
    return float(np.mean(found)) if found else None
