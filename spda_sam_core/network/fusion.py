"""C2FFM, the Coarse-to-Fine RGB-D Fusion Module: depth into the features of the RGB path, at every stride.

The paper's abstract states the two parts: the depth map's structure guides the fusion coarsely, its local variations
are encoded and fused finely. Their form is our reading:

- coarse: RGB features look at a summary of the scene, and look more at what is near them in the image *and in depth*
  (after DFormerv2's geometry attention, Yin et al., CVPR 2025); a gate from the same summary;
- fine: depth and its local variation at the stride's own resolution;
- reliability: one gate per place, after CalibNet's agreement of RGB and depth: bad depth is ignored, not obeyed.

All outputs start at zero: an untrained C2FFM leaves the RGB features exactly as they were.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spda_sam_core.config import ModelConfig
from spda_sam_core.network.layers import area_pool, conv_norm_act, enlarge, zero_conv

KEY_GRID = 12
"""Rows and columns of the summary of the scene, whatever the input size."""
QUERY_GRID = 24
"""Rows and columns that look at it, at most: more would cost more than all else at SAM's 1024 pixels."""
_HEADS, _INNER = 4, 32


class C2FFM(nn.Module):
    """Fuse every tap of the RGB path with the depth of its stride."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.variation = DepthVariation(config) if config.fusion_fine else None
        pairs = zip(config.encoder_widths, config.depth_widths, strict=True)
        self.levels = nn.ModuleList(
            _level(rgb, depth, coarse=config.fusion_coarse, fine=config.fusion_fine, stride=stride)
            for (rgb, depth), stride in zip(pairs, (4, 8, 16, 32), strict=False)
        )

    def forward(
        self, rgb: tuple[Tensor, ...], depth: tuple[Tensor, ...], inverse_depth: Tensor, depth_valid: Tensor
    ) -> tuple[Tensor, ...]:
        """Fuse.

        Args:
            rgb: features of the RGB path at strides 4, 8, 16 and, if it has it, 32; each (B, C, h, h).
            depth: features of the depth path at the same strides, each (B, Cd, h, h).
            inverse_depth: (B, 1, S, S) in [0, 1].
            depth_valid: (B, 1, S, S), 1 where depth is known.

        Returns:
            Fused features, shaped as `rgb`. Where an image has no known depth they equal `rgb`.
        """
        variations = self.variation(inverse_depth, depth_valid) if self.variation is not None else depth
        known = area_pool(depth_valid, rgb[0].shape[-1])  # (B, 1, S/4, S/4)
        near = area_pool(inverse_depth * depth_valid, rgb[0].shape[-1])
        seen = torch.cat([near, known], dim=1)
        return tuple(level(x, d, v, seen) for level, x, d, v in zip(self.levels, rgb, depth, variations, strict=True))


def _level(rgb_channels: int, depth_channels: int, *, coarse: bool, fine: bool, stride: int) -> nn.Module:
    """What happens at one stride; structure is coarse: strides 4 and 8 get it through the pyramid."""
    if not coarse and not fine:
        return PlainAddition(rgb_channels, depth_channels)
    coarse_here = coarse and stride >= 16
    if not coarse_here and not fine:
        return Untouched()
    return FusionLevel(rgb_channels, depth_channels, coarse=coarse_here, fine=fine)


class Untouched(nn.Module):
    """F = RGB, at a stride at which no depth is let in."""

    def forward(self, rgb: Tensor, depth: Tensor, variation: Tensor, seen: Tensor) -> Tensor:
        """(B, C, h, h) as it is."""
        del depth, variation, seen
        return rgb


class PlainAddition(nn.Module):
    """F = RGB + projected depth features: what an ablation compares C2FFM with, both parts switched off."""

    def __init__(self, rgb_channels: int, depth_channels: int) -> None:
        super().__init__()
        self.project = zero_conv(depth_channels, rgb_channels)

    def forward(self, rgb: Tensor, depth: Tensor, variation: Tensor, seen: Tensor) -> Tensor:
        """(B, C, h, h), (B, Cd, h, h) twice and (B, 2, S/4, S/4) to (B, C, h, h)."""
        del variation  # the fine part's input
        return rgb + self.project(depth) * _any_known(seen)


class FusionLevel(nn.Module):
    """F = RGB + reliability * (coarse + fine), at one stride."""

    def __init__(self, rgb_channels: int, depth_channels: int, *, coarse: bool, fine: bool) -> None:
        super().__init__()
        self.coarse = CoarseGuidance(rgb_channels, depth_channels) if coarse else None
        self.fine = FineDetail(rgb_channels, 2 * depth_channels) if fine else None
        self.reliability = Reliability(rgb_channels, depth_channels)

    def forward(self, rgb: Tensor, depth: Tensor, variation: Tensor, seen: Tensor) -> Tensor:
        """Fuse one stride.

        Args:
            rgb: (B, C, h, h).
            depth: (B, Cd, h, h).
            variation: (B, Cd, h, h).
            seen: (B, 2, S/4, S/4): mean of inverse depth with 0 for what is unknown, and share of what is known.

        Returns:
            (B, C, h, h).
        """
        change = torch.zeros_like(rgb)
        if self.coarse is not None:
            change = change + self.coarse(rgb, depth, seen)
        if self.fine is not None:
            change = change + self.fine(rgb, torch.cat([depth, variation], dim=1))
        return rgb + self.reliability(rgb, depth, seen) * change


class CoarseGuidance(nn.Module):
    """Attention from RGB to a summary of the scene, biased by distance in image and depth, and a gate from it."""

    def __init__(self, rgb_channels: int, depth_channels: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(rgb_channels, _INNER, 1)
        self.key_value = nn.Conv2d(rgb_channels + depth_channels, 2 * _INNER, 1)
        self.out = zero_conv(_INNER, rgb_channels)
        self.gate = zero_conv(depth_channels, rgb_channels)
        # how fast attention falls with distance: per head, in the image and in depth
        self.falls = nn.Parameter(torch.tensor([[4.0, 8.0], [2.0, 8.0], [4.0, 2.0], [0.5, 0.5]]))

    def forward(self, rgb: Tensor, depth: Tensor, seen: Tensor) -> Tensor:
        """(B, C, h, h), (B, Cd, h, h) and (B, 2, S/4, S/4) to the (B, C, h, h) to add to RGB."""
        side = rgb.shape[-1]
        asking, scene = area_pool(rgb, QUERY_GRID), area_pool(rgb, KEY_GRID)
        share = area_pool(seen[:, 1:], side)
        known = area_pool(share, KEY_GRID)
        # holes have no part in a mean
        structure = area_pool(depth * share, KEY_GRID) / known.clamp(min=1e-3)
        keys, values = self.key_value(torch.cat([scene, structure], dim=1)).chunk(2, dim=1)
        bias = self._bias(area_pool(seen, asking.shape[-1]), area_pool(seen, scene.shape[-1]))
        q, k, v = (_split_heads(x) for x in (self.query(asking), keys, values))
        mixed = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(q.shape[3]) + bias, dim=3).to(v.dtype) @ v
        guided = self.out(mixed.transpose(2, 3).reshape(rgb.shape[0], _INNER, *asking.shape[2:]))
        gate = torch.tanh(self.gate(structure)) * (known > 0)
        return enlarge(guided, side) + rgb * enlarge(gate, side)

    def _bias(self, asking: Tensor, scene: Tensor) -> Tensor:
        """(B, 2, q, q) and (B, 2, k, k) of `seen` to (B, heads, q*q, k*k), at most 0."""
        near_q, near_k = (_mean_of_known(x).flatten(2) for x in (asking, scene))  # (B, 1, q*q), (B, 1, k*k)
        known_q, known_k = ((x[:, 1:] > 0).flatten(2).float() for x in (asking, scene))
        both = known_q[..., :, None] * known_k[..., None, :]
        apart_in_depth = (near_q[..., :, None] - near_k[..., None, :]).abs() * both  # (B, 1, q*q, k*k)
        places_q, places_k = (_places(x.shape[-1], x.device) for x in (asking, scene))
        apart = torch.linalg.vector_norm(places_q[:, None] - places_k[None], dim=2)  # (q*q, k*k)
        in_image, in_depth = self.falls.float().clamp(min=0)[:, :, None, None].unbind(dim=1)  # (heads, 1, 1) each
        return -(in_image * apart + in_depth * apart_in_depth)


class FineDetail(nn.Module):
    """Detail from depth and its local variation, let in where RGB and depth say so."""

    def __init__(self, rgb_channels: int, depth_channels: int) -> None:
        super().__init__()
        self.gate = nn.Conv2d(rgb_channels + depth_channels, rgb_channels, 1)
        self.detail = zero_conv(depth_channels, rgb_channels)

    def forward(self, rgb: Tensor, depth: Tensor) -> Tensor:
        """(B, C, h, h) and (B, Cv, h, h) to the (B, C, h, h) to add to RGB."""
        return self.detail(depth) * torch.sigmoid(self.gate(torch.cat([rgb, depth], dim=1)))


class Reliability(nn.Module):
    """One gate per place in [0, 1], from validity and from how well RGB and depth agree, there and in the image."""

    def __init__(self, rgb_channels: int, depth_channels: int) -> None:
        super().__init__()
        self.rgb = nn.Conv2d(rgb_channels, depth_channels, 1)
        self.depth = nn.Conv2d(depth_channels, depth_channels, 1)
        self.gate = nn.Conv2d(3, 1, 1)
        assert self.gate.bias is not None
        nn.init.constant_(self.gate.bias, 1.0)  # begins mostly open

    def forward(self, rgb: Tensor, depth: Tensor, seen: Tensor) -> Tensor:
        """(B, C, h, h), (B, Cd, h, h) and (B, 2, S/4, S/4) to (B, 1, h, h); 0 where an image has no depth at all."""
        agreement = F.cosine_similarity(self.rgb(rgb).float(), self.depth(depth).float(), dim=1, eps=1e-4)[:, None]
        known = area_pool(seen[:, 1:], rgb.shape[-1])
        # of the whole image only where depth is known: padding says nothing about the sensor
        whole = (agreement * known).mean(dim=(2, 3), keepdim=True) / known.mean(dim=(2, 3), keepdim=True).clamp(
            min=1e-4
        )
        gate = torch.sigmoid(self.gate(torch.cat([agreement, known, whole.expand_as(known)], dim=1)))
        return gate * _any_known(seen)


class DepthVariation(nn.Module):
    """Local variation of depth: differences to neighbours and to blurred depth, then strided convolutions."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        widths = (5, *config.depth_widths)
        self.stages = nn.ModuleList(conv_norm_act(a, b, stride=2) for a, b in pairwise(widths))

    def forward(self, inverse_depth: Tensor, depth_valid: Tensor) -> tuple[Tensor, ...]:
        """(B, 1, S, S) twice to variation at stride 4 and so on, channels as in `depth_widths`."""
        features, levels = local_variation(inverse_depth, depth_valid), []
        for stage in self.stages:
            features = stage(features)
            levels.append(features)
        return tuple(levels)


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


def _any_known(seen: Tensor) -> Tensor:
    """(B, 2, h, h) to (B, 1, 1, 1): 1 where an image has any depth."""
    return (seen[:, 1:].amax(dim=(2, 3), keepdim=True) > 0).to(seen.dtype)


def _mean_of_known(seen: Tensor) -> Tensor:
    """(B, 2, h, h) to the (B, 1, h, h) mean of the inverse depths that are known, 0 where none is."""
    return seen[:, :1] / seen[:, 1:].clamp(min=1e-4)


def _places(side: int, device: torch.device) -> Tensor:
    """(side * side, 2) x and y of cells, 0 to 1 over the image."""
    steps = (torch.arange(side, device=device, dtype=torch.float32) + 0.5) / side
    return torch.stack([steps.repeat(side), steps.repeat_interleave(side)], dim=1)


def _split_heads(x: Tensor) -> Tensor:
    """(B, C, h, h) to (B, heads, h*h, C / heads)."""
    return x.reshape(x.shape[0], _HEADS, x.shape[1] // _HEADS, -1).transpose(2, 3)
