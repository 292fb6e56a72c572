"""C2FFM, the Coarse-to-Fine RGB-D Fusion Module: depth added to the taps of the RGB path.

The paper's abstract states the two parts: the depth map's structure guides the fusion coarsely, its local variations
are encoded and fused finely. Their form, and the reliability gate (after CalibNet's agreement of RGB and depth), are
our reading. All outputs start at zero: an untrained C2FFM leaves the RGB features exactly as they were.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spda_sam_core.config import ModelConfig
from spda_sam_core.network.encoders.hierarchical import conv_norm_act

STRUCTURE_GRID = 12
"""Depth structure is summarised by about this many rows and columns of tokens (exactly at input size 384)."""


class C2FFM(nn.Module):
    """Fuse every tap of the RGB path with the depth of its stride."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.variation = DepthVariation(config) if config.fusion_fine else None
        pairs = zip(config.encoder_widths, config.depth_widths, strict=True)
        self.levels = nn.ModuleList(
            FusionLevel(rgb, depth, coarse=config.fusion_coarse, fine=config.fusion_fine)
            if config.fusion_coarse or config.fusion_fine
            else PlainAddition(rgb, depth)
            for rgb, depth in pairs
        )

    def forward(
        self, rgb: tuple[Tensor, ...], depth: tuple[Tensor, ...], inverse_depth: Tensor, depth_valid: Tensor
    ) -> tuple[Tensor, ...]:
        """Fuse.

        Args:
            rgb: features of the RGB path at strides 4, 8 and 16, each (B, C, h, w).
            depth: features of the depth path at the same strides, each (B, Cd, h, w).
            inverse_depth: (B, 1, S, S) in [0, 1].
            depth_valid: (B, 1, S, S), 1 where depth is known.

        Returns:
            Fused features, shaped as `rgb`. Where an image has no known depth they equal `rgb`.
        """
        variations = self.variation(inverse_depth, depth_valid) if self.variation is not None else depth
        return tuple(
            level(x, d, v, depth_valid) for level, x, d, v in zip(self.levels, rgb, depth, variations, strict=True)
        )


class PlainAddition(nn.Module):
    """F = RGB + projected depth features: what an ablation compares C2FFM with, both parts switched off."""

    def __init__(self, rgb_channels: int, depth_channels: int) -> None:
        super().__init__()
        self.project = zero_conv(depth_channels, rgb_channels)

    def forward(self, rgb: Tensor, depth: Tensor, variation: Tensor, depth_valid: Tensor) -> Tensor:
        """(B, C, h, w), (B, Cd, h, w) twice and (B, 1, S, S) to (B, C, h, w)."""
        del variation  # the fine part's input
        return rgb + self.project(depth) * depth_valid.amax(dim=(2, 3), keepdim=True)


class FusionLevel(nn.Module):
    """F = RGB + reliability * (coarse + fine), at one stride."""

    def __init__(self, rgb_channels: int, depth_channels: int, *, coarse: bool, fine: bool) -> None:
        super().__init__()
        self.coarse = CoarseGuidance(rgb_channels, depth_channels) if coarse else None
        self.fine = FineDetail(rgb_channels, depth_channels) if fine else None
        self.reliability = Reliability(rgb_channels, depth_channels)

    def forward(self, rgb: Tensor, depth: Tensor, variation: Tensor, depth_valid: Tensor) -> Tensor:
        """(B, C, h, w), (B, Cd, h, w) twice and (B, 1, S, S) to (B, C, h, w)."""
        change = torch.zeros_like(rgb)
        if self.coarse is not None:
            change = change + self.coarse(rgb, depth)
        if self.fine is not None:
            change = change + self.fine(rgb, variation)
        return rgb + self.reliability(rgb, depth, depth_valid) * change


