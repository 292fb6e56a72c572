"""Proposals: every place of the pyramid (an anchor point, in the field's words) says what it shows and where.

Training lets several places answer for each instance (TOOD's task-aligned assignment), and one of them alone in a
second class head (YOLOv10's dual assignment, Wang et al., NeurIPS 2024). Neighbours still propose the same thing:
`suppression` takes the doubles out before they cost anything.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spda_sam_core.config import ModelConfig
from spda_sam_core.network.pyramid import Pyramid

STRIDES = (8, 16, 32)


class Proposals(NamedTuple):
    """What every place says; N = (S/8)^2 + (S/16)^2 + (S/32)^2, row by row, stride 8 first.

    Attributes:
        features: (B, N, D).
        class_logits: (B, N, C), before the sigmoid.
        boxes_xyxy: (B, N, 4) network pixels, not clipped.
        quality_logits: (B, N, 1), before the sigmoid: IoU of the box with the instance, if there is one.
    """

    features: Tensor
    class_logits: Tensor
    boxes_xyxy: Tensor
    quality_logits: Tensor

    def pick(self, index: Tensor) -> Proposals:
        """Keep the places of `index` (B, P), in its order."""
        return Proposals(*(gather_places(tensor, index) for tensor in self))

    def scores(self) -> Tensor:
        """(B, N) in [0, 1]: geometric mean of the best class's probability and the predicted quality of the box."""
        best = self.class_logits.float().amax(dim=2).sigmoid()
        return (best * self.quality_logits.float()[..., 0].sigmoid()).sqrt()


class SharedConv(nn.Module):
    """A separable convolution for all strides, with normalisations for each stride (as RTMDet, Lyu et al., 2022).

    Strides differ in their statistics. With one normalisation for all, training (each stride by its own statistics) and
    running (all by the mean of them) were two networks: 41 instead of 69 AP.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 5, padding=2, groups=width, bias=False)
        self.pointwise = nn.Conv2d(width, width, 1, bias=False)
        self.norms1 = nn.ModuleList(nn.BatchNorm2d(width) for _ in STRIDES)
        self.norms2 = nn.ModuleList(nn.BatchNorm2d(width) for _ in STRIDES)

    def forward(self, x: Tensor, level: int) -> Tensor:
        """(B, D, h, h) of the stride with this index to the same."""
        x = self.norms1[level](self.depthwise(x))
        return F.relu(self.norms2[level](self.pointwise(x)))


class ProposalHead(nn.Module):
    """Class logits, a box and its quality at every place; the same convolutions at every stride."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.width
        self.tower, self.of_classes, self.of_boxes = (SharedConv(width) for _ in range(3))
        self.classes = nn.Conv2d(width, len(config.class_names), 1)
        assert self.classes.bias is not None
        nn.init.constant_(self.classes.bias, -4.6)  # 1 % at the start (Lin et al., "Focal Loss", ICCV 2017)
        self.boxes = nn.Conv2d(width, 5, 1)
        self.box_scale = nn.Parameter(torch.ones(len(STRIDES)))

    def forward(self, pyramid: Pyramid) -> Proposals:
        """Propose at all places."""
        parts = []
        levels = (pyramid.p8, pyramid.p16, pyramid.p32)
        for i, (stride, level) in enumerate(zip(STRIDES, levels, strict=True)):
            features = self.tower(level, i)
            distances, quality = self.boxes(self.of_boxes(features, i)).float().split((4, 1), dim=1)
            distances = F.softplus(distances * self.box_scale[i]) * (2 * stride)
            centres = place_centres(level.shape[-1], stride, level.device)  # (h*w, 2)
            left_top, right_bottom = _rows(distances).chunk(2, dim=2)
            boxes_xyxy = torch.cat([centres - left_top, centres + right_bottom], dim=2)
            parts.append(
                (_rows(features), _rows(self.classes(self.of_classes(features, i))), boxes_xyxy, _rows(quality))
            )
        return Proposals(*(torch.cat(column, dim=1) for column in zip(*parts, strict=True)))


def gather_places(values: Tensor, index: Tensor) -> Tensor:
    """(B, N, ...) values at (B, P) places: (B, P, ...)."""
    rest = values.shape[2:]
    wide = index.reshape(*index.shape, *[1] * len(rest)).expand(-1, -1, *rest)
    return values.gather(1, wide)


def place_centres(side: int, stride: int, device: torch.device) -> Tensor:
    """(side * side, 2) float32 x and y of the cells' centres in network pixels, row by row."""
    steps = (torch.arange(side, device=device, dtype=torch.float32) + 0.5) * stride
    return torch.stack([steps.repeat(side), steps.repeat_interleave(side)], dim=1)


def _rows(grid: Tensor) -> Tensor:
    """(B, X, h, w) to (B, h*w, X)."""
    return grid.flatten(2).transpose(1, 2)
