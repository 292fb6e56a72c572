"""What `benchmarks.peers` compares, and how many steps fit into its time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, Literal

from spda_sam_core.config import load_model_config
from spda_sam_core.settings import changed, load_settings, settings
from spda_sam_core.weights.files import write_whole
from training.learning.train_config import ANY_CLASS, TrainConfig, load_train_config

Kind = Literal["spda_sam", "mask_rcnn"]
TRIAL_STEPS = (10, 40)
"""Lengths of the two short runs that are timed: their difference knows nothing of how long the start takes."""


@settings
class Peer:
    """One network of the comparison.

    Attributes:
        name: folder name of its run.
        title: what the table calls it.
        network: SPDA-SAM, or torchvision's Mask R-CNN.
        model: fields of `ModelConfig` that differ from the base run's model; of SPDA-SAM only.
        train: fields of `TrainConfig` that differ from the base run.
    """

    name: str
    title: str
    network: Kind
    model: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.model and self.network != "spda_sam":
            raise ValueError(f"model {dict(self.model)} is read by spda_sam only, not by {self.network}: leave it out")


@settings
class Setup:
    """The comparison.

    Attributes:
        train: YAML of the run that all peers share.
        output: folder of the runs.
        warmup_share: share of its time in which the learning rate of a run rises.
        decay_share: share of its time in which it falls to 0, at the end.
        peers: the networks.
    """

    train: str
    output: str
    warmup_share: float
    decay_share: float
    peers: tuple[Peer, ...]

    def __post_init__(self) -> None:
        if min(self.warmup_share, self.decay_share) < 0 or self.warmup_share + self.decay_share > 1:
            raise ValueError(
                f"warmup_share {self.warmup_share} and decay_share {self.decay_share} must be at least 0, and "
                "together at most 1"
            )
        names = [peer.name for peer in self.peers]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"peers are named {names}: give at least one, and each its own name")

    def folder(self, peer: Peer) -> Path:
        """Where the run of a peer is."""
        return Path(self.output) / peer.name

    def config(self, peer: Peer) -> TrainConfig:
        """The run of a peer, its steps not yet those that fit into its time."""
        return changed(load_train_config(self.train), {**peer.train, "output": str(self.folder(peer))}, self.train)


def load_setup(path: Path) -> Setup:
    """Read a YAML file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an unknown or a missing key, no peer, two of one name, or one that cannot be.
    """
    setup = load_settings(Setup, path, "comparison")
    for peer in setup.peers:
        try:
            load_model_config(setup.config(peer).model, class_names=ANY_CLASS, changes=peer.model)
        except ValueError as error:
            raise ValueError(f"{path}, peer {peer.name}: {error}") from error
    return setup


def steps_within(seconds: float, short_s: float, long_s: float) -> int:
    """How many steps a run of this length has.

    Args:
        seconds: the length.
        short_s: seconds of a run of `TRIAL_STEPS[0]` steps, its start included.
        long_s: of one of `TRIAL_STEPS[1]` steps.

    Raises:
        ValueError: the longer run was not longer, or not even the trial would fit.
    """
    short, long = TRIAL_STEPS
    per_step = (long_s - short_s) / (long - short)
    if per_step <= 0:
        raise ValueError(
            f"{long} steps took {long_s:.1f} s, {short} took {short_s:.1f} s: time them on a calmer machine"
        )
    start = max(0.0, short_s - short * per_step)
    steps = int((seconds - start) / per_step)
    if steps < long:
        raise ValueError(
            f"{seconds:.0f} s are {steps} steps of {per_step:.2f} s, at least {long} are needed: give more"
        )
    return steps


def planned_steps(folder: Path, minutes: float, trial: Callable[[int], float]) -> int:
    """The steps of a run: those it began with, or else as many as fit by two timed runs; written to `plan.json`.

    Args:
        folder: of the run.
        minutes: its length.
        trial: trains this many steps and gives the seconds that took.

    Raises:
        ValueError: it began with another length; or as `steps_within`.
    """
    file = folder / "plan.json"
    if file.exists():
        plan = json.loads(file.read_text(encoding="utf-8"))
        check_minutes(file, plan["minutes"], minutes)
        return int(plan["steps"])
    short_s, long_s = (trial(steps) for steps in TRIAL_STEPS)
    steps = steps_within(60 * minutes, short_s, long_s)
    plan = {"minutes": minutes, "steps": steps, "trial_steps": TRIAL_STEPS, "trial_seconds": [short_s, long_s]}
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(file, (json.dumps(plan, indent=2) + "\n").encode())
    return steps


def check_minutes(file: Path, then: float, now: float) -> None:
    """Raise ValueError if what `file` tells of was given another time."""
    if then != now:
        raise ValueError(
            f"{file}: was given {then:g} minutes, not {now:g}: give --minutes {then:g}, or another --output"
        )
