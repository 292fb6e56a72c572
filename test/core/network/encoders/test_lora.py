"""LoRA: what a changed layer computes, written out, and which layers of a base are changed."""

from __future__ import annotations

import pytest
import torch
from segment_anything.modeling import ImageEncoderViT
from torch import nn

from spda_sam_core.network.encoders.lora import LoraLinear, add_lora

RANK = 3


def small_vit() -> ImageEncoderViT:
    """Two blocks, the second with global attention, and relative positions, as in SAM."""
    torch.manual_seed(0)
    encoder = ImageEncoderViT(
        img_size=64, embed_dim=24, depth=2, num_heads=2, out_chans=8, use_rel_pos=True, window_size=2,
        global_attn_indexes=(1,),
    )  # fmt: skip
    with torch.no_grad():
        for parameter in encoder.parameters():
            if not parameter.any():
                nn.init.normal_(parameter, std=0.1)
    return encoder.eval()


def randomise_lora(module: nn.Module) -> None:
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "lora_up" in name:
                nn.init.normal_(parameter, std=0.3)


@pytest.mark.parametrize("bias", [True, False])
def test_the_layer_is_w_plus_twice_b_a(bias: bool) -> None:
    torch.manual_seed(1)
    base = nn.Linear(7, 5, bias=bias)
    w = base.weight.detach().clone()
    layer = LoraLinear(base, RANK)
    randomise_lora(layer)
    a, b = layer.lora_down.weight, layer.lora_up.weight  # (rank, in), (out, rank)
    assert (a.shape, b.shape) == ((RANK, 7), (5, RANK))
    x = torch.randn(4, 6, 7)
    expected = x @ (w + 2.0 * b @ a).T
    if bias:
        expected = expected + base.bias
    torch.testing.assert_close(layer(x), expected)
    assert not torch.allclose(layer(x), base(x), atol=0.1)


def test_a_gradient_reaches_both_matrices_and_never_the_base() -> None:
    encoder = small_vit()
    add_lora(encoder, RANK)
    randomise_lora(encoder)
    encoder(torch.randn(1, 3, 64, 64)).square().sum().backward()
    moved = {name for name, parameter in encoder.named_parameters() if parameter.grad is not None}
    assert moved == {f"blocks.{i}.attn.qkv.{matrix}.weight" for i in range(2) for matrix in ("lora_down", "lora_up")}


def test_a_base_with_lora_is_the_base_with_its_qkv_weights_changed_by_hand() -> None:
    """Nothing else is touched: not the positions, nor the output projection, nor the MLPs."""
    encoder, by_hand = small_vit(), small_vit()
    add_lora(encoder, RANK)
    randomise_lora(encoder)
    for block, own in zip(encoder.blocks, by_hand.blocks, strict=True):
        qkv = block.attn.qkv
        with torch.no_grad():
            own.attn.qkv.weight += 2.0 * qkv.lora_up.weight @ qkv.lora_down.weight
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        changed = encoder(image)
        torch.testing.assert_close(changed, by_hand(image), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(changed, small_vit()(image), atol=0.01)


def test_untrained_or_of_rank_0_it_leaves_the_base_bit_identical_and_frozen() -> None:
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected = small_vit()(image)
        for rank in (RANK, 0):
            encoder = small_vit()
            add_lora(encoder, rank)
            assert torch.equal(encoder(image), expected)
            trained = {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}
            assert trained == {name for name in trained if ".lora_" in name}
            assert bool(trained) == (rank > 0)
