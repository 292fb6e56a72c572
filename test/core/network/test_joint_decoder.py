"""Joint decoding against segment_anything's own decoder, torch's attention, and closed forms."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from segment_anything.modeling.transformer import Attention
from spda_sam_core.network.joint_decoder import JointDecoder, _attend
from torch.nn import functional as F

from spda_sam_core.config import load_model_config

CONFIG = dataclasses.replace(
    load_model_config("tiny", class_names=("anode", "object")), decoder="joint", input_size=128
)
B, P, T, D, X, G = 2, 3, 5, CONFIG.width, CONFIG.dense_width, CONFIG.grid


@pytest.fixture
def decoder() -> JointDecoder:
    torch.manual_seed(0)
    return JointDecoder(CONFIG).eval()


def inputs(b: int = B, p: int = P) -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [
        torch.randn(b, D, G, G),
        torch.randn(1, D, G, G),
        torch.randn(b, p, T, D),
        torch.randn(b, p, X, G, G),
        torch.zeros(b, D // 8, 4 * G, 4 * G),
    ]


def trained(decoder: JointDecoder) -> JointDecoder:
    """What begins at zero hides what lies behind it."""
    for linear in (decoder.biases, decoder.place_kernel):
        torch.nn.init.normal_(linear.weight, std=0.3)
    return decoder


@torch.no_grad()
def test_one_instance_untrained_equals_the_mask_decoder_of_sam(decoder: JointDecoder) -> None:
    embedding, pe, sparse, dense, edges = inputs(p=1)
    masks, iou = decoder(embedding, pe, sparse, dense, edges)
    for i in range(B):
        expected_masks, expected_iou = decoder.mask_decoder(
            image_embeddings=embedding[i : i + 1],
            image_pe=pe,
            sparse_prompt_embeddings=sparse[i],
            dense_prompt_embeddings=torch.zeros(1, D, G, G),
            multimask_output=False,
        )
        torch.testing.assert_close(masks[i], expected_masks[:, 0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(iou[i], expected_iou[:, 0], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_instances_do_not_depend_on_their_order(decoder: JointDecoder) -> None:
    embedding, pe, sparse, dense, edges = inputs()
    order = [2, 0, 1]
    masks, iou = trained(decoder)(embedding, pe, sparse, dense, edges)
    shuffled, shuffled_iou = decoder(embedding, pe, sparse[:, order], dense[:, order], edges)
    torch.testing.assert_close(shuffled, masks[:, order], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(shuffled_iou, iou[:, order], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_attention_with_a_bias_equals_that_of_torch() -> None:
    torch.manual_seed(0)
    attention = Attention(32, num_heads=4, downsample_rate=2)
    q, k, v, bias = torch.randn(2, 6, 32), torch.randn(2, 9, 32), torch.randn(2, 9, 32), torch.randn(2, 4, 6, 9)
    heads = [
        projection(x).unflatten(2, (4, 4)).transpose(1, 2)
        for projection, x in ((attention.q_proj, q), (attention.k_proj, k), (attention.v_proj, v))
    ]
    expected = attention.out_proj(F.scaled_dot_product_attention(*heads, attn_mask=bias).transpose(1, 2).flatten(2))
    torch.testing.assert_close(_attend(attention, q, k, v, bias), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_place_that_the_bias_closes_has_no_influence_on_the_tokens(decoder: JointDecoder) -> None:
    # dense channel 0 says where: 0 inside, -1e4 outside; every bias reads that channel
    decoder.biases.weight[:, 0] = 1
    embedding, pe, sparse, dense, edges = inputs(b=1, p=1)
    dense.zero_()
    dense[..., 0, :, G // 2 :] = -1e4
    _, iou = decoder(embedding, pe, sparse, dense, edges)
    changed = embedding.clone()
    changed[..., G // 2 :] += 1
    _, same = decoder(changed, pe, sparse, dense, edges)
    torch.testing.assert_close(same, iou)
    changed[..., : G // 2] += 1
    assert not torch.allclose(decoder(changed, pe, sparse, dense, edges)[1], iou, atol=1e-3)


@torch.no_grad()
def test_the_place_term_adds_the_dense_prompt_at_the_size_of_the_mask(decoder: JointDecoder) -> None:
    embedding, pe, sparse, dense, edges = inputs()
    before, _ = decoder(embedding, pe, sparse, dense, edges)
    decoder.place_kernel.bias[3] = 2.0
    after, _ = decoder(embedding, pe, sparse, dense, edges)
    expected = 2 * F.interpolate(dense[:, :, 3], size=(4 * G, 4 * G), mode="bilinear", align_corners=False)
    torch.testing.assert_close(after - before, expected, rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_pass_2_keeps_the_share_of_pass_1_that_the_mask_token_says(decoder: JointDecoder) -> None:
    before = torch.randn(B, P, 4 * G, 4 * G)
    alone, _ = decoder(*inputs())
    torch.testing.assert_close(decoder(*inputs(), before).mask_logits, alone)
    decoder.keep.bias.fill_(0.5)
    torch.testing.assert_close(decoder(*inputs(), before).mask_logits, alone + 0.5 * before)
