"""Depth path of the dual-path encoder: a light pyramid on normalised inverse depth and its validity."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spda_sam_core.config import ModelConfig
from spda_sam_core.network.encoders.hierarchical import conv_norm_act


class DepthPath(nn.Module):
    """Inverse depth to features at strides 4, 8 and 16."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        narrow, middle, wide = config.depth_widths
        self.to4 = nn.Sequential(
            conv_norm_act(2, narrow, stride=2),
            conv_norm_act(narrow, narrow, stride=2),
            conv_norm_act(narrow, narrow),
        )
        self.to8 = nn.Sequential(conv_norm_act(narrow, middle, stride=2), conv_norm_act(middle, middle))
        self.to16 = nn.Sequential(conv_norm_act(middle, wide, stride=2), conv_norm_act(wide, wide))

    def forward(self, inverse_depth: Tensor, depth_valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode depth.

        Args:
            inverse_depth: (B, 1, S, S) float32 in [0, 1], 0 where unknown.
            depth_valid: (B, 1, S, S) float32, 1 where known.

        Returns:
            D4, D8 and D16 with channels as in `depth_widths`, (B, C, S/4, S/4), (B, C, S/8, S/8), (B, C, G, G).
        """
        # centred, so that an unknown pixel is neither near nor far
        centred = (inverse_depth - 0.5) * depth_valid
        d4 = self.to4(torch.cat([centred, depth_valid - 0.5], dim=1))
        d8 = self.to8(d4)
        return d4, d8, self.to16(d8)
