"""Which RGB path a configuration has: one that is trained, or a pretrained base that stays frozen but for LoRA."""

from __future__ import annotations

from torch import nn

from spda_sam_core.config import ModelConfig
from spda_sam_core.network.encoders.efficientnet_lite import EfficientNetLiteEncoder
from spda_sam_core.network.encoders.lora import add_lora
from spda_sam_core.network.encoders.mobile_sam import MobileSamEncoder
from spda_sam_core.network.encoders.sam_vit import SamViTEncoder


def build_encoder(config: ModelConfig) -> nn.Module:
    """The encoder of a configuration, untrained: (B, 3, S, S) to features at strides 4, 8, 16 and 32.

    The channels are those of `encoder_widths`; with a pretrained base stride 16 is SAM's image embedding.
    """
    if not config.pretrained:
        return EfficientNetLiteEncoder(config.encoder)
    encoder = MobileSamEncoder() if config.encoder == "mobile_sam" else SamViTEncoder(config)
    add_lora(encoder.base if isinstance(encoder, SamViTEncoder) else encoder, config.lora_rank)
    return encoder
