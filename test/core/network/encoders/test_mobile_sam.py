"""MobileSAM's encoder: every entry of an official file finds its place, and the result is what the papers describe."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from spda_sam_core.network.encoders.lora import LoraLinear, add_lora
from spda_sam_core.network.encoders.mobile_sam import MobileSamEncoder, mobile_sam_encoder_state

# TinyViT-5M, by its paper and by MobileSAM's build_sam.py
CHANNELS, BLOCKS, HEADS, WINDOWS = (64, 128, 160, 320), (2, 2, 6, 2), (2, 4, 5, 10), (7, 7, 14, 7)


def official_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the `image_encoder.` entries of mobile_sam.pt, without that prefix."""
    shapes: dict[str, tuple[int, ...]] = {}

    def affine(name: str, *shape: int) -> None:
        shapes.update({f"{name}.weight": shape, f"{name}.bias": shape[:1]})

    def conv_bn(name: str, channels: int, inputs: int, kernel: int) -> None:
        shapes[f"{name}.c.weight"] = (channels, inputs, kernel, kernel)
        affine(f"{name}.bn", channels)
        shapes.update({f"{name}.bn.running_mean": (channels,), f"{name}.bn.running_var": (channels,)})
        shapes[f"{name}.bn.num_batches_tracked"] = ()

    conv_bn("patch_embed.seq.0", 32, 3, 3)
    conv_bn("patch_embed.seq.2", 64, 32, 3)
    for layer, (c, blocks, heads, window) in enumerate(zip(CHANNELS, BLOCKS, HEADS, WINDOWS, strict=True)):
        for block in (f"layers.{layer}.blocks.{i}" for i in range(blocks)):
            if layer == 0:
                conv_bn(f"{block}.conv1", 4 * c, c, 1)
                conv_bn(f"{block}.conv2", 4 * c, 1, 3)
                conv_bn(f"{block}.conv3", c, 4 * c, 1)
                continue
            shapes[f"{block}.attn.attention_biases"] = (heads, window**2)
            affine(f"{block}.attn.norm", c)
            affine(f"{block}.attn.qkv", 3 * c, c)
            affine(f"{block}.attn.proj", c, c)
            conv_bn(f"{block}.local_conv", c, 1, 3)
            affine(f"{block}.mlp.norm", c)
            affine(f"{block}.mlp.fc1", 4 * c, c)
            affine(f"{block}.mlp.fc2", c, 4 * c)
        if layer < 3:
            wider = CHANNELS[layer + 1]
            conv_bn(f"layers.{layer}.downsample.conv1", wider, c, 1)
            conv_bn(f"layers.{layer}.downsample.conv2", wider, 1, 3)
            conv_bn(f"layers.{layer}.downsample.conv3", wider, wider, 1)
    affine("norm_head", 320)
    affine("head", 1000, 320)
    shapes["neck.0.weight"] = (256, 320, 1, 1)
    affine("neck.1", 256)
    shapes["neck.2.weight"] = (256, 256, 3, 3)
    affine("neck.3", 256)
    return shapes


def official_state(seed: int = 0) -> dict[str, Tensor]:
    """Random weights of about unit gain; none at the 0 or 1 that would hide a swap."""
    g = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in official_shapes().items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        elif name.endswith("attention_biases"):
            state[name] = torch.randn(shape, generator=g)
        elif len(shape) == 1 and name.endswith(("weight", "running_var")):
            state[name] = 0.5 + torch.rand(shape, generator=g)
        elif len(shape) == 1:
            state[name] = 0.3 * torch.randn(shape, generator=g)
        else:
            state[name] = 1.3 / math.sqrt(math.prod(shape[1:])) * torch.randn(shape, generator=g)
    return state


def loaded(state: dict[str, Tensor]) -> MobileSamEncoder:
    encoder = MobileSamEncoder().eval()
    encoder.load_state_dict(mobile_sam_encoder_state(state), strict=True)
    return encoder


