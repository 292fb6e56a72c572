"""Self-prompted decoder: the prompts of all P instances in one pass of SAM's mask decoder over one image embedding.

`segment_anything.modeling.MaskDecoder` takes one image per call and repeats embedding, attention and upscaling for
every prompt. Here the image side runs once per image, so that its cost grows far less with P; the weights are SAM's
own, and an untrained decoder with one prompt draws exactly what SAM's does. What tells the instances apart, since no
dense prompt can be added to an embedding that all share (ours, not the paper's):

- tokens attend to each other within an instance only, as in SAM;
- a bias on attention between an instance's tokens and the places of the image, read from its dense prompt (a soft
  form of Mask2Former's masked attention, Cheng et al., CVPR 2022);
- a mask head of its own for each instance, see `mask_head`;
- in pass 2 a share of the mask of pass 1, how much says the mask token.

The last three begin at zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from segment_anything.modeling import MaskDecoder, TwoWayTransformer
from segment_anything.modeling.transformer import Attention
from torch import Tensor, nn
from torch.nn import functional as F

from spda_sam_core.config import MASK_CHANNELS, ModelConfig
from spda_sam_core.network.layers import zero_linear
from spda_sam_core.network.mask_head import MaskHead


class DecodedMasks(NamedTuple):
    """One pass of the decoder.

    Attributes:
        mask_logits: (B, P, 4G, 4G), positive inside.
        predicted_iou: (B, P).
    """

    mask_logits: Tensor
    predicted_iou: Tensor


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
            # a self-prompt is never ambiguous, it names one instance: of SAM's four masks only the first is drawn
            num_multimask_outputs=3 if config.pretrained else 0,
            iou_head_hidden_dim=config.width,
        )
        self.mask_decoder.output_hypernetworks_mlps[1:].requires_grad_(False)
        layers = len(self.mask_decoder.transformer.layers)
        # token to image in every layer and once at the end, image to token in every layer
        self.biases = zero_linear(MASK_CHANNELS, (2 * layers + 1) * config.attention_heads)
        self.mask_head = MaskHead(config)
        self.keep = zero_linear(config.width, 1) if config.use_spatial_prompts else None
        self.heads = config.attention_heads

    def forward(
        self,
        image_embedding: Tensor,
        image_pe: Tensor,
        sparse: Tensor,
        dense: Tensor,
        mask_features: Tensor,
        boxes_xyxy: Tensor,
        drawn_before: Tensor | None = None,
    ) -> DecodedMasks:
        """Decode one mask for each prompt.

        Args:
            image_embedding: (B, D, G, G).
            image_pe: (1, D, G, G).
            sparse: (B, P, T, D) prompt tokens.
            dense: (B, P, X, G, G), X being `MASK_CHANNELS`.
            mask_features: (B, F, 4G, 4G) of the pyramid.
            boxes_xyxy: (B, P, 4) network pixels, of the proposals.
            drawn_before: (B, P, 4G, 4G) mask logits of pass 1, of which a share is kept.
        """
        decoder = self.mask_decoder
        b, p, _, d = sparse.shape
        g = image_embedding.shape[-1]
        tokens, keys = self._attend_both_ways(image_embedding, image_pe, sparse, dense)  # (B*P, 1+M+T, D), (B, G*G, D)
        upscaled = decoder.output_upscaling(keys.transpose(1, 2).reshape(b, d, g, g))  # (B, D/8, 4G, 4G)
        mask_tokens = tokens[:, 1].reshape(b, p, d)
        kernels = decoder.output_hypernetworks_mlps[0](mask_tokens)  # (B, P, D/8)
        drawn = (kernels @ upscaled.flatten(2)).reshape(b, p, 4 * g, 4 * g)
        drawn = drawn + self.mask_head(mask_tokens, mask_features, boxes_xyxy)
        if drawn_before is not None:
            assert self.keep is not None
            drawn = drawn + self.keep(mask_tokens)[..., None] * drawn_before
        predicted_iou = decoder.iou_prediction_head(tokens[:, 0])[:, 0].reshape(b, p)
        return DecodedMasks(drawn, predicted_iou)

    def _attend_both_ways(
        self, image_embedding: Tensor, image_pe: Tensor, sparse: Tensor, dense: Tensor
    ) -> tuple[Tensor, Tensor]:
        """SAM's `TwoWayTransformer.forward` with one image for many prompts: tokens (B*P, n, D), image (B, G*G, D)."""
        transformer = self.mask_decoder.transformer
        b, p = sparse.shape[:2]
        prompts = self._add_output_tokens(sparse)  # (B*P, n, D)
        n = prompts.shape[1]
        biases = self._attention_biases(dense)

        def of_image(tokens: Tensor) -> Tensor:  # (B*P, n, D) to (B, P*n, D)
            return tokens.reshape(b, p * n, -1)

        def of_prompt(tokens: Tensor) -> Tensor:  # (B, P*n, D) to (B*P, n, D)
            return tokens.reshape(b * p, n, -1)

        def by_kind(tokens: Tensor) -> Tensor:  # (B, P*n, D) to (B, n*P, D)
            return tokens.reshape(b, p, n, -1).transpose(1, 2).reshape(b, n * p, -1)

        tokens, prompts_of_image = prompts, of_image(prompts)
        keys, key_pe = (x.flatten(2).transpose(1, 2) for x in (image_embedding, image_pe))  # (B, G*G, D), (1, G*G, D)
        for layer in transformer.layers:
            if layer.skip_first_layer_pe:
                tokens = attend(layer.self_attn, tokens, tokens, tokens)
            else:
                placed = tokens + prompts
                tokens = tokens + attend(layer.self_attn, placed, placed, tokens)
            queries = of_image(layer.norm1(tokens))
            queries = queries + attend(
                layer.cross_attn_token_to_image,
                queries + prompts_of_image,
                keys + key_pe,
                keys,
                next(biases)[..., None, :],
            )
            queries = layer.norm2(queries)
            queries = layer.norm3(queries + layer.mlp(queries))
            # tokens of a kind side by side, not of an instance: the bias of many instances is added at once
            placed, values = (by_kind(x) for x in (queries + prompts_of_image, queries))
            bias = next(biases).transpose(2, 3)[:, :, :, None]
            keys = keys + attend(layer.cross_attn_image_to_token, keys + key_pe, placed, values, bias)
            keys = layer.norm4(keys)
            tokens = of_prompt(queries)
        queries = of_image(tokens)
        queries = queries + attend(
            transformer.final_attn_token_to_image,
            queries + prompts_of_image,
            keys + key_pe,
            keys,
            next(biases)[..., None, :],
        )
        return of_prompt(transformer.norm_final_attn(queries)), keys

    def _add_output_tokens(self, sparse: Tensor) -> Tensor:
        """(B, P, T, D) prompts to (B*P, 1 + M + T, D): SAM's IoU token and M mask tokens before each prompt's own."""
        outputs = torch.cat([self.mask_decoder.iou_token.weight, self.mask_decoder.mask_tokens.weight])  # (1 + M, D)
        prompts = sparse.flatten(0, 1)
        return torch.cat([outputs.expand(len(prompts), -1, -1), prompts], dim=1)

    def _attention_biases(self, dense: Tensor) -> Iterator[Tensor]:
        """For each cross-attention in turn (B, heads, P, G*G): all tokens of an instance share its bias."""
        # as `self.biases` on the channels of the dense prompts, which lie first
        bias = self.biases.bias[:, None]
        all_biases = self.biases.weight @ dense.flatten(3) + bias  # (B, P, layers * heads, G*G)
        yield from (each.transpose(1, 2) for each in torch.split(all_biases, self.heads, dim=2))


