"""RGB path on a pretrained SAM: segment_anything's ViT, with taps, at any input size that 32 divides.

The neck's output is SAM's image embedding, bit for bit at 1024. A plain ViT has no strides 4 and 8: features of two
earlier depths, enlarged, stand in for them (after ViTDet, Li et al., ECCV 2022). Which depths is our reading.
"""

from __future__ import annotations

from functools import partial

import torch
from segment_anything.modeling import ImageEncoderViT
from torch import Tensor, nn
from torch.nn import functional as F

from spda_sam_core.config import SAM_WIDTH, ModelConfig

PRETRAINED_SIZE = 1024

_VIT_SIZES: dict[str, tuple[int, int, int, tuple[int, ...]]] = {
    # channels, blocks, heads, blocks with global attention: segment_anything/build_sam.py
    "sam_vit_b": (768, 12, 12, (2, 5, 8, 11)),
    "sam_vit_l": (1024, 24, 16, (5, 11, 17, 23)),
    "sam_vit_h": (1280, 32, 16, (7, 15, 23, 31)),
}


class SamViTEncoder(nn.Module):
    """Image to features at strides 4, 8 and 16, the last being SAM's image embedding.

    Attributes:
        base: `ImageEncoderViT` for 1024 pixels, whatever the input size, so that official weights fit.
        taps: blocks whose output stands in for strides 4 and 8.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        channels, blocks, heads, with_global_attention = _VIT_SIZES[config.encoder]
        self.base = ImageEncoderViT(
            img_size=PRETRAINED_SIZE,
            embed_dim=channels,
            depth=blocks,
            num_heads=heads,
            mlp_ratio=4,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            out_chans=SAM_WIDTH,
            use_rel_pos=True,
            window_size=14,
            global_attn_indexes=with_global_attention,
        )
        self.taps = with_global_attention[:2]
        narrow, middle, _ = config.encoder_widths
        self.to4 = nn.Sequential(
            nn.Conv2d(channels, 2 * narrow, 1),
            nn.ConvTranspose2d(2 * narrow, narrow, 2, 2),
            nn.GELU(),
            nn.ConvTranspose2d(narrow, narrow, 2, 2),
        )
        self.to8 = nn.Sequential(nn.Conv2d(channels, middle, 1), nn.ConvTranspose2d(middle, middle, 2, 2))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode normalised images.

        Args:
            image: (B, 3, S, S) float32, ImageNet mean and deviation taken out.

        Returns:
            (B, W4, S/4, S/4), (B, W8, S/8, S/8), channels as in `encoder_widths`, and SAM's image embedding
            (B, 256, G, G).
        """
        x = self.base.patch_embed(image)  # (B, G, G, C)
        x = x + resize_positions(self.base.pos_embed, x.shape[1])
        tapped = []
        for i, block in enumerate(self.base.blocks):
            x = block(x)  # interpolates the relative positions of global attention itself
            if i in self.taps:
                tapped.append(x.permute(0, 3, 1, 2))
        return self.to4(tapped[0]), self.to8(tapped[1]), self.base.neck(x.permute(0, 3, 1, 2))


def resize_positions(positions: Tensor, grid: int) -> Tensor:
    """Position embeddings (1, n, n, C) for a grid of another size, bicubic; for their own size the same tensor."""
    if positions.shape[1] == grid:
        return positions
    resized = F.interpolate(
        positions.permute(0, 3, 1, 2), size=(grid, grid), mode="bicubic", align_corners=False, antialias=True
    )
    return torch.permute(resized, (0, 2, 3, 1))
