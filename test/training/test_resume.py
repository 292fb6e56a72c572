"""A run goes on where it stopped, with what may change and nothing else."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from training.data.dataset import CocoRgbdDataset
from training.learning.train_config import TrainConfig
from training.learning.trainer import Trainer
from training.train import main, train


def new_trainer(config: TrainConfig, dataset: CocoRgbdDataset) -> Trainer:
    return Trainer(config, dataset, dataset, torch.device("cpu"))


def test_resuming_is_the_same_as_never_having_stopped(
    config: TrainConfig, dataset: CocoRgbdDataset, tmp_path: Path
) -> None:
    train(new_trainer(config, dataset))
    whole = torch.load(tmp_path / "run/resume.pt", weights_only=True)
    again = dataclasses.replace(config, output=str(tmp_path / "again"))
    stopped = new_trainer(again, dataset)
    batches = stopped.batches(workers=0)
    for _ in range(4):  # the last step is lost: the file is of step 3
        stopped.run_step(next(batches))
        if stopped.step == 3:
            stopped.save()
    resumed = new_trainer(again, dataset)
    resumed.resume()
    assert resumed.step == 3
    train(resumed)
    pieces = torch.load(tmp_path / "again/resume.pt", weights_only=True)
    assert pieces["step"] == whole["step"] == 6
    for name, weight in whole["model"].items():
        assert torch.equal(weight, pieces["model"][name]), name
        assert torch.equal(whole["average"][name], pieces["average"][name]), name


def test_resuming_needs_a_checkpoint_of_the_same_configuration(config: TrainConfig, dataset: CocoRgbdDataset) -> None:
    with pytest.raises(FileNotFoundError, match=r"resume\.pt: nothing to resume: start without --resume"):
        new_trainer(config, dataset).resume()
    new_trainer(config, dataset).save()
    with pytest.raises(ValueError, match=r"configuration changed \(learning_rate 0.0008 -> 0.1\)"):
        new_trainer(dataclasses.replace(config, learning_rate=0.1), dataset).resume()


def test_a_run_goes_on_with_more_steps_in_another_folder_as_if_it_had_been_planned_so(
    config: TrainConfig, dataset: CocoRgbdDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(new_trainer(config, dataset))
    short = dataclasses.replace(config, output=str(tmp_path / "first"), steps=4)
    stopped = new_trainer(short, dataset)
    batches = stopped.batches(workers=0)
    for _ in range(3):  # before the rate would fall
        stopped.run_step(next(batches))
    stopped.save()
    (tmp_path / "first").rename(tmp_path / "moved")
    longer = dataclasses.replace(config, output=str(tmp_path / "moved"), validate_every=4)
    resumed = new_trainer(longer, dataset)
    resumed.resume()
    told = capsys.readouterr().out
    for change in (f"output {tmp_path / 'first'} -> {tmp_path / 'moved'}", "steps 4 -> 6", "validate_every 100 -> 4"):
        assert change in told
    assert "going on from step 3 with" in told
    train(resumed)
    one, other = (torch.load(tmp_path / name / "resume.pt", weights_only=True) for name in ("run", "moved"))
    for key, weights in one["model"].items():
        assert torch.equal(weights, other["model"][key]), key


def test_the_command_goes_on_in_another_folder_from_that_of_the_configuration(
    config: TrainConfig, tmp_path: Path, run_file: Callable[[TrainConfig], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = run_file(dataclasses.replace(config, steps=2, warmup_steps=1))
    command = ["--config", str(path), "--device", "cpu", "--workers", "0"]
    main(command)
    before = (tmp_path / "run" / "resume.pt").read_bytes()
    run_file(dataclasses.replace(config, steps=3, warmup_steps=1))
    main([*command, "--output", str(tmp_path / "other"), "--resume"])
    assert f"{tmp_path / 'run' / 'resume.pt'}: going on from step 2 with " in capsys.readouterr().out
    assert (tmp_path / "run" / "resume.pt").read_bytes() == before
    assert torch.load(tmp_path / "other" / "resume.pt", weights_only=True)["step"] == 3


def test_fewer_steps_than_are_made_are_refused(config: TrainConfig, dataset: CocoRgbdDataset) -> None:
    trainer = new_trainer(config, dataset)
    trainer.step = 5
    trainer.save()
    resumed = new_trainer(dataclasses.replace(config, steps=4), dataset)
    with pytest.raises(ValueError, match=r"resume\.pt: 5 steps are made, more than steps 4: write 5 or more"):
        resumed.resume()


def test_an_earlier_run_is_not_written_over(config: TrainConfig, dataset: CocoRgbdDataset, tmp_path: Path) -> None:
    train(new_trainer(config, dataset))
    before = (tmp_path / "run/resume.pt").read_bytes()
    with pytest.raises(FileExistsError, match=r"an earlier run is in this folder.* --resume.* or delete .*run"):
        train(new_trainer(dataclasses.replace(config, seed=1), dataset))
    assert (tmp_path / "run/resume.pt").read_bytes() == before


def test_a_file_from_before_a_field_was_there_counts_as_its_default(
    config: TrainConfig, dataset: CocoRgbdDataset, tmp_path: Path
) -> None:
    new_trainer(config, dataset).save()
    path = tmp_path / "run/resume.pt"
    state = torch.load(path, weights_only=True)
    before = {key: value for key, value in json.loads(state["config"]).items() if key != "accumulate"}
    torch.save({**state, "config": json.dumps(before)}, path)
    new_trainer(config, dataset).resume()
    with pytest.raises(ValueError, match=r"configuration changed \(accumulate 1 -> 3\)"):
        new_trainer(dataclasses.replace(config, accumulate=3), dataset).resume()
