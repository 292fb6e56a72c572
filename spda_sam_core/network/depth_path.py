"""Depth path of the dual-path encoder: a light pyramid on normalised inverse depth and its validity."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spda_sam_core.config import ModelConfig
from spda_sam_core.network.layers import conv_norm_act


class DepthPath(nn.Module):
    """Inverse depth to features at the strides of the RGB path."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        narrow, *wider = config.depth_widths
        stem = nn.Sequential(
            conv_norm_act(2, narrow, stride=2),
            conv_norm_act(narrow, narrow, stride=2),
            conv_norm_act(narrow, narrow),
        )
        steps = zip(config.depth_widths, wider, strict=False)
        self.stages = nn.ModuleList(
            [stem, *(nn.Sequential(conv_norm_act(a, b, stride=2), conv_norm_act(b, b)) for a, b in steps)]
        )

    def forward(self, inverse_depth: Tensor, depth_valid: Tensor) -> tuple[Tensor, ...]:
        """Encode depth.

        Args:
            inverse_depth: (B, 1, S, S) float32 in [0, 1].
            depth_valid: (B, 1, S, S) float32, 1 where known.

        Returns:
            (B, C, S/4, S/4) and so on, one per stride, channels as in `depth_widths`.
        """
        # centred, so that an unknown pixel is neither near nor far
        features = torch.cat([(inverse_depth - 0.5) * depth_valid, depth_valid - 0.5], dim=1)
        levels = []
        for stage in self.stages:
            features = stage(features)
            levels.append(features)
        return tuple(levels)
