"""The depth estimator: what its map is like, that official layouts load, and what bad files say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config, DPTImageProcessor

from spda_sam_core.depth.estimators import DepthEstimator, DepthInput
from spda_sam_core.weights.files import CheckpointError

INPUT = DepthInput(side=56, multiple_of=14)


def random_model(kind: str = "relative", max_depth: int = 1) -> DepthAnythingForDepthEstimation:
    torch.manual_seed(0)
    backbone = Dinov2Config(
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        patch_size=14,
        image_size=56,
        out_features=["stage1", "stage2", "stage3", "stage4"],
        reshape_hidden_states=False,
    )
    config = DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=32,
        neck_hidden_sizes=[8, 16, 16, 16],
        fusion_hidden_size=16,
        head_hidden_size=8,
        depth_estimation_type=kind,
        max_depth=max_depth,
    )
    model = DepthAnythingForDepthEstimation(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            # larger than transformers draws them, so that the map is not flat; exact in float16
            parameter.copy_((parameter + 0.1 * torch.randn_like(parameter)).half().float())
        model.head.conv3.bias.fill_(1.0)
    return model


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model as transformers itself saves it, in the layout of the official repositories."""
    target = tmp_path / "official"
    random_model().save_pretrained(target)
    processor = {
        "size": {"height": 70, "width": 70},
        "ensure_multiple_of": 14,
        "image_mean": [0.4, 0.5, 0.6],
        "image_std": [0.2, 0.25, 0.3],
    }
    (target / "preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")
    return target


@pytest.mark.parametrize("size_hw", [(48, 64), (64, 48), (97, 131), (1, 1), (20, 200), (480, 640)])
def test_the_map_has_the_size_of_the_picture(size_hw: tuple[int, int]) -> None:
    depth = DepthEstimator(random_model(), INPUT).estimate(picture(*size_hw))
    assert depth.shape == size_hw
    assert depth.dtype == np.float32
    assert depth.flags["C_CONTIGUOUS"]
    assert np.isfinite(depth).all()
    assert depth.min() >= 0


def test_the_picture_is_not_changed_and_the_answer_is_repeatable() -> None:
    estimator, rgb = DepthEstimator(random_model(), INPUT), picture(60, 80)
    before = rgb.copy()
    first = estimator.estimate(rgb)
    assert first.std() > 0
    np.testing.assert_array_equal(rgb, before)
    np.testing.assert_array_equal(first, estimator.estimate(rgb))


def test_a_picture_that_is_a_view_into_another_array() -> None:
    estimator, bgr = DepthEstimator(random_model(), INPUT), picture(60, 80)
    expected = estimator.estimate(np.ascontiguousarray(bgr[..., ::-1]))
    np.testing.assert_array_equal(estimator.estimate(bgr[..., ::-1]), expected)


@pytest.mark.parametrize("bad", [np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)])
def test_what_is_no_picture_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="rgb has shape"):
        DepthEstimator(random_model(), INPUT).estimate(bad)


def test_float_pictures_are_refused() -> None:
    with pytest.raises(TypeError, match="uint8"):
        DepthEstimator(random_model(), INPUT).estimate(np.zeros((4, 4, 3), np.float32))  # type: ignore[arg-type]


def test_a_metric_model_is_turned_into_inverse_depth() -> None:
    model = random_model("metric", max_depth=20)
    rgb = picture(56, 56)
    with torch.inference_mode():
        depth_m = model(INPUT.prepare(rgb)).predicted_depth[0].numpy()
    np.testing.assert_allclose(DepthEstimator(model, INPUT).estimate(rgb), 1 / depth_m, rtol=1e-5)


@pytest.mark.parametrize("size_hw", [(480, 640), (640, 480), (375, 1242), (100, 90), (60, 400), (40, 60)])
def test_the_network_input_is_as_large_as_in_transformers(size_hw: tuple[int, int]) -> None:
    processor = DPTImageProcessor(
        size={"height": 70, "width": 70}, keep_aspect_ratio=True, ensure_multiple_of=14, do_normalize=False
    )
    expected = processor(picture(*size_hw), return_tensors="pt")["pixel_values"].shape[-2:]
    assert DepthInput(side=70, multiple_of=14).size_hw(*size_hw) == tuple(expected)


@pytest.mark.parametrize(
    ("size_hw", "expected", "side"),
    [
        ((240, 320), (518, 686), 518),
        ((360, 640), (518, 924), 518),
        ((480, 640), (518, 686), 518),
        ((640, 480), (686, 518), 518),
        ((1080, 1920), (518, 924), 518),
        ((100, 90), (574, 518), 518),
        ((1, 1), (518, 518), 518),
        ((300, 305), (518, 518), 510),
    ],
)
def test_with_shorter_the_network_input_is_as_large_as_in_the_official_code(
    size_hw: tuple[int, int], expected: tuple[int, int], side: int
) -> None:
    # values that Resize of the repository DepthAnything/Depth-Anything-V2 gave, commit a561b849
    assert DepthInput(side=side, shorter=True).size_hw(*size_hw) == expected


def test_a_folder_gives_what_transformers_gives_with_the_same_weights(folder: Path) -> None:
    estimator = DepthEstimator.from_pretrained(folder)
    reference = DepthAnythingForDepthEstimation.from_pretrained(folder).eval()
    # a picture that is as large as the network's input, so that no resizing differs
    rgb = picture(70, 98)
    processor = DPTImageProcessor(
        size={"height": 70, "width": 98},
        image_mean=[0.4, 0.5, 0.6],
        image_std=[0.2, 0.25, 0.3],
        ensure_multiple_of=14,
    )
    with torch.inference_mode():
        expected = reference(**processor(rgb, return_tensors="pt")).predicted_depth[0].numpy()
    assert expected.std() > 1e-4
    np.testing.assert_allclose(estimator.estimate(rgb), expected, rtol=1e-4, atol=1e-6)


def test_a_folder_without_preprocessor_uses_the_values_of_depth_anything_v2(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()
    depth_input = DepthEstimator.from_pretrained(folder).depth_input
    assert (depth_input.side, depth_input.multiple_of) == (518, 14)


def test_a_path_that_is_not_there_names_itself_and_the_fix() -> None:
    with pytest.raises(CheckpointError) as error:
        DepthEstimator.from_pretrained("depth-anything/Depth-Anything-V2-Small-hf")
    assert str(error.value).startswith("depth-anything/Depth-Anything-V2-Small-hf: no such file or folder")
    assert "hf download depth-anything/Depth-Anything-V2-Small-hf --local-dir DIR" in str(error.value)
    assert "nothing is downloaded" in str(error.value)


def test_a_folder_of_another_kind_of_model(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    with pytest.raises(CheckpointError, match="model_type 'bert', expected 'depth_anything'"):
        DepthEstimator.from_pretrained(folder)


@pytest.mark.parametrize(
    ("name", "message"),
    [("config.json", "no usable config.json"), ("model.safetensors", r"no \.safetensors file beside config")],
)
def test_a_folder_that_lacks_a_file(folder: Path, name: str, message: str) -> None:
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=message):
        DepthEstimator.from_pretrained(folder)


def test_a_folder_with_weights_of_another_configuration(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["head_hidden_size"] = 4
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"do not fit .*, the first is 'head\.conv2\.bias' of \(8,\), not \(4,\)"):
        DepthEstimator.from_pretrained(folder)


def test_a_folder_with_missing_weights(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["head.conv3.bias"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"1 weights do not fit .*'head\.conv3\.bias', which is missing"):
        DepthEstimator.from_pretrained(folder)
