"""RGB path on a pretrained MobileSAM: its image encoder, with taps, at any input size that 32 divides.

MobileSAM (Zhang et al., arXiv 2306.14289) distilled SAM's image encoder into TinyViT-5M (Wu et al., ECCV 2022), whose
last stage keeps stride 16. Its first two stages have strides 4 and 8 of their own. The blocks are timm's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn

from spda_sam_core.config import SAM_WIDTH

_CHANNELS = (64, 128, 160, 320)
_UNUSED = {"norm_head.weight", "norm_head.bias", "head.weight", "head.bias"}
"""ImageNet's classifier: the official file holds it, and MobileSAM does not use it."""


class MobileSamEncoder(nn.Module):
    """Image to features at strides 4, 8 and 16, the last being SAM's image embedding.

    Windows that reach over the border are padded with zeros, so that weights for 1024 pixels fit every size.
    """

    def __init__(self) -> None:
        super().__init__()
        # here and not above: it imports all of timm's models, 0.3 s that other encoders need not wait for
        from timm.models.tiny_vit import Attention, TinyVit

        tiny_vit = TinyVit(
            num_classes=0,
            embed_dims=_CHANNELS,
            depths=(2, 2, 6, 2),
            num_heads=(2, 4, 5, 10),
            window_sizes=(7, 7, 14, 7),
            drop_path_rate=0.0,
        )
        self.patch_embed, self.stages = tiny_vit.patch_embed, tiny_vit.stages
        last_downsampling = self.stages.get_submodule("3.downsample.conv2.conv")
        assert isinstance(last_downsampling, nn.Conv2d)
        last_downsampling.stride = (1, 1)  # TinyViT's own goes on to stride 32
        self.neck = nn.Sequential(
            nn.Conv2d(_CHANNELS[-1], SAM_WIDTH, 1, bias=False),
            LayerNorm2d(SAM_WIDTH),
            nn.Conv2d(SAM_WIDTH, SAM_WIDTH, 3, padding=1, bias=False),
            LayerNorm2d(SAM_WIDTH),
        )
        for module in self.stages.modules():
            if isinstance(module, Attention):
                module.register_forward_hook(_forget_position_biases, always_call=True)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode normalised images.

        Args:
            image: (B, 3, S, S) float32, ImageNet mean and deviation taken out.

        Returns:
            (B, 64, S/4, S/4), (B, 128, S/8, S/8) and SAM's image embedding (B, 256, G, G).
        """
        x4 = self.stages[0](self.patch_embed(image))
        x8 = self.stages[1](x4)
        x16 = self.stages[3](self.stages[2](x8))  # (B, 320, G, G)
        return x4, x8, self.neck(x16)


def _forget_position_biases(attention: Any, _inputs: object, _output: object) -> None:
    """Empty timm's cache: it outlives the weights it was made from when others are loaded in eval mode."""
    attention.attention_bias_cache = {}


def mobile_sam_encoder_state(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the entries of an official `mobile_sam.pt` to those of `MobileSamEncoder`.

    Args:
        official: its `image_encoder.` entries, without that prefix.

    Returns:
        The same tensors without the unused classifier. What the file lacks is lacking here too.

    Raises:
        ValueError: an entry that MobileSAM's encoder does not have.
    """
    with torch.device("meta"):  # names only
        own_names = {_official_name(own): own for own in MobileSamEncoder().state_dict()}
    state = {}
    for name, tensor in official.items():
        if name in own_names:
            state[own_names[name]] = tensor
        elif name not in _UNUSED:
            raise ValueError(f"unknown entry '{name}' in MobileSAM's image encoder")
    return state


def _official_name(own: str) -> str:
    """What MobileSAM calls an entry of ours; there a layer ends with the downsampling that in timm begins the next."""
    name = re.sub(r"^stages\.(\d+)\.downsample", lambda match: f"layers.{int(match[1]) - 1}.downsample", own)
    name = re.sub(r"^stages\.", "layers.", name)
    name = re.sub(r"^patch_embed\.conv([12])", lambda match: f"patch_embed.seq.{2 * int(match[1]) - 2}", name)
    return re.sub(r"\.conv\.weight$", ".c.weight", name)
