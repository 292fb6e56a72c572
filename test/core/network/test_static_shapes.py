"""What an engine with static shapes needs of the whole network, and that what it calls unique is."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from network_cases import SMALL, awakened, inputs
from torch.utils._python_dispatch import TorchDispatchMode

from spda_sam_core.network.network import build_network
from spda_sam_core.network.suppression import MASK_IOU

FORBIDDEN = {
    "nonzero", "masked_select", "index", "index_put", "index_put_", "nms", "roi_align", "grid_sampler_2d", "triu",
    "tril", "unique_dim", "_unique2", "_local_scalar_dense", "repeat_interleave",
}  # fmt: skip


class Operators(TorchDispatchMode):
    """Which operators run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def test_no_operator_has_a_shape_or_a_branch_that_depends_on_values() -> None:
    network = build_network(SMALL).eval()
    with Operators() as operators:
        network(*inputs())
    assert "topk" in operators.names
    assert operators.names & FORBIDDEN == set()


@torch.no_grad()
def test_no_two_masks_that_the_network_calls_unique_show_the_same() -> None:
    torch.manual_seed(1)
    one_pass = dataclasses.replace(SMALL, use_spatial_prompts=False, num_instances=6)
    network = awakened(build_network(one_pass)).eval()
    torch.nn.init.normal_(network.decoder.mask_head.linear.weight)  # masks that are not empty
    features = network.encode(*inputs(2))
    pyramid = network.pyramid(features.fused)
    # three places, each proposed twice: without suppression three pairs of equal masks come out
    picked = network.proposal_head(pyramid).pick(torch.tensor([[0, 0, 200, 200, 330, 330]]).expand(2, -1))
    masks, class_logits, _, _ = network.decode(features.fused, pyramid, picked)
    for drawn, logits in zip((masks > 0).flatten(2), class_logits, strict=True):
        unique = drawn[(logits.amax(dim=1) > -19) & drawn.any(dim=1)]
        assert 2 <= len(unique) <= 3
        for i in range(len(unique)):
            for j in range(i):
                shared, either = int((unique[i] & unique[j]).sum()), int((unique[i] | unique[j]).sum())
                assert shared <= MASK_IOU * either
