"""What networks are timed on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from spda_sam_core.network.network import SpdaSamNetwork
from training.measuring.agreement import proof_inputs


def rendered_picture(network: SpdaSamNetwork) -> dict[str, NDArray[np.generic]]:
    """A rendered picture with its depth, as what the network reads."""
    return {name: tensor.numpy() for name, tensor in next(proof_inputs(network, 1, 0)).items()}


def noise(model: Path) -> dict[str, NDArray[np.float32]]:
    """Values in 0..1 for each input of a graph that reads float32.

    Raises:
        ValueError: an input without a fixed shape.
    """
    feed = {}
    for entry in onnx.load(model, load_external_data=False).graph.input:
        shape = [d.dim_value for d in entry.type.tensor_type.shape.dim]
        if not shape or not all(shape):
            raise ValueError(
                f"input '{entry.name}' has shape {shape}, 0 where it is not fixed: export it with fixed sizes"
            )
        feed[entry.name] = np.random.default_rng(0).random(shape, dtype=np.float32)
    return feed
