"""kill -9 at any moment: no half-written file, no leftovers, and the run ends as if nothing had happened."""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from spda_sam_core.weights.checkpoint import load_checkpoint
from spda_sam_core.weights.files import appears_whole, remove_unfinished
from training.data.dataset import CocoRgbdDataset
from training.learning.train_config import TrainConfig, load_train_config
from training.learning.trainer import Trainer
from training.train import train

REPOSITORY = Path(__file__).resolve().parents[2]

DIES_WHILE_WRITING = """
import os, runpy, signal, sys
import {module}
calls, write = 0, {module}.{function}
def write_a_part(what, path, *more):
    global calls
    calls += 1
    write(what, path, *more)
    if calls == {call}:
        os.truncate(path, os.path.getsize(path) // 2)
        os.kill(os.getpid(), signal.SIGKILL)
{module}.{function} = write_a_part
runpy.run_path("training/train.py", run_name="__main__")
"""


def start(run_file: Path, folder: Path, *options: str, script: str | None = None) -> subprocess.Popen[bytes]:
    command = [sys.executable, *(["-c", script] if script else ["training/train.py"])]
    given = ["--config", str(run_file), "--output", str(folder), "--workers", "0", "--device", "cpu", "--threads", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen([*command, *given, *options], cwd=REPOSITORY, env=environment, stderr=subprocess.DEVNULL)


def new_trainer(config: TrainConfig, dataset: CocoRgbdDataset) -> Trainer:
    return Trainer(config, dataset, dataset, torch.device("cpu"))


def unfinished(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.startswith(".")]


def killed(process: subprocess.Popen[bytes]) -> bool:
    return process.wait(timeout=200) == -signal.SIGKILL


def test_a_run_that_is_killed_again_and_again_ends_as_if_it_had_never_been(
    config: TrainConfig, run_file: Callable[[TrainConfig], Path], dataset: CocoRgbdDataset, tmp_path: Path
) -> None:
    written = run_file(dataclasses.replace(config, steps=16, save_every=2, validate_every=6))
    config = load_train_config(written)
    folder = tmp_path / "killed"
    resume = folder / "resume.pt"

    def step_reached() -> int:
        return int(torch.load(resume, weights_only=True)["step"])

    # while it writes the file to resume from, of step 4
    script = DIES_WHILE_WRITING.format(module="torch", function="save", call=2)
    assert killed(start(written, folder, script=script))
    assert step_reached() == 2
    (left,) = unfinished(folder)
    assert left.name.startswith(".resume.pt.")

    # while it writes the model, after step 6
    script = DIES_WHILE_WRITING.format(module="safetensors.torch", function="save_file", call=1)
    assert killed(start(written, folder, "--resume", script=script))
    assert step_reached() == 6
    assert list(folder.glob("*.safetensors")) == []
    (left,) = unfinished(folder)  # what the first kill left is gone
    assert left.name.startswith(".spda_sam_tiny.safetensors.")

    # from outside, at some moment after the next file
    written_at = resume.stat().st_mtime_ns
    process = start(written, folder, "--resume")
    while resume.stat().st_mtime_ns == written_at and process.poll() is None:
        time.sleep(0.02)
    time.sleep(random.Random(0).uniform(0, 0.3))
    process.kill()
    assert killed(process)
    assert 8 <= step_reached() < 16

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        last = new_trainer(dataclasses.replace(config, output=str(folder)), dataset)
        last.resume()
        exported, _ = load_checkpoint(train(last))
        whole, _ = load_checkpoint(train(new_trainer(config, dataset)))
    finally:
        torch.set_num_threads(threads)
    assert unfinished(folder) == []
    of_killed, of_whole = (torch.load(path, weights_only=True) for path in (resume, tmp_path / "run/resume.pt"))
    for part in ("model", "average", "one_to_many"):
        different = [name for name, w in of_whole[part].items() if not torch.equal(w, of_killed[part][name])]
        assert different == []
    assert all(torch.equal(w, exported.state_dict()[name]) for name, w in whole.state_dict().items())
    moments = [state["optimiser"]["state"] for state in (of_killed, of_whole)]
    assert all(torch.equal(moments[0][i][key], moments[1][i][key]) for i in moments[0] for key in moments[0][i])


def test_only_what_dead_processes_left_is_removed(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / f".resume.pt.{ended.pid}").touch()
    for name in (".hidden", ".notes.txt", "resume.pt"):
        (tmp_path / name).touch()
    with appears_whole(tmp_path / "model.safetensors") as being_written:
        being_written.touch()
        remove_unfinished(tmp_path)
        kept = {path.name for path in tmp_path.iterdir()}
    assert kept == {".hidden", ".notes.txt", "resume.pt", being_written.name}
