"""RGB path on EfficientNet-Lite (Tan and Le, ICML 2019, without squeeze-and-excitation), which begins with ImageNet.

Batches are too small to learn statistics from, so those of ImageNet stay; constants, they are folded into the
convolutions, which is the same network with a third fewer operations. The blocks are timm's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from spda_sam_core.preprocess import IMAGE_MEAN, IMAGE_STD

FROZEN_STAGES = 2
"""Stem and so many stages keep ImageNet's weights: edges and colours are the same under water."""


class EfficientNetLiteEncoder(nn.Module):
    """Image to features at strides 4, 8, 16 and 32.

    Attributes:
        base: timm's network without head and batch normalisation.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, name: str) -> None:
        super().__init__()
        self.base = folded(timm_base(name))
        self.base.requires_grad_(True)  # folding makes biases that do not learn
        for module in (self.base.conv_stem, *self.base.blocks[:FROZEN_STAGES]):
            module.requires_grad_(False)
        # its own normalisation is (x - 127) / 128 for all channels, ours SAM's
        self.register_buffer("scale", torch.from_numpy(IMAGE_STD / 128)[:, None, None], persistent=False)
        self.register_buffer("shift", torch.from_numpy((IMAGE_MEAN - 127) / 128)[:, None, None], persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Encode normalised images.

        Args:
            image: (B, 3, S, S) float32, ImageNet mean and deviation taken out.

        Returns:
            (B, W, S/4, S/4) and so on at strides 8, 16 and 32, channels as in `encoder_widths`.
        """
        return tuple(self.base(image * self.scale + self.shift))


def timm_base(name: str) -> Any:
    """Timm's network of this name without its head, as timm trained it; evaluation mode."""
    # here and not above: it imports all of timm's models, 0.3 s that other encoders need not wait for
    import timm

    return timm.create_model(f"tf_{name}", pretrained=False, features_only=True, out_indices=(1, 2, 3, 4)).eval()


def folded(base: Any) -> Any:
    """Batch normalisation into the convolution before it; of the former its activation remains. Changes `base`."""
    for module in list(base.modules()):
        children = list(module.named_children())
        for name, convolution in children:
            norm_name = _NORM_OF[type(module).__name__].get(name) if type(module).__name__ in _NORM_OF else None
            if norm_name is not None:
                norm = getattr(module, norm_name)
                setattr(module, name, fuse_conv_bn_eval(convolution, norm))
                setattr(module, norm_name, norm.act)
    return base


_NORM_OF = {
    "EfficientNetFeatures": {"conv_stem": "bn1"},
    "DepthwiseSeparableConv": {"conv_dw": "bn1", "conv_pw": "bn2"},
    "InvertedResidual": {"conv_pw": "bn1", "conv_dw": "bn2", "conv_pwl": "bn3"},
}
"""Which batch normalisation follows which convolution, in timm's classes."""
