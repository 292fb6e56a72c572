"""PyTorch as the runtime: arrays through a network and back, devices, and checkpoints."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from spda_sam_core.config import load_model_config
from spda_sam_core.network.network import build_network
from spda_sam_core.runtimes.torch_runtime import TorchRuntime, check_device
from spda_sam_core.spda_sam import SpdaSam
from spda_sam_core.weights.checkpoint import save_checkpoint
from spda_sam_core.weights.files import CheckpointError, file_sha256


class SmallNetwork(nn.Module):
    """Answers with sums of what it is given, in half the precision, which NumPy does not have."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.config = SimpleNamespace(preset="small", class_names=("anode", "hull"), input_size=32, use_depth=True)
        self.modes: list[tuple[bool, bool]] = []

    def forward(self, image: Tensor, inverse_depth: Tensor, depth_valid: Tensor, estimate: Tensor) -> SimpleNamespace:
        self.modes.append((self.training, torch.is_inference_mode_enabled()))
        seen = nn.functional.avg_pool2d(inverse_depth * depth_valid, 4) + estimate[:, None, None, None]
        masks = nn.functional.avg_pool2d(image.permute(0, 3, 1, 2).float(), 4)[:, :2] * self.weight
        return SimpleNamespace(
            mask_logits=masks.bfloat16(),
            class_logits=estimate[:, None, None].expand(-1, 2, 2),
            predicted_iou=depth_valid.mean(dim=(1, 2, 3))[:, None].expand(-1, 2),
            boxes_xyxy=None,
            inverse_depth=seen,
        )


def test_arrays_go_through_the_network_without_gradients() -> None:
    network = SmallNetwork().train()
    runtime = TorchRuntime(network)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    image = rng.integers(0, 9, (2, 32, 32, 3), np.uint8)
    inverse, valid = (rng.random((2, 1, 32, 32)).astype(np.float32) for _ in range(2))
    estimate = np.array([0, 1], np.float32)
    output = runtime.run(image, inverse, valid, estimate)
    assert network.modes == [(False, True)]
    assert {array.dtype for array in output} == {np.dtype(np.float32)}
    expected = image.reshape(2, 8, 4, 8, 4, 3).mean(axis=(2, 4)).transpose(0, 3, 1, 2)[:, :2]
    np.testing.assert_allclose(output.mask_logits, expected, atol=0.05)  # bfloat16
    assert output.class_logits[:, 0, 0].tolist() == [0, 1]
    np.testing.assert_allclose(output.predicted_iou[:, 1], valid.mean(axis=(1, 2, 3)), rtol=1e-5)
    assert output.inverse_depth.shape == (2, 1, 8, 8)
    assert (output.inverse_depth[1] >= 1).all()


def test_what_is_known_of_the_network() -> None:
    runtime = TorchRuntime(SmallNetwork(), checkpoint_sha256="abc")  # type: ignore[arg-type]
    info = runtime.info
    assert (info.preset, info.class_names, info.input_size) == ("small", ("anode", "hull"), 32)
    assert (info.reads_depth, info.checkpoint_sha256) == (True, "abc")
    assert runtime.device == "cpu"
    threads = str(torch.get_num_threads())
    assert runtime.facts() == {"backend": "torch", "device": "cpu", "precision": "float32", "threads": threads}


def test_a_checkpoint_is_loaded_and_refused_by_name(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_network(load_model_config("tiny", class_names=("anode", "hull")))
    path = tmp_path / "network.safetensors"
    save_checkpoint(path, network, {})
    model = SpdaSam.from_pretrained(path)
    assert model.checkpoint_sha256 == file_sha256(path)
    assert model.class_names == network.config.class_names
    assert model.input_size == network.config.input_size
    assert model.preset == "tiny"
    result = model.predict_batch([np.zeros((60, 80, 3), np.uint8)])[0]
    assert result.depth_source == "estimated"
    assert result.depth is not None
    assert result.depth.inverse_depth.shape == (60, 80)
    with pytest.raises(CheckpointError, match="is for preset 'tiny', but 'base'"):
        SpdaSam.from_pretrained(path, preset="base")


def test_devices_that_are_not_there_are_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown device 'gpu': use 'auto', 'cpu', 'cuda' or 'cuda:<n>'"):
        check_device("gpu")
    missing = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(ValueError, match=f"device '{missing}' is not there, CUDA devices found"):
        check_device(missing)
    assert check_device("cpu").type == "cpu"
    assert check_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
