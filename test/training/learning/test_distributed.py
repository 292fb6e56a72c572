"""Several processes train as one does, and a run may go on with another number of them."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from training.data.dataset import CocoRgbdDataset
from training.learning import distributed, losses
from training.learning.distributed import share_of_batch
from training.learning.train_config import TrainConfig, load_train_config
from training.learning.trainer import Trainer
from training.train import train

REPOSITORY = Path(__file__).resolve().parents[3]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]

FOUR_STEPS_IN_DOUBLE_PRECISION = """
import sys
import numpy as np
import torch
from torch.overrides import TorchFunctionMode
from training.data.batches import Batch
from training.data.training_data import open_training_data
from training.learning.distributed import is_first, joined_processes
from training.learning.train_config import load_train_config
from training.learning import trainer as trainer_module
from training.learning.trainer import Trainer

# the numbers that it begins with do not matter, and reading them goes by their type
trainer_module.load_imagenet = lambda encoder, name: None

class Double(TorchFunctionMode):  # float32 wherever it is asked for becomes float64
    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.Tensor.float:
            function = torch.Tensor.double
        args = [torch.float64 if a is torch.float32 else a for a in args]
        kwargs = {k: torch.float64 if v is torch.float32 else v for k, v in (kwargs or {}).items()}
        return function(*args, **kwargs)

torch.set_default_dtype(torch.float64)
config = load_train_config(sys.argv[1])
data = open_training_data(config)
with joined_processes("cpu") as device, Double():
    trainer = Trainer(config, data.train, data.validation, device)
    batches, seen = trainer.batches(workers=0), {}
    for step in range(4):
        batch = next(batches)
        doubled = {name: getattr(batch, name).double() for name in Batch._fields[:6]}
        batch = batch._replace(**doubled, boxes_xyxy=[boxes.double() for boxes in batch.boxes_xyxy])
        for name, value in trainer.run_step(batch).items():
            seen[f"loss {name}, step {step}"] = value
        for module in (trainer.model, trainer.one_to_many):
            for name, parameter in module.named_parameters():
                if parameter.requires_grad:
                    seen[f"gradient {type(module).__name__} {name}, step {step}"] = parameter.grad.numpy().copy()
    for name, tensor in trainer.model.state_dict().items():
        seen[f"model {name}"] = tensor.numpy()
    for name, tensor in trainer.average.weights.items():
        seen[f"average {name}"] = tensor.numpy()
    if is_first():
        np.savez(sys.argv[2], **seen)
