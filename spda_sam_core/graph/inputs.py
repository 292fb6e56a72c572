"""What the network and its graph read, by name."""

from __future__ import annotations

import inspect

import torch
from torch import Tensor

from spda_sam_core.network.network import SpdaSamNetwork


def named_inputs(
    network: SpdaSamNetwork, image: Tensor, inverse_depth: Tensor, depth_valid: Tensor, *, estimate: bool = False
) -> dict[str, Tensor]:
    """What the network's `forward` takes, by the names that it gives them, in its order; these name the graph's inputs.

    Args:
        network: of any preset.
        image: (B, S, S, 3) uint8, as `prepare` gives it; so are the next two.
        inverse_depth: (B, 1, S, S).
        depth_valid: (B, 1, S, S).
        estimate: whether the network's own depth stands in where a picture has none.
    """
    known = {
        "image": image,
        "inverse_depth": inverse_depth,
        "depth_valid": depth_valid,
        "estimate": torch.full((len(image),), float(estimate)),
    }
    device = next(network.parameters()).device
    return {name: known[name].to(device) for name in inspect.signature(network.forward).parameters}


def random_inputs(network: SpdaSamNetwork, seed: int) -> dict[str, Tensor]:
    """Noise for one picture, a third of its depth unknown."""
    generator = torch.Generator().manual_seed(seed)
    side = network.config.input_size
    image = torch.randint(0, 256, (1, side, side, 3), generator=generator, dtype=torch.uint8)
    valid = (torch.rand(1, 1, side, side, generator=generator) > 1 / 3).float()
    return named_inputs(network, image, torch.rand(1, 1, side, side, generator=generator) * valid, valid)
