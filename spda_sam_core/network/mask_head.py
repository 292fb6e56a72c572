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
_LEAST_HALF_PX = 4.0


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
        few = self.squeeze(mask_features).flatten(2)  # (B, 8, h*h)
        with torch.autocast(few.device.type, enabled=False):  # in the pixels of a small box slopes are steep
            kernels1 = self._over_the_input(weight1.float().reshape(b, p, _INNER, -1), bias1.float(), boxes_xyxy)
            planes = torch.cat([few.float(), _places(h, few.device).expand(b, -1, -1)], dim=1)  # (B, 8 + 3, h*h)
            x = F.relu(kernels1.reshape(b, p * _INNER, -1) @ planes)  # (B, P*8, h*h)
        x = F.relu(weight2.reshape(b, p, _INNER, _INNER) @ x.reshape(b, p, _INNER, h * h) + bias2[..., None])
        last = self.last(mask_tokens)  # (B, P, 9)
        drawn = (last[:, :, None, :_INNER] @ x)[:, :, 0] + last[..., _INNER:]  # (B, P, h*h)
        drawn = drawn + self.linear(mask_tokens) @ mask_features.flatten(2)
        return drawn.reshape(b, p, h, h)

    def _over_the_input(self, weight: Tensor, bias: Tensor, boxes_xyxy: Tensor) -> Tensor:
        """First convolution, of places in half sizes of the box from its middle, as one of places in the whole input.

        So one product serves all instances, and no plane of places is made for each.

        Args:
            weight: (B, P, 8, 8 + 2).
            bias: (B, P, 8).
            boxes_xyxy: (B, P, 4) network pixels.

        Returns:
            (B, P, 8, 8 + 3): weights of the features, of x and y as `_places` has them, and the bias.
        """
        features, slopes = weight[..., :_INNER], weight[..., _INNER:]
        low, high = (boxes_xyxy.float().clamp(0, self.input_size) / self.input_size).chunk(2, dim=2)  # (B, P, 2)
        half = ((high - low) / 2).clamp(min=_LEAST_HALF_PX / self.input_size)[:, :, None]
        middle = ((low + high) / 2)[:, :, None]  # (B, P, 1, 2)
        slopes = slopes / half
        offset = bias - (slopes * middle).sum(dim=3)
        return torch.cat([features, slopes, offset[..., None]], dim=3)


def _places(h: int, device: torch.device) -> Tensor:
    """(3, h*h): x and y of the cells, 0 to 1 over the input, and ones."""
    steps = (torch.arange(h, device=device, dtype=torch.float32) + 0.5) / h
    return torch.stack([steps.repeat(h), steps.repeat_interleave(h), torch.ones(h * h, device=device)])
