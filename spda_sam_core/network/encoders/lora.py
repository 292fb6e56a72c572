"""LoRA: a trained low-rank change to a frozen linear layer (Hu et al., ICLR 2022).

Summaries of the paper report LoRA in the encoder; rank 16 on the qkv projections, scaled by 2, is RSPrompter's choice
and ours.
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

SCALE = 2.0
"""alpha / rank."""


class LoraLinear(nn.Linear):
    """Frozen weight and bias under the names of `nn.Linear`, and two trained matrices; zero change at the start."""

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__(base.in_features, base.out_features, bias=base.bias is not None)
        self.weight, self.bias = base.weight, base.bias
        self.lora_down = nn.Linear(base.in_features, rank, bias=False)
        self.lora_up = nn.Linear(rank, base.out_features, bias=False)
        nn.init.kaiming_uniform_(self.lora_down.weight, a=math.sqrt(5))
        nn.init.zeros_(self.lora_up.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        change: Tensor = self.lora_up(self.lora_down(x))
        return F.linear(x, self.weight, self.bias) + SCALE * change


def add_lora(encoder: nn.Module, rank: int) -> None:
    """Freeze an encoder and give the qkv projection of each of its attention layers a change of this rank.

    Args:
        encoder: with `nn.Linear` layers named `qkv`.
        rank: 0 leaves the encoder as it is, frozen.
    """
    encoder.requires_grad_(False)
    if rank == 0:
        return
    owners = [module for module in encoder.modules() if isinstance(getattr(module, "qkv", None), nn.Linear)]
    assert owners, "no qkv projection found"
    for owner in owners:
        qkv = owner.qkv
        assert isinstance(qkv, nn.Linear)
        owner.qkv = LoraLinear(qkv, rank)