"""


def start(*command: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(
        [str(part) for part in command],
        env=environment,
        cwd=REPOSITORY,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def finished(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate()
    assert process.returncode == 0, output
    return output


def test_two_processes_see_the_losses_gradients_and_statistics_of_one(
    config: TrainConfig, run_file: Callable[[TrainConfig], Path], dataset: CocoRgbdDataset, tmp_path: Path
) -> None:
    labels = dataset.root / "annotations.json"
    document = json.loads(labels.read_text(encoding="utf-8"))
    # as many instances in every picture would hide a number that is of one process only
    document["annotations"] = [a for a in document["annotations"] if a["image_id"] not in (1, 4) or a["id"] % 8 == 1]
    labels.write_text(json.dumps(document), encoding="utf-8")
    written = run_file(dataclasses.replace(config, steps=4, batch_size=8, accumulate=2))
    # nor would a number of masks that are judged, if every thing were labelled in all pictures
    entries = yaml.safe_load(written.read_text(encoding="utf-8"))
    whole = {"data": entries["data"], "split": "train", "complete": True, "held_back": 0.2}
    partly = {"data": entries["data"], "split": "val", "labels": ["red"]}
    written.write_text(yaml.safe_dump({**entries, "data": [whole, partly]}), encoding="utf-8")
    script = tmp_path / "four_steps.py"
    script.write_text(FOUR_STEPS_IN_DOUBLE_PRECISION, encoding="utf-8")
    results = tmp_path / "one.npz", tmp_path / "two.npz"
    both = (
        start(sys.executable, script, written, results[0]),
        start(*TORCHRUN, script, written, results[1]),
    )
    for process in both:
        finished(process)
    one, two = (np.load(path) for path in results)
    assert set(one) == set(two)
    # in single precision rounding alone moves the gradients of this small network by 1e-4
    different = [name for name in one if not np.allclose(one[name], two[name], rtol=1e-8, atol=1e-10)]
    assert different == []


def test_a_run_of_two_processes_goes_on_in_one_and_writes_each_file_once(
    config: TrainConfig, run_file: Callable[[TrainConfig], Path], dataset: CocoRgbdDataset, tmp_path: Path
) -> None:
    written = run_file(dataclasses.replace(config, batch_size=4))
    options = ["--device", "cpu", "--workers", "0", "--max-minutes", "0"]
    output = finished(start(*TORCHRUN, "training/train.py", "--config", written, *options))
    assert output.count("million weights are trained") == output.count("step 1 {") == 1
    assert len(list((tmp_path / "run/tensorboard").iterdir())) == 1
    trainer = Trainer(load_train_config(written), dataset, dataset, torch.device("cpu"))
    trainer.resume()
    assert trainer.step == 1
    assert train(trainer) == tmp_path / "run/spda_sam_tiny.safetensors"
    assert trainer.step == config.steps


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_micro_batch_holds_the_same_pictures_however_many_processes_share_it(
    count: int, accumulate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed, "process_count", lambda: count)
    pieces: list[list[int]] = [[] for _ in range(accumulate)]
    for index in range(count):
        monkeypatch.setattr(distributed, "process_index", lambda index=index: index)
        share = share_of_batch(24, accumulate)
        assert len(share) * count == 24
        for piece, own in zip(pieces, np.split(np.array(share), accumulate), strict=True):
            piece += own.tolist()
    whole = np.arange(24).reshape(accumulate, -1).tolist()
    assert pieces == whole


def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "process_count", lambda: 3)
    with pytest.raises(ValueError, match=r"batch_size 8 cannot be shared .* by 3 processes .* multiple of 6"):
        share_of_batch(8, accumulate=2)


def test_one_gpu_is_not_for_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(ValueError, match="device 'cuda:1' under torchrun: use 'cuda'"):
        distributed.joined_processes("cuda:1").__enter__()


def test_micro_batches_give_the_mean_of_their_losses_and_gradients(
    config: TrainConfig, dataset: CocoRgbdDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    # all that is decoded is matched one to one, and no mask is displaced, so chance has no say
    monkeypatch.setattr(losses, "DISPLACED", 0.0)
    plain = dataclasses.replace(config, batch_size=2, decoded_per_image=2, clip_gradient=1e9)

    def learn(config: TrainConfig, step: int) -> tuple[float, list[torch.Tensor]]:
        trainer = Trainer(config, dataset, dataset, torch.device("cpu"))
        trainer.step = step
        total = trainer.run_step(next(trainer.batches(workers=0)))["total"]
        return total, [p.grad for p in trainer.model.parameters() if p.grad is not None]

    both, gradients = learn(dataclasses.replace(plain, batch_size=4, accumulate=2), step=0)
    first, of_first = learn(plain, step=0)
    second, of_second = learn(plain, step=1)
    assert both == pytest.approx((first + second) / 2, rel=1e-5)
    for together, one, other in zip(gradients, of_first, of_second, strict=True):
        torch.testing.assert_close(together, (one + other) / 2, rtol=1e-4, atol=1e-5)


def test_a_batch_that_no_micro_batches_make_is_refused(config: TrainConfig) -> None:
    with pytest.raises(ValueError, match="batch_size 3 must be a multiple of accumulate 2"):
        dataclasses.replace(config, accumulate=2)
