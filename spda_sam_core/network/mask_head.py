"""A mask head for each instance, at stride 4: the embedding of a small encoder has lost the edges that SAM's ViT keeps.

Two terms beside SAM's own product, both from kernels that the mask token says: a linear one over all mask features (as
YOLACT's prototypes, Bolya et al., ICCV 2019), and two small convolutions over few of them and the place relative to the
instance's box (CondInst, Tian et al., ECCV 2020).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spda_sam_core.config import MASK_FEATURES, ModelConfig
from spda_sam_core.network.layers import zero_linear

_INNER = 8
_PLACE = 2
_SIZES = (_INNER * (_INNER + _PLACE), _INNER, _INNER * _INNER, _INNER)
"""Weights and biases of the first and of the second convolution; the third, to one channel, begins at zero."""


class MaskHead(nn.Module):
    """Mask tokens and mask features to mask logits, 0 at the start."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.input_size = config.input_size
        self.squeeze = nn.Conv2d(MASK_FEATURES, _INNER, 1)
        self.kernels = nn.Linear(config.width, sum(_SIZES))
        self.last = zero_linear(config.width, _INNER + 1)
        self.linear = zero_linear(config.width, MASK_FEATURES)

    def forward(self, mask_tokens: Tensor, mask_features: Tensor, boxes_xyxy: Tensor) -> Tensor:
        """Draw.

        Args:
            mask_tokens: (B, P, D).
            mask_features: (B, F, h, h).
            boxes_xyxy: (B, P, 4) network pixels.

        Returns:
            (B, P, h, h) logits.
        """
        b, p, _ = mask_tokens.shape
        h = mask_features.shape[-1]
        weight1, bias1, weight2, bias2 = self.kernels(mask_tokens).split(_SIZES, dim=2)
        weight1 = weight1.reshape(b, p * _INNER, _INNER + _PLACE)
        few = self.squeeze(mask_features).flatten(2)  # (B, 8, h*h)
        x = (weight1[..., :_INNER] @ few).reshape(b, p, _INNER, h, h)
        columns, rows = self._relative_places(boxes_xyxy, h)  # (B, P, h) each
        slopes = weight1[..., _INNER:].reshape(b, p, _INNER, _PLACE)
        # a linear function of the place is a sum over its column and its row
        x = x + (slopes[..., 0, None] * columns[:, :, None])[..., None, :]
        x = x + (slopes[..., 1, None] * rows[:, :, None] + bias1[..., None])[..., None]
        x = F.relu(x).reshape(b, p, _INNER, h * h)
        x = F.relu(weight2.reshape(b, p, _INNER, _INNER) @ x + bias2[..., None])
        last = self.last(mask_tokens)  # (B, P, 9)
        drawn = (last[:, :, None, :_INNER] @ x)[:, :, 0] + last[..., _INNER:]  # (B, P, h*h)
        drawn = drawn + self.linear(mask_tokens) @ mask_features.flatten(2)
        return drawn.reshape(b, p, h, h)

    def _relative_places(self, boxes_xyxy: Tensor, h: int) -> tuple[Tensor, Tensor]:
        """X of the columns and y of the rows of cells, (B, P, h) each, in half sizes of the box, within -3..3."""
        centres = (torch.arange(h, device=boxes_xyxy.device, dtype=torch.float32) + 0.5) * (self.input_size / h)
        low, high = boxes_xyxy.float().clamp(0, self.input_size).chunk(2, dim=2)  # (B, P, 2)
        half = ((high - low) / 2).clamp(min=4.0)
        places = ((centres - ((low + high) / 2)[..., None]) / half[..., None]).clamp(-3, 3)  # (B, P, 2, h)
        return places[:, :, 0], places[:, :, 1]
