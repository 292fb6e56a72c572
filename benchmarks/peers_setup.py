"""What `benchmarks.peers` compares: the networks, and the run of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, Literal

from spda_sam_core.settings import changed, load_settings, settings
from training.learning.train_config import ANY_CLASS, TrainConfig, load_train_config

Kind = Literal["spda_sam", "mask_rcnn"]


@settings
class Peer:
    """One network of the comparison.

    Attributes:
        name: folder name of its run.
        title: what the table calls it.
        network: SPDA-SAM, or torchvision's Mask R-CNN.
        model: fields of `ModelConfig` that differ from the base run's model, of SPDA-SAM only; its size is that of
            `train`.
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
        pictures: training pictures that each network sees, every showing of a picture counted.
        warmup_share: share of a run's steps in which its learning rate rises.
        decay_share: share of its steps in which it falls to 0, at the end.
        peers: the networks.
    """

    train: str
    output: str
    pictures: int
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
        """The run of a peer.

        Raises:
            ValueError: `pictures` is no multiple of its batch, or a value that cannot be.
        """
        config = changed(load_train_config(self.train), {**peer.train, "output": str(self.folder(peer))}, self.train)
        steps, rest = divmod(self.pictures, config.batch_size)
        if steps < 1 or rest:
            raise ValueError(
                f"pictures {self.pictures} must be a multiple of batch_size {config.batch_size}, at least that"
            )
        rise, fall = (int(share * steps) for share in (self.warmup_share, self.decay_share))
        # validation is no part of training, and nothing is chosen by it
        return dataclasses.replace(config, steps=steps, warmup_steps=rise, decay_steps=fall, validate_every=steps)


def load_setup(path: Path, changes: Mapping[str, Any] | None = None) -> Setup:
    """Read a YAML file.

    Args:
        path: the file.
        changes: fields to take in place of the file's.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an unknown or a missing key, no peer, two of one name, or one that cannot be.
    """
    setup = changed(load_settings(Setup, path, "comparison"), changes or {}, str(path))
    for peer in setup.peers:
        try:
            setup.config(peer).model_config(ANY_CLASS, peer.model)
        except ValueError as error:
            raise ValueError(f"{path}, peer {peer.name}: {error}") from error
    return setup
