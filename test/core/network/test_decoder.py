"""The decoder against segment_anything's own, torch's attention, and closed forms."""

from __future__ import annotations

import pytest
import torch
from network_cases import SMALL, awakened
from segment_anything.modeling.transformer import Attention
from torch import Tensor
from torch.nn import functional as F

from spda_sam_core.config import MASK_CHANNELS, MASK_FEATURES
from spda_sam_core.network.decoder import SelfPromptedDecoder, attend

B, P, T, D, X, G = 3, 3, 5, SMALL.width, MASK_CHANNELS, SMALL.grid


@pytest.fixture
def decoder() -> SelfPromptedDecoder:
    torch.manual_seed(0)
    return SelfPromptedDecoder(SMALL).eval()


def inputs(b: int = B, p: int = P) -> list[Tensor]:
    """Embedding, its positions, sparse and dense prompts, mask features and boxes."""
    g = torch.Generator().manual_seed(1)
    corners = 128 * torch.rand(b, p, 2, 2, generator=g).sort(dim=2).values
    shapes = (b, D, G, G), (1, D, G, G), (b, p, T, D), (b, p, X, G, G), (b, MASK_FEATURES, 4 * G, 4 * G)
    return [*(torch.randn(shape, generator=g) for shape in shapes), corners.flatten(2)]


