"""A picture that every runtime is tried on, and what the network found in it when PyTorch ran it.

The answer travels in the graph's file, so that a robot without PyTorch can tell a runtime that computes something else:
compilers of graphs do that, silently.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from spda_sam_core.graph.onnx_file import GraphFile, Precision
from spda_sam_core.runtimes.runtime import RawOutput

TOLERANCE: dict[Precision, float] = {"float32": 0.08, "float16": 0.25, "int8": 0.4}
"""How far an answer may be from PyTorch's. Seen were 0.02 in float32, where rounding moved the edge of a mask, 0.12 in
float16 and 0.10 in int8; an int8 file that lost 10 AP had 0.81."""
CELLS = 12
"""Side of the maps of an answer."""


def check_inputs(size: int) -> dict[str, NDArray[np.generic]]:
    """Discs before a slanted plane, as what the network reads; made of integers, the same on every machine.

    Args:
        size: side S of the network's input.

    Returns:
        `image` (1, S, S, 3) uint8, `inverse_depth` and `depth_valid` (1, 1, S, S) float32, `estimate` (1,) float32.
    """
    y, x = np.mgrid[:size, :size]
    image = np.stack([40 + (x * 3 + y) * 60 // (4 * size), 70 + y * 60 // size, 90 + x * 40 // size], axis=-1)
    inverse_depth = (256 + y * 256 // size) / np.float32(1024)
    discs = (
        (6, 6, 3, (220, 200, 160)),
        (17, 8, 4, (20, 30, 40)),
        (10, 17, 5, (200, 90, 60)),
        (20, 19, 2, (90, 160, 90)),
    )
    for cx, cy, r, colour in discs:  # in 24ths of the side
        inside = (24 * x - cx * size) ** 2 + (24 * y - cy * size) ** 2 < (r * size) ** 2
        image[inside] = colour
        inverse_depth[inside] += np.float32(0.25)
    valid = np.ones((1, 1, size, size), np.float32)
    valid[..., size // 3 : size // 2, size // 2 : size * 2 // 3] = 0  # a hole
    return {
        "image": image.astype(np.uint8)[None],
        "inverse_depth": inverse_depth.astype(np.float32)[None, None] * valid,
        "depth_valid": valid,
        "estimate": np.zeros(1, np.float32),
    }


def answer(output: RawOutput) -> list[float]:
    """What the order of the candidates does not change: where things are, what they are, and how far.

    Returns:
        A map of `CELLS` x `CELLS` of the masks, each times its score; one of the depth that was seen; and for each
        class the sum of its probabilities.
    """
    logits = output.class_logits[0].astype(np.float64)
    probability = 1 / (1 + np.exp(-np.clip(logits, -80, 80)))  # (K, C)
    scores = probability.max(axis=1) * output.predicted_iou[0].clip(0, 1)
    masks = np.einsum("k,khw->hw", scores, output.mask_logits[0] > 0)
    maps = [
        cv2.resize(full.astype(np.float32), (CELLS, CELLS), interpolation=cv2.INTER_AREA)
        for full in (masks, output.inverse_depth[0, 0])
    ]
    return [round(float(v), 5) for v in np.concatenate([*(m.ravel() for m in maps), probability.sum(axis=0)])]


class Comparison(NamedTuple):
    """How far an answer is from PyTorch's.

    Attributes:
        difference: see `difference`.
        precision: of the graph.
    """

    difference: float
    precision: Precision

    @property
    def is_rounding(self) -> bool:
        """Whether no more than rounding can be seen; not so where an answer is no number."""
        return self.difference <= TOLERANCE[self.precision]

    def __str__(self) -> str:
        return (
            f"its answer to the check picture differs by {self.difference:.3g}, at most {TOLERANCE[self.precision]} is "
            f"rounding in {self.precision}"
        )


def compare(graph: GraphFile, run: Callable[..., RawOutput]) -> Comparison:
    """Run a graph on the check picture, by `Runtime.run` of whatever runs it, and compare with PyTorch's answer."""
    found = answer(run(*check_inputs(graph.info.input_size).values()))
    return Comparison(difference(graph.check, found), graph.precision)


def difference(expected: list[float], found: list[float]) -> float:
    """The largest difference of two answers, of each number as its share where that exceeds 1; NaN stays NaN."""
    if len(expected) != len(found):
        return float("inf")
    a, b = np.array(expected), np.array(found)
    return float((np.abs(a - b) / np.abs(a).clip(1)).max())
