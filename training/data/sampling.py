"""Which picture comes when: sets by their weights, rare classes more often, and all of it a function of a number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training.data.dataset import CocoRgbdDataset

_GOLDEN = (5**0.5 - 1) / 2


class Draws:
    """Draws sets by weight, evenly: among any pictures in a row a set has its share, up to a few.

    The k-th draw is the set in whose part of [0, 1) the k-th multiple of the golden ratio falls, modulo 1, the
    additive sequence of lowest discrepancy (Weyl; Kuipers and Niederreiter, Uniform Distribution of Sequences, 1974).

    Args:
        weights: of the sets, above 0.
        seed: where the sequence begins.
    """

    def __init__(self, weights: Sequence[float], seed: int) -> None:
        shares = np.cumsum(weights) / np.sum(weights)
        self._upper = shares[:-1]
        self._begin = np.random.default_rng(seed).random()
        self._sets: NDArray[np.int64] = np.zeros(0, np.int64)
        self._ranks: NDArray[np.int64] = np.zeros(0, np.int64)

    def __getitem__(self, number: int) -> tuple[int, int]:
        """The set of draw `number`, from 0, and how many earlier draws were of the same set."""
        if not len(self._upper):
            return 0, number
        if number >= len(self._sets):
            self._draw(2 * (number + 1))
        return int(self._sets[number]), int(self._ranks[number])

    def _draw(self, count: int) -> None:
        points = (self._begin + np.arange(count) * _GOLDEN) % 1.0
        self._sets = np.searchsorted(self._upper, points, side="right")
        self._ranks = np.zeros(count, np.int64)
        for number in range(len(self._upper) + 1):
            own = self._sets == number
            self._ranks[own] = np.arange(own.sum())

    def __getstate__(self) -> dict[str, object]:
        """Without what is drawn again in a moment."""
        return {**vars(self), "_sets": self._sets[:0], "_ranks": self._ranks[:0]}


def epoch_order(repeats: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """The order of an epoch, in which picture i comes `repeats[i]` times in the mean.

    Args:
        repeats: (n,) float64, at least 1. The epoch is as long as their sum, rounded.
        rng: source of all chance.

    Returns:
        (m,) int64. With repeats of 1, each picture once.
    """
    order = rng.permutation(round(repeats.sum()))
    # systematic sampling: a picture comes as often as its factor says, rounded up or down by chance
    edges = np.cumsum(repeats) * (len(order) / repeats.sum())
    chosen = np.searchsorted(edges, np.arange(len(order)) + rng.random(), side="right")
    picked: NDArray[np.int64] = np.minimum(chosen, len(repeats) - 1)[order]
    return picked


def epoch_length(repeats: NDArray[np.float64]) -> int:
    """How many pictures `epoch_order` gives."""
    return round(repeats.sum())


def repeat_factors(pictures: CocoRgbdDataset, frequent: float) -> NDArray[np.float64]:
    """How often each picture comes in an epoch, so that rare classes are seen more often.

    Instance-aware repeat factor sampling (arXiv 2305.08069): a class c that is in a share f of the pictures and has a
    share b of the instances gets max(1, sqrt(t / sqrt(f b))), and a picture the highest factor of its classes.

    Args:
        pictures: the set.
        frequent: t, the share from which on a class is frequent enough; 0: no picture is repeated.

    Returns:
        (n,) float64, at least 1.
    """
    classes = [[a["category_id"] for a in pictures.annotations(i)] for i in range(len(pictures))]
    instances = np.bincount([c for of_picture in classes for c in of_picture])
    in_pictures = np.bincount([c for of_picture in classes for c in set(of_picture)], minlength=len(instances))
    shares = np.sqrt(in_pictures / max(len(pictures), 1) * instances / max(instances.sum(), 1))
    factors = np.maximum(1.0, np.sqrt(frequent / np.maximum(shares, 1e-12)))
    return np.array([max((factors[c] for c in of_picture), default=1.0) for of_picture in classes])