class ByHand:
    """The encoder as a plain calculation on the official entries: one window and one head at a time."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        self.state = state

    def of(self, name: str, *kinds: str) -> tuple[Tensor, ...]:
        return tuple(self.state[f"{name}.{kind}"] for kind in kinds)

    def conv_bn(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        (kernel,) = self.of(name, "c.weight")
        x = F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2, groups=x.shape[1] // kernel.shape[1])
        mean, variance, scale, shift = (
            t[:, None, None] for t in self.of(f"{name}.bn", "running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / torch.sqrt(variance + 1e-5) * scale + shift

    def convolutions(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        x = F.gelu(self.conv_bn(x, f"{name}.conv1"))
        return self.conv_bn(F.gelu(self.conv_bn(x, f"{name}.conv2", stride)), f"{name}.conv3")

    def layer_norm(self, x: Tensor, name: str, eps: float = 1e-5) -> Tensor:
        """Over the last axis."""
        weight, bias = self.of(name, "weight", "bias")
        centred = x - x.mean(-1, keepdim=True)
        return centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + eps) * weight + bias

    def linear(self, x: Tensor, name: str) -> Tensor:
        weight, bias = self.of(name, "weight", "bias")
        return x @ weight.T + bias

    def attend(self, tokens: Tensor, name: str, heads: int, window: int) -> Tensor:
        """One window: (window^2, C), row by row."""
        d = tokens.shape[1] // heads
        qkv = self.linear(self.layer_norm(tokens, f"{name}.norm"), f"{name}.qkv")
        row, column = torch.arange(window**2) // window, torch.arange(window**2) % window
        apart = (row[:, None] - row).abs() * window + (column[:, None] - column).abs()
        mixed = []
        for head in range(heads):
            q, k, v = qkv[:, 3 * d * head : 3 * d * (head + 1)].split(d, dim=1)
            weights = torch.softmax(q @ k.T / math.sqrt(d) + self.state[f"{name}.attention_biases"][head, apart], dim=1)
            mixed.append(weights @ v)
        return self.linear(torch.cat(mixed, dim=1), f"{name}.proj")

    def attention_block(self, x: Tensor, name: str, heads: int, window: int) -> Tensor:
        """(1, C, n, n) to the same."""
        n, c = x.shape[2], x.shape[1]
        padded = F.pad(x, (0, -n % window) * 2)[0]
        out = torch.empty_like(padded)
        for top in range(0, padded.shape[1], window):
            for left in range(0, padded.shape[2], window):
                place = (slice(None), slice(top, top + window), slice(left, left + window))
                tokens = self.attend(padded[place].reshape(c, -1).T, f"{name}.attn", heads, window)
                out[place] = tokens.T.reshape(c, window, window)
        x = self.conv_bn(x + out[None, :, :n, :n], f"{name}.local_conv")
        tokens = self.layer_norm(x.movedim(1, -1), f"{name}.mlp.norm")
        return x + self.linear(F.gelu(self.linear(tokens, f"{name}.mlp.fc1")), f"{name}.mlp.fc2").movedim(-1, 1)

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = F.gelu(self.conv_bn(image, "patch_embed.seq.0", stride=2))
        x = self.conv_bn(x, "patch_embed.seq.2", stride=2)
        for i in range(BLOCKS[0]):
            x = F.gelu(x + self.convolutions(x, f"layers.0.blocks.{i}"))
        features = [x]
        for layer in (1, 2, 3):
            x = self.convolutions(x, f"layers.{layer - 1}.downsample", stride=1 if layer == 3 else 2)
            for i in range(BLOCKS[layer]):
                x = self.attention_block(x, f"layers.{layer}.blocks.{i}", HEADS[layer], WINDOWS[layer])
            features.append(x)
        for i, padding in ((0, 0), (2, 1)):
            x = F.conv2d(x, self.state[f"neck.{i}.weight"], padding=padding)
            x = self.layer_norm(x.movedim(1, -1), f"neck.{i + 1}", eps=1e-6).movedim(-1, 1)
        return features[0], features[1], x


@pytest.mark.parametrize("size", [128, 224])  # 224: windows fit the grids, nothing is padded
def test_official_weights_give_what_a_plain_calculation_gives(size: int) -> None:
    state = official_state()
    image = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = ByHand(state).encode(image)
        assert all(e.std() > 0.5 for e in expected)
        for actual, e in zip(loaded(state)(image), expected, strict=True):
            torch.testing.assert_close(actual, e, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [96, 128, 512])
def test_strides_and_channels_at_sizes_that_the_windows_do_not_divide(size: int) -> None:
    with torch.inference_mode():
        features = MobileSamEncoder().eval()(torch.randn(2, 3, size, size))
    expected = [(2, c, size // stride, size // stride) for c, stride in ((64, 4), (128, 8), (256, 16))]
    assert [tuple(f.shape) for f in features] == expected


@pytest.mark.parametrize("name", ["layers.1.blocks.0.attn.surprise", "stages.0.blocks.0.conv1.conv.weight"])
def test_an_entry_that_mobile_sam_does_not_have_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"unknown entry '{name}'"):
        mobile_sam_encoder_state(official_state() | {name: torch.zeros(1)})


def test_position_biases_are_those_of_the_weights_loaded_last() -> None:
    first, second = official_state(0), official_state(0)
    for name in second:
        if name.endswith("attention_biases"):
            second[name] = second[name].flip(1)
    image = torch.randn(1, 3, 128, 128)
    with torch.inference_mode():
        encoder = loaded(first)
        before = encoder(image)[2]
        encoder.load_state_dict(mobile_sam_encoder_state(second))
        after, fresh = encoder(image)[2], loaded(second)(image)[2]
    assert torch.equal(after, fresh)
    assert (after - before).abs().max() > 0.1


def test_lora_finds_every_attention_block() -> None:
    encoder = MobileSamEncoder()
    add_lora(encoder, rank=2)
    assert sum(isinstance(module, LoraLinear) for module in encoder.modules()) == sum(BLOCKS[1:])
