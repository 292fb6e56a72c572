"""RGB path of the dual-path encoder: trained from scratch, or a pretrained base that stays frozen but for LoRA."""

from __future__ import annotations

from torch import nn

from spda_sam_core.config import ModelConfig
from spda_sam_core.network.encoders.hierarchical import HierarchicalEncoder
from spda_sam_core.network.encoders.lora import add_lora
from spda_sam_core.network.encoders.mobile_sam import MobileSamEncoder
from spda_sam_core.network.encoders.sam_vit import SamViTEncoder


def build_encoder(config: ModelConfig) -> nn.Module:
    """The encoder of a configuration, untrained: (B, 3, S, S) to features at strides 4, 8 and 16.

    The channels are those of `encoder_widths`; with a pretrained base stride 16 is SAM's image embedding.
    """
    if config.encoder == "hierarchical":
        return HierarchicalEncoder(config)
    if config.encoder == "mobile_sam":
        mobile = MobileSamEncoder()
        add_lora(mobile, config.lora_rank)
        return mobile
    vit = SamViTEncoder(config)
    add_lora(vit.base, config.lora_rank)
    return vit
