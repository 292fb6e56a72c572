"""SSSPM, semantic half: prompts from the image encoder, without a click.

Our reading of the paper: every place of a small pyramid over the fused features says what it shows and where; the K
best places become T prompt tokens each. Training assigns one place to each instance (YOLOv10's consistent dual
assignment, Wang et al., NeurIPS 2024), so that no NMS is needed.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from segment_anything.modeling.transformer import Attention
from torch import Tensor, nn
from torch.nn import functional as F

from spda_sam_core.config import ModelConfig
from spda_sam_core.network.encoders.hierarchical import conv_norm_act

STRIDES = (8, 16, 32)


class Pyramid(NamedTuple):
    """Features of width D at strides 8, 16 and 32; `p16` is the image embedding that the decoder reads."""

    p8: Tensor
    p16: Tensor
    p32: Tensor


class Proposals(NamedTuple):
    """What every place says; N = (S/8)^2 + (S/16)^2 + (S/32)^2, row by row, stride 8 first.

    Attributes:
        features: (B, N, D).
        class_logits: (B, N, C), before the sigmoid.
        boxes_xyxy: (B, N, 4) network pixels, not clipped.
    """

    features: Tensor
    class_logits: Tensor
    boxes_xyxy: Tensor

    def pick(self, index: Tensor) -> Proposals:
        """Keep the places of `index` (B, P), in its order."""
        return Proposals(*(gather_places(tensor, index) for tensor in self))


class FeaturePyramid(nn.Module):
    """Top-down pyramid (Lin et al., CVPR 2017) over the fused taps."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        _, middle, wide = config.encoder_widths
        width = config.width
        self.lateral8 = nn.Conv2d(middle, width, 1)
        self.lateral16 = nn.Conv2d(wide, width, 1)
        self.down32 = conv_norm_act(wide, width, stride=2)
        self.smooth16 = conv_norm_act(width, width)
        self.smooth8 = conv_norm_act(width, width)

    def forward(self, fused: tuple[Tensor, ...]) -> Pyramid:
        """Fused taps at strides 4, 8 and 16 to the pyramid."""
        _, f8, f16 = fused
        p32 = self.down32(f16)  # (B, D, S/32, S/32)
        p16 = self.smooth16(self.lateral16(f16) + F.interpolate(p32, scale_factor=2.0))
        p8 = self.smooth8(self.lateral8(f8) + F.interpolate(p16, scale_factor=2.0))
        return Pyramid(p8, p16, p32)


