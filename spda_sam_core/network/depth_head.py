"""Depth from the features of the RGB path, for pictures that come without: one encoder serves both.

The paper estimates depth with a network of its own; that would cost as much as all the rest here. Our reading.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spda_sam_core.config import ModelConfig
from spda_sam_core.network.layers import conv_norm_act, enlarge

_WIDTH = 64


class DepthHead(nn.Module):
    """Features of the RGB path to inverse depth at stride 4, and to whether there is anything to be near."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(width, _WIDTH, 1) for width in config.encoder_widths[1:])
        self.mix = nn.Sequential(conv_norm_act(_WIDTH, _WIDTH), conv_norm_act(_WIDTH, _WIDTH // 2))
        self.edges = nn.Conv2d(config.encoder_widths[0], _WIDTH // 2, 1)
        self.out = nn.Sequential(conv_norm_act(_WIDTH // 2, _WIDTH // 4), nn.Conv2d(_WIDTH // 4, 2, 1))

    def forward(self, rgb: tuple[Tensor, ...]) -> Tensor:
        """RGB features to (B, 2, S/4, S/4) logits: of the inverse depth in [0, 1], and of being within sight at all.

        Open water has no depth: there the second is negative.
        """
        coarse: Tensor = self.laterals[-1](rgb[-1])
        for lateral, features in zip(reversed(self.laterals[:-1]), reversed(rgb[1:-1]), strict=True):
            coarse = lateral(features) + enlarge(coarse, features.shape[-1])
        wide = enlarge(self.mix(coarse), rgb[0].shape[-1])  # (B, 32, S/4, S/4)
        logits: Tensor = self.out(F.relu(wide + self.edges(rgb[0])))
        return logits


def fill_missing_depth(
    estimate_logits: Tensor, inverse_depth: Tensor, depth_valid: Tensor, wanted: Tensor
) -> tuple[Tensor, Tensor]:
    """Let the estimate stand in where a picture has no known depth at all; a hole in a sensor's depth stays a hole.

    Args:
        estimate_logits: (B, 2, S/4, S/4) of `DepthHead`.
        inverse_depth: (B, 1, S, S) in [0, 1].
        depth_valid: (B, 1, S, S), 1 where known.
        wanted: (B,) 1 where an estimate may stand in, else 0.

    Returns:
        Inverse depth and validity, (B, 1, S, S) each. No gradient flows into the estimate: its mistakes are given.
    """
    estimate = torch.sigmoid(estimate_logits.detach().float()).chunk(2, dim=1)
    # one channel at a time: runtimes that block channels would enlarge sixteen
    near, seen = (enlarge(channel, inverse_depth.shape[-1]) for channel in estimate)
    missing = wanted[:, None, None, None] * (depth_valid.amax(dim=(2, 3), keepdim=True) <= 0).to(wanted.dtype)
    seen = (seen > 0.5).to(near.dtype)
    return inverse_depth + missing * (near * seen - inverse_depth), depth_valid + missing * (seen - depth_valid)
