"""Official Depth Anything V2 files: they give what the published network gives, and bad ones say what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import DepthAnythingForDepthEstimation

from spda_sam_core.depth.depth_anything_official import read_official
from spda_sam_core.depth.estimators import DepthEstimator
from spda_sam_core.weights.files import CheckpointError

PATCH, STRIDES = 14, {0: 4, 1: 2, 3: 2}
SMALL = "depth_anything_v2_vits.pth"


class Size(NamedTuple):
    blocks: int
    width: int
    out_channels: tuple[int, int, int, int]
    features: int
    head: int = 32
    grid: int = 37


# two attention heads; input 70x70 pixels. The reference below needs no interpolation there
MINIATURE = Size(12, 128, (8, 12, 16, 24), 16, head=8, grid=5)


def official_shapes(size: Size) -> dict[str, tuple[int, ...]]:
    """Every entry of an official file, as the official code names it."""
    shapes: dict[str, tuple[int, ...]] = {}

    def layer(name: str, *shape: int, bias: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = shape, (bias,)

    blocks, w, out, f, head, grid = size
    shapes["pretrained.cls_token"], shapes["pretrained.mask_token"] = (1, 1, w), (1, w)
    shapes["pretrained.pos_embed"] = (1, grid * grid + 1, w)
    layer("pretrained.patch_embed.proj", w, 3, PATCH, PATCH, bias=w)
    for i in range(blocks):
        block = f"pretrained.blocks.{i}"
        layer(f"{block}.norm1", w, bias=w)
        layer(f"{block}.attn.qkv", 3 * w, w, bias=3 * w)
        layer(f"{block}.attn.proj", w, w, bias=w)
        layer(f"{block}.norm2", w, bias=w)
        layer(f"{block}.mlp.fc1", 4 * w, w, bias=4 * w)
        layer(f"{block}.mlp.fc2", w, 4 * w, bias=w)
        shapes[f"{block}.ls1.gamma"] = shapes[f"{block}.ls2.gamma"] = (w,)
    layer("pretrained.norm", w, bias=w)
    for i, channels in enumerate(out):
        layer(f"depth_head.projects.{i}", channels, w, 1, 1, bias=channels)
        shapes[f"depth_head.scratch.layer{i + 1}_rn.weight"] = (f, channels, 3, 3)
        refine = f"depth_head.scratch.refinenet{i + 1}"
        layer(f"{refine}.out_conv", f, f, 1, 1, bias=f)
        for conv in ("resConfUnit1.conv1", "resConfUnit1.conv2", "resConfUnit2.conv1", "resConfUnit2.conv2"):
            layer(f"{refine}.{conv}", f, f, 3, 3, bias=f)
    for i, kernel in ((0, 4), (1, 2), (3, 3)):
        layer(f"depth_head.resize_layers.{i}", out[i], out[i], kernel, kernel, bias=out[i])
    layer("depth_head.scratch.output_conv1", f // 2, f, 3, 3, bias=f // 2)
    layer("depth_head.scratch.output_conv2.0", head, f // 2, 3, 3, bias=head)
    layer("depth_head.scratch.output_conv2.2", 1, head, 1, 1, bias=1)
    return shapes


def random_state(size: Size = MINIATURE) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in official_shapes(size).items():
        scale = float(np.prod(shape[1:])) ** -0.5 if len(shape) > 1 and name.endswith("weight") else 0.5
        state[name] = torch.randn(shape, generator=generator) * scale
    state["depth_head.scratch.output_conv2.2.bias"][:] = 0.5  # not all of the map is cut off at zero
    return state


def reference(state: dict[str, Tensor], image: Tensor, taps: tuple[int, ...], max_depth: float | None) -> Tensor:
    """DINOv2 and DPT on official names, of torch's functions only. The image has the size of the positions' grid."""

    def layer(f: Callable[..., Tensor], name: str, x: Tensor, **options: int) -> Tensor:
        return f(x, state[f"{name}.weight"], state.get(f"{name}.bias"), **options)

    def norm(name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-6)

    grid = image.shape[-1] // PATCH
    x = layer(F.conv2d, "pretrained.patch_embed.proj", image, stride=PATCH).flatten(2).mT
    x = torch.cat([state["pretrained.cls_token"], x], 1) + state["pretrained.pos_embed"]
    tapped = []
    for i in range(taps[-1] + 1):
        block = f"pretrained.blocks.{i}"
        qkv = layer(F.linear, f"{block}.attn.qkv", norm(f"{block}.norm1", x))
        q, k, v = (part.unflatten(-1, (-1, 64)).transpose(1, 2) for part in qkv.split(x.shape[-1], -1))
        seen = ((q @ k.mT / 8).softmax(-1) @ v).transpose(1, 2).flatten(2)
        x = x + layer(F.linear, f"{block}.attn.proj", seen) * state[f"{block}.ls1.gamma"]
        hidden = F.gelu(layer(F.linear, f"{block}.mlp.fc1", norm(f"{block}.norm2", x)))
        x = x + layer(F.linear, f"{block}.mlp.fc2", hidden) * state[f"{block}.ls2.gamma"]
        if i in taps:
            tapped.append(norm("pretrained.norm", x)[:, 1:].mT.unflatten(-1, (grid, grid)))

    scales = []
    for i, features in enumerate(tapped):
        y = layer(F.conv2d, f"depth_head.projects.{i}", features)
        if i < 2:
            y = layer(F.conv_transpose2d, f"depth_head.resize_layers.{i}", y, stride=STRIDES[i])
        elif i == 3:
            y = layer(F.conv2d, f"depth_head.resize_layers.{i}", y, stride=STRIDES[i], padding=1)
        scales.append(layer(F.conv2d, f"depth_head.scratch.layer{i + 1}_rn", y, padding=1))

    def residual(name: str, y: Tensor) -> Tensor:
        inner = layer(F.conv2d, f"{name}.conv1", y.relu(), padding=1)
        return y + layer(F.conv2d, f"{name}.conv2", inner.relu(), padding=1)

    def enlarge(y: Tensor, size: tuple[int, int]) -> Tensor:
        return F.interpolate(y, size, mode="bilinear", align_corners=True)

    fused = torch.zeros_like(scales[3])
    for i in (3, 2, 1, 0):
        refine = f"depth_head.scratch.refinenet{i + 1}"
        # the coarsest scale meets nothing, and is not refined by itself
        fused = scales[3] if i == 3 else fused + residual(f"{refine}.resConfUnit1", scales[i])
        finer = scales[i - 1].shape[-2:] if i else (8 * grid, 8 * grid)
        fused = layer(F.conv2d, f"{refine}.out_conv", enlarge(residual(f"{refine}.resConfUnit2", fused), finer))
    y = enlarge(layer(F.conv2d, "depth_head.scratch.output_conv1", fused, padding=1), image.shape[-2:])
    y = layer(F.conv2d, "depth_head.scratch.output_conv2.0", y, padding=1).relu()
    y = layer(F.conv2d, "depth_head.scratch.output_conv2.2", y)[:, 0]
    return y.relu() if max_depth is None else y.sigmoid() * max_depth


@pytest.fixture
def official(tmp_path: Path) -> Path:
    return write(tmp_path / SMALL, random_state())


def write(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("name", "blocks", "taps", "max_depth"),
    [
        (SMALL, 12, (2, 5, 8, 11), None),
        ("depth_anything_v2_vitl.pth", 24, (4, 11, 17, 23), None),
        ("depth_anything_v2_metric_hypersim_vits.pth", 12, (2, 5, 8, 11), 20.0),
        ("depth_anything_v2_metric_vkitti_vitb.pth", 12, (2, 5, 8, 11), 80.0),
    ],
)
def test_the_network_computes_what_the_published_one_computes(
    tmp_path: Path, name: str, blocks: int, taps: tuple[int, ...], max_depth: float | None
) -> None:
    state = random_state(MINIATURE._replace(blocks=blocks))
    estimator = DepthEstimator.from_pretrained(write(tmp_path / name, state))
    image = torch.randn(1, 3, 70, 70, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = reference(state, image, taps, max_depth)
        given = estimator.model(image).predicted_depth
    assert expected.std() > 0.05
    torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-5)
    assert estimator.model.config.depth_estimation_type == ("relative" if max_depth is None else "metric")
    # as the official code, which enlarges a small picture until its shorter side fits
    assert estimator.depth_input.size_hw(35, 70) == (70, 140)


@pytest.mark.parametrize(
    ("size", "millions"),
    [
        (Size(12, 384, (48, 96, 192, 384), 64), 24.8),
        (Size(12, 768, (96, 192, 384, 768), 128), 97.5),
        (Size(24, 1024, (256, 512, 1024, 1024), 256), 335.3),
    ],
    ids=["small", "base", "large"],
)
def test_the_size_is_read_from_the_tensors(tmp_path: Path, size: Size, millions: float) -> None:
    """The published numbers of weights come out, whatever the name says."""
    # one number seen at every place: the file is small
    state = {name: torch.zeros(1).expand(shape) for name, shape in official_shapes(size).items()}
    config, weights = read_official(write(tmp_path / SMALL, state))
    with torch.device("meta"):
        model = DepthAnythingForDepthEstimation(config)
    assert round(model.num_parameters() / 1e6, 1) == millions
    assert sum(tensor.numel() for tensor in weights.values()) == model.num_parameters()
    assert config.backbone_config.image_size == 518


@pytest.mark.parametrize("size_hw", [(70, 70), (96, 128), (200, 150)])
def test_both_layouts_of_the_same_weights_give_the_same_map(
    official: Path, tmp_path: Path, size_hw: tuple[int, int]
) -> None:
    estimator, folder = DepthEstimator.from_pretrained(official), tmp_path / "hf"
    estimator.model.save_pretrained(folder)
    processor = {
        "size": {"height": 70, "width": 70},
        "ensure_multiple_of": 14,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")
    expected = DepthEstimator.from_pretrained(folder).estimate(picture(*size_hw))
    assert expected.std() > 0
    np.testing.assert_allclose(estimator.estimate(picture(*size_hw)), expected, rtol=1e-5, atol=1e-6)


def test_half_precision_in_the_file_is_computed_with_in_float32(tmp_path: Path) -> None:
    path = write(tmp_path / SMALL, {name: tensor.half() for name, tensor in random_state().items()})
    assert {p.dtype for p in DepthEstimator.from_pretrained(path).model.parameters()} == {torch.float32}


def changed(**replaced: Tensor | None) -> dict[str, Tensor]:
    """Official entries with some replaced, or left out where None; `__` stands for a dot."""
    entries = random_state() | {name.replace("__", "."): tensor for name, tensor in replaced.items()}
    return {name: tensor for name, tensor in entries.items() if tensor is not None}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"image_encoder.pos_embed": torch.zeros(1)}, "1 entries are unknown, the first is 'image_encoder.pos_embed'"),
        ({}, "entries are missing, the first is 'pretrained.cls_token'"),
        (changed(depth_head__extra=torch.zeros(1)), "1 entries are unknown, the first is 'depth_head.extra'"),
        (changed(pretrained__norm__bias=None), "1 entries are missing, the first is 'pretrained.norm.bias'"),
        (random_state(MINIATURE._replace(blocks=40)), "encoder has 40 blocks, expected 12 (Small, Base) or 24 (Large)"),
        (changed(pretrained__pos_embed=torch.zeros(1, 24, 128)), "23 positions must be a square"),
        (changed(pretrained__pos_embed=torch.zeros(())), "a tensor has a shape that Depth Anything V2 does not have"),
        (changed(pretrained__blocks__3__attn__qkv__bias=torch.zeros(1)), "a tensor has a shape that Depth Anything"),
    ],
    ids=["sam", "empty", "unknown", "missing", "giant", "positions", "scalar", "qkv"],
)
def test_what_is_no_depth_anything_v2_names_what_is_wrong_and_the_fix(
    tmp_path: Path, state: dict[str, Tensor], message: str
) -> None:
    path = write(tmp_path / SMALL, state)
    with pytest.raises(CheckpointError) as error:
        DepthEstimator.from_pretrained(path)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)
    assert "hf download depth-anything/Depth-Anything-V2-Small depth_anything_v2_vits.pth" in str(error.value)


def test_a_tensor_of_another_shape_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / SMALL, changed(pretrained__norm__bias=torch.zeros(3)))
    with pytest.raises(CheckpointError, match=r"the first is 'backbone\.layernorm\.bias' of \(3,\), not \(128,\)"):
        DepthEstimator.from_pretrained(path)


@pytest.mark.parametrize("name", ["depth_anything_vits14.pth", "depth_anything_v2_metric_vits.pth", "model.pt"])
def test_the_name_must_tell_what_the_tensors_do_not(tmp_path: Path, name: str) -> None:
    """Version 1 and the metric files have the same tensors: taken for relative ones of version 2, depth is wrong."""
    with pytest.raises(CheckpointError, match=rf"is named '{name}', expected 'depth_anything_v2_vits\.pth'"):
        DepthEstimator.from_pretrained(write(tmp_path / name, random_state()))


class Code:
    """What a pickle can do: this makes a file when it is loaded."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Callable[[Path], object], tuple[Path]]:
        return Path.touch, (self.proof,)


def test_code_in_the_file_is_not_executed(tmp_path: Path) -> None:
    proof = tmp_path / "executed"
    path = write(tmp_path / SMALL, {**random_state(), "code": Code(proof)})
    with pytest.raises(CheckpointError, match="refused, it is damaged or holds code"):
        DepthEstimator.from_pretrained(path)
    assert not proof.exists()


def test_a_training_state_is_no_official_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no plain state dict"):
        DepthEstimator.from_pretrained(write(tmp_path / SMALL, {"model": random_state(), "epoch": 3}))


def test_a_file_that_is_not_there_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as error:
        DepthEstimator.from_pretrained(tmp_path / SMALL)
    assert f"{SMALL}: no such file or folder: nothing is downloaded here" in str(error.value)
    assert "hf download depth-anything/Depth-Anything-V2-Small depth_anything_v2_vits.pth" in str(error.value)