class ProposalHead(nn.Module):
    """Class logits and a box at every place; the same weights at every stride."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.width
        self.tower = conv_norm_act(width, width)
        classify = nn.Conv2d(width // 2, len(config.class_names), 1)
        assert classify.bias is not None
        nn.init.constant_(classify.bias, -4.6)  # 1 % at the start (Lin et al., "Focal Loss", ICCV 2017)
        self.classes = nn.Sequential(conv_norm_act(width, width // 2), classify)
        self.boxes = nn.Sequential(conv_norm_act(width, width // 2), nn.Conv2d(width // 2, 4, 1))
        self.box_scale = nn.Parameter(torch.ones(len(STRIDES)))

    def forward(self, pyramid: Pyramid) -> Proposals:
        """Propose at all places."""
        parts = []
        for i, (stride, level) in enumerate(zip(STRIDES, pyramid, strict=True)):
            features = self.tower(level)
            distances = F.softplus(self.boxes(features).float() * self.box_scale[i]) * (2 * stride)
            centres = place_centres(level.shape[-1], stride, level.device)  # (h*w, 2)
            left_top, right_bottom = _rows(distances).chunk(2, dim=2)
            boxes_xyxy = torch.cat([centres - left_top, centres + right_bottom], dim=2)
            parts.append((_rows(features), _rows(self.classes(features)), boxes_xyxy))
        return Proposals(*(torch.cat(column, dim=1) for column in zip(*parts, strict=True)))


class SemanticPrompts(nn.Module):
    """Places to prompts: sparse tokens refined by one look at the image embedding, and where the proposal lies."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.width
        self.tokens = config.prompt_tokens
        self.input_size = config.input_size
        self.grid = config.grid
        self.from_features = nn.Linear(width, self.tokens * width)
        self.kinds = nn.Parameter(torch.randn(self.tokens, width) * 0.02)
        self.from_positions = nn.Linear(3 * width, self.tokens * width)
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, config.attention_heads, downsample_rate=2)
        self.norm2 = nn.LayerNorm(width)
        self.whereabouts = nn.Sequential(nn.Linear(5, width // 4), nn.ReLU(), nn.Linear(width // 4, config.dense_width))

    def forward(
        self, picked: Proposals, positions: Tensor, image_embedding: Tensor, image_pe: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Make the prompts of pass 1.

        Args:
            picked: P proposals per image.
            positions: (B, P, 3, D) SAM position encoding of top left, bottom right and centre of the boxes.
            image_embedding: (B, D, G, G).
            image_pe: (1, D, G, G).

        Returns:
            Sparse prompts (B, P, T, D) and dense prompts (B, P, X, G, G).
        """
        b, p, width = picked.features.shape
        content = self.from_features(picked.features) + self.from_positions(positions.flatten(2))
        tokens = content.reshape(b, p * self.tokens, width) + self.kinds.repeat(p, 1)
        keys = image_embedding.flatten(2).transpose(1, 2)  # (B, G*G, D)
        looked = self.attention(q=self.norm1(tokens), k=keys + image_pe.flatten(2).transpose(1, 2), v=keys)
        sparse = self.norm2(tokens + looked).reshape(b, p, self.tokens, width)
        # told by tokens alone, the decoder first draws all that stands out, and separates instances much later
        near = relative_places(picked.boxes_xyxy.detach(), self.grid, self.input_size)  # (B, P, G*G, 5)
        dense = self.whereabouts(near).transpose(2, 3).reshape(b, p, -1, self.grid, self.grid)
        return sparse, dense


def relative_places(boxes_xyxy: Tensor, grid: int, input_size: int) -> Tensor:
    """Where the cells of the image embedding lie, seen from each box (as CondInst's mask head: Tian et al., ECCV 2020).

    Args:
        boxes_xyxy: (B, P, 4) network pixels.
        grid: G.
        input_size: S.

    Returns:
        (B, P, G*G, 5): x and y from the centre in half sizes of the box, within -3..3; depth inside the box, 1 at its
        centre, 0 on its edge, -2 far outside; half width and half height, 1 for the whole input.
    """
    cells = place_centres(grid, input_size // grid, boxes_xyxy.device)  # (G*G, 2)
    top_left, bottom_right = boxes_xyxy.clamp(0, input_size)[:, :, None].chunk(2, dim=3)  # (B, P, 1, 2)
    half = ((bottom_right - top_left) / 2).clamp(min=4.0)
    offset = ((cells - (top_left + bottom_right) / 2) / half).clamp(-3, 3)
    inside = 1 - offset.abs().amax(dim=3, keepdim=True)
    return torch.cat([offset, inside, (half * 2 / input_size).expand_as(offset)], dim=3)


def best_places(class_logits: Tensor, k: int) -> Tensor:
    """Indices (B, k) of the places of (B, N, C) logits that are surest of any class, best first."""
    return class_logits.amax(dim=2).topk(k, dim=1).indices


def gather_places(values: Tensor, index: Tensor) -> Tensor:
    """(B, N, X) values at (B, P) places: (B, P, X)."""
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[2]))


def place_centres(side: int, stride: int, device: torch.device) -> Tensor:
    """(side * side, 2) float32 x and y of the cells' centres in network pixels, row by row."""
    steps = (torch.arange(side, device=device, dtype=torch.float32) + 0.5) * stride
    return torch.stack([steps.repeat(side), steps.repeat_interleave(side)], dim=1)


def _rows(grid: Tensor) -> Tensor:
    """(B, X, h, w) to (B, h*w, X)."""
    return grid.flatten(2).transpose(1, 2)
