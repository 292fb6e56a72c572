"""The contract of a runtime: arrays of a batch in, arrays of its candidates out, and what is known of the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from spda_sam_core.results.calibration import UNCALIBRATED, Calibration


class BackendError(RuntimeError):
    """A backend that is not there, cannot run a network, or computes something else; the message says why."""


class RawOutput(NamedTuple):
    """K candidates per image, as the network gives them; the same as `SpdaSamOutput`, in NumPy.

    Attributes:
        mask_logits: (B, K, S/4, S/4) float32, positive inside.
        class_logits: (B, K, C) float32, before the sigmoid.
        predicted_iou: (B, K) float32, of the mask with the truth; may leave [0, 1].
        inverse_depth: (B, 1, S/4, S/4) float32 in [0, 1], the depth that the network saw: given, or its own estimate.
    """

    mask_logits: NDArray[np.float32]
    class_logits: NDArray[np.float32]
    predicted_iou: NDArray[np.float32]
    inverse_depth: NDArray[np.float32]


@dataclass(frozen=True)
class NetworkInfo:
    """What its users must know of a network, whatever runs it.

    Attributes:
        preset: name of the preset.
        class_names: the C classes, indexed by class id.
        input_size: side S of the square input in pixels.
        reads_depth: whether depth is read at all; if so, the network can also estimate what is missing.
        checkpoint_sha256: hash of the network's file, empty where it has none.
        calibration: what makes scores of raw ones.
        terms: what the network may be used for, see `CheckpointInfo.terms`.
    """

    preset: str
    class_names: tuple[str, ...]
    input_size: int
    reads_depth: bool
    checkpoint_sha256: str = ""
    calibration: Calibration = UNCALIBRATED
    terms: tuple[str, ...] = ()


class Runtime(Protocol):
    """Runs one network on one device. One thread at a time.

    Attributes:
        info: the network.
        device: where it runs: "cpu", "cuda" or "cuda:<n>".
    """

    @property
    def info(self) -> NetworkInfo:
        """The network."""

    @property
    def device(self) -> str:
        """Where it runs: "cpu" or "cuda:<n>"."""

    def run(
        self,
        image: NDArray[np.uint8],
        inverse_depth: NDArray[np.float32],
        depth_valid: NDArray[np.float32],
        estimate: NDArray[np.float32],
    ) -> RawOutput:
        """Find K candidates in each image, and wait until they are there.

        Args:
            image: (B, S, S, 3) uint8, see `spda_sam_core.preprocess.Prepared`.
            inverse_depth: (B, 1, S, S) float32 in [0, 1].
            depth_valid: (B, 1, S, S) float32, 0 or 1.
            estimate: (B,) float32, 1 where the network's own estimate shall stand in for depth of which nothing is
                known, 0 where nothing shall.
        """

    def facts(self) -> Mapping[str, str]:
        """What diagnostics say of it: backend, device, precision, threads, and memory where it is known."""

    def close(self) -> None:
        """Give back what it holds on its device; not to be used after that."""
