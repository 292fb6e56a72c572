"""What runtimes of an exported graph share: one image at a time goes in by name, candidates come out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spda_sam_core.runtimes.runtime import RawOutput

Arrays = Mapping[str, NDArray[Any]]
INPUTS = ("image", "inverse_depth", "depth_valid", "estimate")
OUTPUTS = RawOutput._fields
"""Of a graph; "seen_" stands before one that is an input's name too."""


def each_image(arrays: Sequence[NDArray[Any]], read: Sequence[str]) -> list[Arrays]:
    """Of each image of a batch what a graph reads, (1, ...) each: an exported graph takes one image.

    Args:
        arrays: image, inverse depth, its validity and the wish for an estimate, as `Runtime.run` takes them.
        read: names of the graph's inputs, among `INPUTS`.
    """
    named = dict(zip(INPUTS, arrays, strict=True))
    return [{name: named[name][i : i + 1] for name in read} for i in range(len(arrays[0]))]


def output_names(known: Sequence[str]) -> list[str]:
    """The names of `RawOutput`'s fields among the outputs of a graph."""
    return [name if name in known else f"seen_{name}" for name in OUTPUTS]


def stacked(outputs: Sequence[Sequence[NDArray[np.float32]]]) -> RawOutput:
    """The outputs of each image as those of the batch."""
    if len(outputs) == 1:
        return RawOutput(*outputs[0])
    return RawOutput(*(np.concatenate(arrays) for arrays in zip(*outputs, strict=True)))