def attend(attention: Attention, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """SAM's attention layer with a bias on its logits.

    Args:
        attention: SAM's weights.
        q: (B, queries, D).
        k: (B, keys, D).
        v: (B, keys, D).
        bias: (B, heads, P, 1, keys), where each P-th part of the queries shares it, or (B, heads, queries, 1, P), where
            every P-th key does. It is not made as large as the logits, which would cost as much as adding it.
    """
    q, k, v = attention.q_proj(q), attention.k_proj(k), attention.v_proj(v)
    q, k, v = (attention._separate_heads(x, attention.num_heads) for x in (q, k, v))  # (B, heads, tokens, D / heads)
    if bias is None:
        mixed = F.scaled_dot_product_attention(q, k, v)
    else:
        logits = q @ k.transpose(2, 3) / math.sqrt(q.shape[3])  # (B, heads, queries, keys)
        of_keys = bias.shape[2] == logits.shape[2]
        groups = (logits.shape[2], -1, bias.shape[4]) if of_keys else (bias.shape[2], -1, logits.shape[3])
        logits = (logits.reshape(*logits.shape[:2], *groups) + bias).reshape(logits.shape)
        mixed = torch.softmax(logits, dim=3).to(v.dtype) @ v
    out: Tensor = attention.out_proj(attention._recombine_heads(mixed))
    return out
