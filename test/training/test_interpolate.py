"""Between two checkpoints: the weights are where they are said to be, and what was fitted to other weights is gone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from small_model import SMALL

import training.interpolate
from spda_sam_core.config import load_model_config
from spda_sam_core.network.network import build_network
from spda_sam_core.spda_sam import SpdaSam
from spda_sam_core.weights.checkpoint import load_checkpoint, save_checkpoint
from spda_sam_core.weights.files import file_sha256
from training.interpolate import main
from training.learning.train_config import TrainConfig

CLASSES = ("red", "green")


def write_model_of(path: Path, seed: int, **changes: Any) -> Path:
    torch.manual_seed(seed)
    network = build_network(load_model_config("tiny", class_names=CLASSES, changes={**SMALL, **changes}))
    save_checkpoint(path, network, {"terms": ["research"], "thresholds": {"red": seed}, "steps_done": seed})
    return path


def command(first: Path, second: Path, run: Path, output: Path, *shares: float) -> None:
    words = [str(first), str(second), "--held-back-of", str(run), "--output", str(output), "--shares"]
    main([*words, *map(str, shares)])


def test_weights_lie_between_and_the_header_says_where(
    config: TrainConfig, run_file: Callable[[TrainConfig], Path], tmp_path: Path
) -> None:
    first, second = (write_model_of(tmp_path / f"{seed}.safetensors", seed) for seed in (1, 2))
    command(first, second, run_file(config), tmp_path / "between.safetensors", 0.25)
    network, info = load_checkpoint(tmp_path / "between.safetensors")
    before, after = (load_checkpoint(path)[0].state_dict() for path in (first, second))
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():  # float16 on disk
            torch.testing.assert_close(tensor, 0.75 * before[name] + 0.25 * after[name], rtol=1e-3, atol=1e-6)
    origin = {"first": file_sha256(first), "second": file_sha256(second), "share": 0.25}
    assert info.metadata["interpolated"] == origin
    assert info.metadata["steps_done"] == 2
    assert info.terms == ("research",)
    assert "thresholds" not in info.metadata  # they were of the second's scores


def test_the_share_with_the_best_ap_is_written(
    config: TrainConfig, run_file: Callable[[TrainConfig], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (write_model_of(tmp_path / f"{seed}.safetensors", seed) for seed in (1, 2))
    precisions = iter([10.0, 30.0, 20.0])

    def validate(model: SpdaSam, sets: Mapping[str, Any]) -> dict[str, float]:
        precision = next(precisions)
        return {"mask_ap": precision, "mask_ap_agnostic": 40 - precision}

    monkeypatch.setattr(training.interpolate, "validate", validate)
    command(first, second, run_file(config), tmp_path / "best.safetensors", 0, 0.5, 1)
    metadata = load_checkpoint(tmp_path / "best.safetensors")[1].metadata
    assert (metadata["interpolated"]["share"], metadata["metrics"]["mask_ap"]) == (0.5, 30.0)


def test_checkpoints_of_different_models_are_refused(
    config: TrainConfig, run_file: Callable[[TrainConfig], Path], tmp_path: Path
) -> None:
    first = write_model_of(tmp_path / "first.safetensors", 1)
    second = write_model_of(tmp_path / "second.safetensors", 2, num_proposals=8)
    with pytest.raises(ValueError, match=r"differs from .* in num_proposals: give two checkpoints of one model"):
        command(first, second, run_file(config), tmp_path / "between.safetensors", 0.5)
    assert not (tmp_path / "between.safetensors").exists()


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_shares_beyond_the_two_are_refused(share: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command(tmp_path / "first", tmp_path / "second", tmp_path / "run.yaml", tmp_path / "output", share)
    assert f"--shares {share} must lie in [0, 1]" in capsys.readouterr().err
