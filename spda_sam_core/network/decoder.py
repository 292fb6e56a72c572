"""Self-prompted decoder: SAM's mask decoder for P prompts in each of B images at once, each prompt by itself.

`segment_anything.modeling.MaskDecoder` takes one image per call and repeats its embedding for every prompt; these
decoders run the same weights on (B, P). Added: a skip from stride 4 and 8 into the mask product, zero at the start,
because the embedding of a small encoder has lost the edges that SAM's ViT keeps in its channels.

`JointDecoder`, in its own file, decodes all prompts of an image in one pass over one embedding.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from segment_anything.modeling import MaskDecoder, TwoWayTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from spda_sam_core.config import ModelConfig
from spda_sam_core.network.fusion import zero_conv


class DecodedMasks(NamedTuple):
    """One pass of a decoder.

    Attributes:
        mask_logits: (B, P, 4G, 4G), positive inside.
        predicted_iou: (B, P).
    """

    mask_logits: Tensor
    predicted_iou: Tensor


class SelfPromptedDecoder(nn.Module):
    """Prompts and image embedding to masks and their predicted IoU: what both ways of decoding share.

    Subclasses give `forward(image_embedding, image_pe, sparse, dense, edges)`, which returns `DecodedMasks`.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.mask_decoder = MaskDecoder(
            transformer_dim=config.width,
            transformer=TwoWayTransformer(
                depth=2,
                embedding_dim=config.width,
                mlp_dim=config.mlp_width,
                num_heads=config.attention_heads,
            ),
            # a self-prompt is never ambiguous, it names one instance: of SAM's four masks only the first is drawn
            num_multimask_outputs=3 if config.pretrained else 0,
            iou_head_hidden_dim=config.width,
        )
        self.mask_decoder.output_hypernetworks_mlps[1:].requires_grad_(False)
        self.skip4 = zero_conv(config.encoder_widths[0], config.width // 8)
        self.skip8 = zero_conv(config.width, config.width // 8)

    def edges(self, fused4: Tensor, pyramid8: Tensor) -> Tensor:
        """(B, W4, 4G, 4G) and (B, D, 2G, 2G) to the skip (B, D/8, 4G, 4G); the same for both passes."""
        wide = F.interpolate(self.skip8(pyramid8), scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.skip4(fused4) + wide

    def add_output_tokens(self, sparse: Tensor) -> Tensor:
        """(B, P, T, D) prompts to (B*P, 1 + M + T, D): SAM's IoU token and M mask tokens before each prompt's own."""
        outputs = torch.cat([self.mask_decoder.iou_token.weight, self.mask_decoder.mask_tokens.weight])  # (1 + M, D)
        prompts = sparse.flatten(0, 1)
        return torch.cat([outputs.expand(len(prompts), -1, -1), prompts], dim=1)


class PerPromptDecoder(SelfPromptedDecoder):
    """As SAM: the embedding is repeated for every prompt, each with its own dense prompt. Cost grows with P."""

    def forward(
        self, image_embedding: Tensor, image_pe: Tensor, sparse: Tensor, dense: Tensor, edges: Tensor
    ) -> DecodedMasks:
        """Decode one mask for each prompt.

        Args:
            image_embedding: (B, D, G, G).
            image_pe: (1, D, G, G).
            sparse: (B, P, T, D) prompt tokens.
            dense: (B, P, D, G, G), added to the embedding.
            edges: (B, D/8, 4G, 4G) of `edges`.
        """
        decoder = self.mask_decoder
        b, p, _, d = sparse.shape
        g = image_embedding.shape[-1]
        keys = (image_embedding[:, None] + dense).reshape(b * p, d, g, g)
        tokens, keys = decoder.transformer(keys, image_pe, self.add_output_tokens(sparse))
        upscaled = decoder.output_upscaling(keys.transpose(1, 2).reshape(b * p, d, g, g))  # (B*P, D/8, 4G, 4G)
        kernels = decoder.output_hypernetworks_mlps[0](tokens[:, 1])  # (B*P, D/8)
        drawn = (kernels[:, None] @ upscaled.flatten(2)).reshape(b, p, -1)
        skipped = kernels.reshape(b, p, -1) @ edges.flatten(2)  # (B, P, 16G*G)
        predicted_iou = decoder.iou_prediction_head(tokens[:, 0])[:, 0].reshape(b, p)
        return DecodedMasks((drawn + skipped).reshape(b, p, 4 * g, 4 * g), predicted_iou)
