"""What runtimes of an exported graph share: one image at a time goes in by name, candidates come out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spda_sam_core.graph.onnx_file import GraphFile
from spda_sam_core.runtimes.runtime import NetworkInfo, RawOutput

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


class GraphRuntime(ABC):
    """The contract of a runtime, see `Runtime`, for whatever runs one image at a time.

    Args:
        graph: the network.
        device: where it runs.
        backend: its name, and that of its version.
        further: what diagnostics say of it beside these.

    Attributes:
        info: the network.
        device: as given.
    """

    def __init__(self, graph: GraphFile, device: str, backend: tuple[str, str], further: Mapping[str, str]) -> None:
        self.info: NetworkInfo = graph.info
        self.device = device
        name, version = backend
        self._facts = {
            "backend": name, "backend_version": version, "device": device, "precision": graph.precision, **further
        }  # fmt: skip

    def run(
        self,
        image: NDArray[np.uint8],
        inverse_depth: NDArray[np.float32],
        depth_valid: NDArray[np.float32],
        estimate: NDArray[np.float32],
    ) -> RawOutput:
        """See `Runtime.run`."""
        return self._run_each((image, inverse_depth, depth_valid, estimate))

    def facts(self) -> dict[str, str]:
        """See `Runtime.facts`."""
        return self._facts

    @abstractmethod
    def _run_each(self, arrays: Sequence[NDArray[Any]]) -> RawOutput:
        """Run the images of a batch one after another; the arrays are those of `run`."""
