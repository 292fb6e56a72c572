"""Feature pyramid over the fused taps: what proposals are read from and what the decoder draws with."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from spda_sam_core.config import MASK_FEATURES, ModelConfig
from spda_sam_core.network.layers import TransformerBlock, conv_norm_act, enlarge, separable_conv


class Pyramid(NamedTuple):
    """Features of width D at strides 8, 16 and 32, and those of width F that masks are drawn with at stride 4.

    `p16` is the image embedding that the decoder reads.
    """

    p4: Tensor
    p8: Tensor
    p16: Tensor
    p32: Tensor


class FeaturePyramid(nn.Module):
    """Top-down pyramid (Lin et al., CVPR 2017); attention where the grid is smallest gives it the whole image."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        narrow, middle, wide, *widest = config.encoder_widths
        width = config.width
        # SAM's encoders end at stride 16
        self.lateral32 = nn.Conv2d(widest[0], width, 1) if widest else conv_norm_act(wide, width, stride=2)
        self.lateral16 = nn.Conv2d(wide, width, 1)
        self.lateral8 = nn.Conv2d(middle, width, 1)
        self.lateral4 = nn.Conv2d(narrow, MASK_FEATURES, 1)
        self.attention = TransformerBlock(width, config.attention_heads)
        self.smooth16 = conv_norm_act(width, width)
        self.smooth8 = separable_conv(width, width)
        self.narrow8 = nn.Conv2d(width, MASK_FEATURES, 1)
        self.smooth4 = conv_norm_act(MASK_FEATURES, MASK_FEATURES)

    def forward(self, fused: tuple[Tensor, ...]) -> Pyramid:
        """Fused taps at strides 4, 8, 16 and, if there is one, 32 to the pyramid."""
        f4, f8, f16 = fused[:3]
        p32 = self.attention(self.lateral32(fused[-1]))  # (B, D, S/32, S/32)
        p16 = self.smooth16(self.lateral16(f16) + F.interpolate(p32, scale_factor=2.0))
        p8 = self.smooth8(self.lateral8(f8) + F.interpolate(p16, scale_factor=2.0))
        p4 = self.smooth4(self.lateral4(f4) + enlarge(self.narrow8(p8), f4.shape[-1]))
        return Pyramid(p4, p8, p16, p32)