@torch.no_grad()
def test_one_instance_untrained_equals_the_mask_decoder_of_sam(decoder: SelfPromptedDecoder) -> None:
    embedding, pe, sparse, dense, *rest = inputs(p=1)
    masks, iou = decoder(embedding, pe, sparse, dense, *rest)
    for i in range(B):
        expected_masks, expected_iou = decoder.mask_decoder(
            image_embeddings=embedding[i : i + 1],
            image_pe=pe,
            sparse_prompt_embeddings=sparse[i],
            dense_prompt_embeddings=torch.zeros(1, D, G, G),
            multimask_output=False,
        )
        assert expected_masks.std() > 0.01
        torch.testing.assert_close(masks[i], expected_masks[:, 0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(iou[i], expected_iou[:, 0], rtol=1e-4, atol=1e-4)


def attention_over(attention: Attention, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """SAM's attention through torch's own, with (heads, queries, keys) added to its logits."""
    heads = [
        project(x).unflatten(2, (SMALL.attention_heads, -1)).transpose(1, 2)
        for project, x in ((attention.q_proj, q), (attention.k_proj, k), (attention.v_proj, v))
    ]
    mixed: Tensor = attention.out_proj(
        F.scaled_dot_product_attention(*heads, attn_mask=mask).transpose(1, 2).flatten(2)
    )
    return mixed


def decoded_together(
    decoder: SelfPromptedDecoder, embedding: Tensor, pe: Tensor, sparse: Tensor, dense: Tensor
) -> tuple[Tensor, Tensor]:
    """SAM's two-way transformer over all tokens of an image with masks as large as the logits.

    Returns tokens (1, P, n, D) and the image (1, G*G, D).
    """
    sam, transformer = decoder.mask_decoder, decoder.mask_decoder.transformer
    outputs = torch.cat([sam.iou_token.weight, sam.mask_tokens.weight])
    prompts = torch.cat([torch.cat([outputs, sparse[0, j]]) for j in range(P)])[None]
    n = prompts.shape[1] // P
    own = torch.block_diag(*[torch.ones(n, n)] * P)
    within = torch.zeros_like(own).masked_fill(own == 0, -torch.inf)[None]
    said = torch.einsum("ox,pxrc->oprc", decoder.biases.weight, dense[0]) + decoder.biases.bias[:, None, None, None]
    biases = iter(said.flatten(2).repeat_interleave(n, dim=1).split(SMALL.attention_heads))  # (heads, P*n, G*G) each
    keys, places = embedding[0].flatten(1).T[None], pe[0].flatten(1).T[None]
    tokens = prompts
    for i, layer in enumerate(transformer.layers):
        if i == 0:
            tokens = attention_over(layer.self_attn, tokens, tokens, tokens, within)
        else:
            tokens = tokens + attention_over(layer.self_attn, tokens + prompts, tokens + prompts, tokens, within)
        tokens = layer.norm1(tokens)
        to_image = layer.cross_attn_token_to_image
        tokens = layer.norm2(tokens + attention_over(to_image, tokens + prompts, keys + places, keys, next(biases)))
        tokens = layer.norm3(tokens + layer.mlp(tokens))
        to_tokens, bias = layer.cross_attn_image_to_token, next(biases).transpose(1, 2)
        keys = layer.norm4(keys + attention_over(to_tokens, keys + places, tokens + prompts, tokens, bias))
    last = transformer.final_attn_token_to_image
    tokens = tokens + attention_over(last, tokens + prompts, keys + places, keys, next(biases))
    return transformer.norm_final_attn(tokens).unflatten(1, (P, n)), keys


@torch.no_grad()
def test_many_instances_are_decoded_in_one_attention_that_parts_them_and_leads_each_by_its_bias(
    decoder: SelfPromptedDecoder,
) -> None:
    torch.nn.init.normal_(decoder.biases.weight)
    torch.nn.init.normal_(decoder.biases.bias)
    embedding, pe, sparse, dense, *rest = inputs(b=1)
    tokens, image = decoded_together(decoder, embedding, pe, sparse, dense)
    sam = decoder.mask_decoder
    upscaled = sam.output_upscaling(image.transpose(1, 2).unflatten(2, (G, G)))
    expected_masks = torch.einsum("bpc,bchw->bphw", sam.output_hypernetworks_mlps[0](tokens[:, :, 1]), upscaled)
    expected_iou = sam.iou_prediction_head(tokens[:, :, 0])[..., 0]
    masks, iou = decoder(embedding, pe, sparse, dense, *rest)
    assert expected_iou.std() > 1e-3
    torch.testing.assert_close(masks, expected_masks, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(iou, expected_iou, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_instances_do_not_depend_on_their_order(decoder: SelfPromptedDecoder) -> None:
    embedding, pe, sparse, dense, features, boxes = inputs()
    before = torch.randn(B, P, 4 * G, 4 * G)
    awakened(decoder)
    order = [2, 0, 1]
    masks, iou = decoder(embedding, pe, sparse, dense, features, boxes, before)
    assert not torch.allclose(masks[:, 0], masks[:, 1], atol=0.1)
    shuffled, shuffled_iou = decoder(
        embedding, pe, sparse[:, order], dense[:, order], features, boxes[:, order], before[:, order]
    )
    torch.testing.assert_close(shuffled, masks[:, order], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(shuffled_iou, iou[:, order], rtol=1e-4, atol=1e-4)


def attention_case() -> tuple[Attention, list[Tensor]]:
    """Weights, 6 queries, and 9 keys with their values."""
    torch.manual_seed(0)
    return Attention(32, num_heads=4, downsample_rate=2), [torch.randn(2, n, 32) for n in (6, 9, 9)]


BIASES = {
    "none": (None, None),
    "three groups of two queries": ((2, 4, 3, 1, 9), (2, 4, 3, 2, 9)),
    "every third of nine keys": ((2, 4, 6, 1, 3), (2, 4, 6, 3, 3)),
}
"""Shape of a bias, and of what it is for each query and key."""


@pytest.mark.parametrize(("shape", "expanded"), BIASES.values(), ids=BIASES)
def test_attention_equals_that_of_torch_and_so_does_what_its_bias_learns(
    shape: tuple[int, ...] | None, expanded: tuple[int, ...] | None
) -> None:
    attention, qkv = attention_case()
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    heads = [project(x).unflatten(2, (4, 4)).transpose(1, 2) for project, x in zip(projections, qkv, strict=True)]
    own = other = mask = None
    if shape is not None and expanded is not None:
        own = torch.randn(shape, requires_grad=True)
        other = own.detach().clone().requires_grad_(True)
        mask = other.expand(expanded).reshape(2, 4, 6, 9)
    expected = attention.out_proj(F.scaled_dot_product_attention(*heads, attn_mask=mask).transpose(1, 2).flatten(2))
    actual = attend(attention, *qkv, own)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
    if own is not None and other is not None:
        for result in (actual, expected):
            result.square().sum().backward()
        assert own.grad is not None
        assert own.grad.abs().max() > 1e-4
        torch.testing.assert_close(own.grad, other.grad, rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_a_place_that_the_bias_closes_has_no_influence_on_the_tokens(decoder: SelfPromptedDecoder) -> None:
    # dense channel 0 says where: 0 inside, -1e4 outside; every bias reads that channel
    decoder.biases.weight[:, 0] = 1
    embedding, pe, sparse, dense, *rest = inputs(b=1, p=1)
    dense.zero_()
    dense[..., 0, :, G // 2 :] = -1e4
    _, iou = decoder(embedding, pe, sparse, dense, *rest)
    changed = embedding.clone()
    changed[..., G // 2 :] += 1
    _, same = decoder(changed, pe, sparse, dense, *rest)
    torch.testing.assert_close(same, iou)
    changed[..., : G // 2] += torch.randn(D, 1, 1)
    assert not torch.allclose(decoder(changed, pe, sparse, dense, *rest)[1], iou, atol=1e-3)


@torch.no_grad()
def test_an_instance_is_closed_off_by_its_own_dense_prompt_and_not_by_that_of_another(
    decoder: SelfPromptedDecoder,
) -> None:
    """Else a change of how prompts are ordered would go unseen."""
    # one layer's tokens look at the image, and the image never back, so that instances cannot mix
    for layer in decoder.mask_decoder.transformer.layers:
        layer.cross_attn_image_to_token.out_proj.weight.zero_()
    decoder.biases.weight[:, 0] = 1
    embedding, pe, sparse, dense, *rest = inputs(b=1, p=2)
    dense.zero_()
    dense[:, 1, 0, :, G // 2 :] = -1e4
    _, before = decoder(embedding, pe, sparse, dense, *rest)
    changed = embedding.clone()
    changed[..., G // 2 :] += torch.randn(D, 1, 1)
    _, after = decoder(changed, pe, sparse, dense, *rest)
    assert (after - before)[0, 0].abs() > 1e-3
    torch.testing.assert_close(after[0, 1], before[0, 1])


@torch.no_grad()
def test_pass_2_keeps_the_share_of_pass_1_that_the_mask_token_says(decoder: SelfPromptedDecoder) -> None:
    before = torch.randn(B, P, 4 * G, 4 * G)
    alone, _ = decoder(*inputs())
    torch.testing.assert_close(decoder(*inputs(), before).mask_logits, alone)
    assert decoder.keep is not None
    decoder.keep.bias.fill_(0.5)
    torch.testing.assert_close(decoder(*inputs(), before).mask_logits, alone + 0.5 * before)
    decoder.keep.weight.normal_()
    kept = (decoder(*inputs(), before).mask_logits - alone) / before
    share = kept.flatten(2).median(dim=2).values
    assert share.std() > 0.1  # each instance has its own
    torch.testing.assert_close(kept, share[..., None, None].expand_as(kept), rtol=0.05, atol=0.05)


@torch.no_grad()
def test_the_mask_head_is_added_to_the_masks_of_sam(decoder: SelfPromptedDecoder) -> None:
    given = inputs()
    before, _ = decoder(*given)
    decoder.mask_head.last.bias[-1] = 1.5  # untrained, it draws this constant alone
    torch.testing.assert_close(decoder(*given).mask_logits, before + 1.5, rtol=1e-4, atol=1e-4)
