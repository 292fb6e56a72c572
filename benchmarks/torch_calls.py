"""Calls of networks in PyTorch, for `benchmarks.contestant`: each function loads one and returns what runs it once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from spda_sam_core.config import load_model_config
from spda_sam_core.network.network import SpdaSamNetwork, build_network
from spda_sam_core.weights.checkpoint import load_checkpoint

RANDOM = "random "
"""Before the name of a preset: that network with random weights."""


def changed(network: SpdaSamNetwork, **changes: Any) -> SpdaSamNetwork:
    """The same preset with some of its configuration changed, and those of the network's weights that it still has."""
    other = build_network(dataclasses.replace(network.config, **changes))
    own, given = other.state_dict(), network.state_dict()
    other.load_state_dict({name: given[name] for name in own})
    return other.eval()


def network_of(name: str, *, depth: bool = True) -> SpdaSamNetwork:
    """A network by the name of its checkpoint or, after "random ", of its preset.

    Args:
        name: a file, the name of a shipped checkpoint, or "random sam_vit_b".
        depth: False: built without depth.
    """
    if name.startswith(RANDOM):
        torch.manual_seed(0)
        config = load_model_config(name.removeprefix(RANDOM), class_names=("thing",))
        return build_network(dataclasses.replace(config, use_depth=depth)).eval()
    network, _ = load_checkpoint(name)
    return network if depth else changed(network, use_depth=False)


def ours(threads: int, name: str, depth: bool, feed: str) -> Callable[[], object]:
    """`network_of`, on what an NPZ file holds."""
    torch.set_num_threads(threads)
    network = network_of(name, depth=depth)
    with np.load(feed) as stored:
        inputs = {key: torch.from_numpy(value) for key, value in stored.items()}

    def call() -> object:
        with torch.inference_mode():
            return network(**inputs)

    return call


def everything(threads: int, side: int) -> Callable[[], object]:
    """SAM ViT-B's everything mode on a square of noise: a grid of 32 x 32 points, its defaults; random weights."""
    from segment_anything import SamAutomaticMaskGenerator, sam_model_registry  # here: no other call pays for it

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    network = (
        sam_model_registry["vit_b"]().eval().requires_grad_(False)
    )  # the counter below fails on what has gradients
    generator = SamAutomaticMaskGenerator(network, points_per_side=32)
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return lambda: generator.generate(noise)


def everything_cost(side: int) -> tuple[float, float]:
    """Multiply-accumulates of `everything`, in 10^9, and its parameters, in 10^6."""
    from segment_anything import sam_model_registry

    call = everything(torch.get_num_threads(), side)
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 2e9, sum(p.numel() for p in sam_model_registry["vit_b"]().parameters()) / 1e6