class CoarseGuidance(nn.Module):
    """Cross-attention from RGB to pooled depth structure, and a gate on RGB from low-passed depth."""

    def __init__(self, rgb_channels: int, depth_channels: int) -> None:
        super().__init__()
        self.inner = depth_channels
        self.query = nn.Conv2d(rgb_channels, depth_channels, 1)
        self.key_value = nn.Conv2d(depth_channels, 2 * depth_channels, 1)
        self.out = zero_conv(depth_channels, rgb_channels)
        self.gate = zero_conv(depth_channels, rgb_channels)

    def forward(self, rgb: Tensor, depth: Tensor) -> Tensor:
        """(B, C, h, w) and (B, Cd, h, w) to the (B, C, h, w) to add to RGB."""
        b, _, h, w = rgb.shape
        structure = F.avg_pool2d(depth, max(1, h // STRUCTURE_GRID))  # (B, Cd, 12, 12)
        # queries at 24 x 24: structure is coarse, and attention at stride 4 would cost more than all else
        pooled = F.avg_pool2d(rgb, max(1, h // (2 * STRUCTURE_GRID)))
        q = self.query(pooled).flatten(2).transpose(1, 2)  # (B, 576, Cd)
        k, v = self.key_value(structure).flatten(2).transpose(1, 2).chunk(2, dim=2)  # (B, 144, Cd) each
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        guided = self.out(mixed.reshape(b, self.inner, *pooled.shape[2:]))
        gate = torch.tanh(self.gate(structure))
        return _enlarge(guided, h, w) + rgb * _enlarge(gate, h, w)


class FineDetail(nn.Module):
    """Detail from local depth variation, let in where RGB and variation say so."""

    def __init__(self, rgb_channels: int, variation_channels: int) -> None:
        super().__init__()
        self.gate = nn.Conv2d(rgb_channels + variation_channels, rgb_channels, 1)
        self.detail = zero_conv(variation_channels, rgb_channels)

    def forward(self, rgb: Tensor, variation: Tensor) -> Tensor:
        """(B, C, h, w) and (B, Cv, h, w) to the (B, C, h, w) to add to RGB."""
        return self.detail(variation) * torch.sigmoid(self.gate(torch.cat([rgb, variation], dim=1)))


class Reliability(nn.Module):
    """One gate per place in [0, 1], from validity and from how well RGB and depth agree, there and in the image."""

    def __init__(self, rgb_channels: int, depth_channels: int) -> None:
        super().__init__()
        self.rgb = nn.Conv2d(rgb_channels, depth_channels, 1)
        self.depth = nn.Conv2d(depth_channels, depth_channels, 1)
        self.gate = nn.Conv2d(4, 1, 1)
        assert self.gate.bias is not None
        nn.init.constant_(self.gate.bias, 1.0)  # begins mostly open

    def forward(self, rgb: Tensor, depth: Tensor, depth_valid: Tensor) -> Tensor:
        """(B, C, h, w), (B, Cd, h, w) and (B, 1, S, S) to (B, 1, h, w); 0 where an image has no depth at all."""
        agreement = F.cosine_similarity(self.rgb(rgb), self.depth(depth), dim=1, eps=1e-4)[:, None]
        valid = F.avg_pool2d(depth_valid, depth_valid.shape[-1] // rgb.shape[-1])
        here = torch.cat([agreement, valid], dim=1)  # (B, 2, h, w)
        whole = here.mean(dim=(2, 3), keepdim=True).expand_as(here)
        gate = torch.sigmoid(self.gate(torch.cat([here, whole], dim=1)))
        return gate * (valid.amax(dim=(2, 3), keepdim=True) > 0)


class DepthVariation(nn.Module):
    """Local variation of depth: differences to neighbours and to blurred depth, then strided convolutions."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        narrow, middle, wide = config.depth_widths
        self.to4 = conv_norm_act(5, narrow, stride=2)
        self.to8 = conv_norm_act(narrow, middle, stride=2)
        self.to16 = conv_norm_act(middle, wide, stride=2)

    def forward(self, inverse_depth: Tensor, depth_valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 1, S, S) twice to variation at strides 4, 8 and 16, channels as in `depth_widths`."""
        v4 = self.to4(local_variation(inverse_depth, depth_valid))
        v8 = self.to8(v4)
        return v4, v8, self.to16(v8)


def local_variation(inverse_depth: Tensor, depth_valid: Tensor) -> Tensor:
    """Differences of inverse depth that know of holes.

    Args:
        inverse_depth: (B, 1, S, S) in [0, 1].
        depth_valid: (B, 1, S, S), 0 or 1.

    Returns:
        (B, 5, S/2, S/2): difference to the right and to the lower neighbour, to a 3x3 and to a 9x9 blur, each
        compressed to (-1, 1), 0 where either side is unknown; and the share of known pixels. A constant depth gives 0.
    """
    share = F.avg_pool2d(depth_valid, 2)
    depth = F.avg_pool2d(inverse_depth * depth_valid, 2) / share.clamp(min=0.25)  # (B, 1, S/2, S/2)
    known = (share > 0).to(depth.dtype)
    right = F.pad((depth[..., :, 1:] - depth[..., :, :-1]) * known[..., :, 1:] * known[..., :, :-1], (0, 1))
    down = F.pad((depth[..., 1:, :] - depth[..., :-1, :]) * known[..., 1:, :] * known[..., :-1, :], (0, 0, 0, 1))
    fine, wide = ((depth - _blur(depth, known, size)) * known for size in (3, 9))
    differences = torch.cat([right, down, fine, wide], dim=1)
    # a step between two things must not drown the relief of a surface
    compressed = differences / (differences.abs() + 0.02)
    return torch.cat([compressed, share], dim=1)


def _blur(depth: Tensor, known: Tensor, size: int) -> Tensor:
    """Mean of the known pixels in a window of `size`, which is odd."""
    half = size // 2
    total, count = (
        # rows, then columns: 2 * size additions per pixel instead of size * size
        F.avg_pool2d(F.avg_pool2d(x, (1, size), 1, (0, half)), (size, 1), 1, (half, 0))
        for x in (depth * known, known)
    )
    return total / count.clamp(min=1e-6)


def _enlarge(x: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(x, size=(height, width), mode="bilinear", align_corners=False)


def zero_conv(channels_in: int, channels_out: int) -> nn.Conv2d:
    """A 1x1 convolution that starts as zero (Zhang et al., "ControlNet", ICCV 2023)."""
    conv = nn.Conv2d(channels_in, channels_out, 1)
    nn.init.zeros_(conv.weight)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv


def zero_linear(channels_in: int, channels_out: int) -> nn.Linear:
    """A linear layer that starts as zero."""
    linear = nn.Linear(channels_in, channels_out)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
