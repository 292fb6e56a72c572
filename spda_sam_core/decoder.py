"""Self-prompted decoder: SAM's mask decoder for P prompts in each of B images at once.

`segment_anything.modeling.MaskDecoder` takes one image per call and repeats its embedding for every prompt; this one
runs the same weights on (B, P). Added: a skip from stride 4 and 8 into the mask product, zero at the start, because
the embedding of a small encoder has lost the edges that SAM's ViT keeps in its channels.
"""

from __future__ import annotations

import torch
from segment_anything.modeling import MaskDecoder, TwoWayTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from spda_sam_core.config import ModelConfig
from spda_sam_core.fusion import zero_conv


class SelfPromptedDecoder(nn.Module):
    """Prompts and image embedding to masks and their predicted IoU."""

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
            num_multimask_outputs=0,  # a self-prompt is never ambiguous: it names one instance
            iou_head_hidden_dim=config.width,
        )
        self.skip4 = zero_conv(config.encoder_widths[0], config.width // 8)
        self.skip8 = zero_conv(config.width, config.width // 8)

    def edges(self, fused4: Tensor, pyramid8: Tensor) -> Tensor:
        """(B, W4, 4G, 4G) and (B, D, 2G, 2G) to the skip (B, D/8, 4G, 4G); the same for both passes."""
        wide = F.interpolate(self.skip8(pyramid8), scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.skip4(fused4) + wide

    def forward(
        self, image_embedding: Tensor, image_pe: Tensor, sparse: Tensor, dense: Tensor, edges: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Decode one mask for each prompt.

        Args:
            image_embedding: (B, D, G, G).
            image_pe: (1, D, G, G).
            sparse: (B, P, T, D) prompt tokens.
            dense: (B, P, D, G, G), or broadcastable to it.
            edges: (B, D/8, 4G, 4G) of `edges`.

        Returns:
            mask_logits (B, P, 4G, 4G) and predicted_iou (B, P).
        """
        decoder = self.mask_decoder
        b, p, t, d = sparse.shape
        g = image_embedding.shape[-1]
        outputs = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])  # (2, D)
        tokens = torch.cat([outputs.expand(b * p, -1, -1), sparse.reshape(b * p, t, d)], dim=1)  # (B*P, 2+T, D)
        keys = (image_embedding[:, None] + dense).expand(b, p, d, g, g).reshape(b * p, d, g, g)
        tokens, keys = decoder.transformer(keys, image_pe, tokens)
        upscaled = decoder.output_upscaling(keys.transpose(1, 2).reshape(b * p, d, g, g))  # (B*P, D/8, 4G, 4G)
        kernels = decoder.output_hypernetworks_mlps[0](tokens[:, 1])  # (B*P, D/8)
        drawn = (kernels[:, None] @ upscaled.flatten(2)).reshape(b, p, -1)
        skipped = kernels.reshape(b, p, -1) @ edges.flatten(2)  # (B, P, 16G*G)
        predicted_iou = decoder.iou_prediction_head(tokens[:, 0]).reshape(b, p)
        return (drawn + skipped).reshape(b, p, 4 * g, 4 * g), predicted_iou
