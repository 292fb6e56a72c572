"""Begin a run with the weights of a finished one: the shipped model on own pictures, or a changed model."""

from __future__ import annotations

from typing import NamedTuple

import torch

from spda_sam_core.network.network import SpdaSamNetwork
from spda_sam_core.weights.checkpoint import load_checkpoint
from spda_sam_core.weights.official_weights import trained_state

_CLASS_ROWS = "proposal_head.classes."
"""Of the last class convolution, the only weights with one row per class."""


class Taken(NamedTuple):
    """What a run begins with.

    Attributes:
        summary: what was taken and what was not, for people.
        terms: of use, which go on to what the run makes of these weights.
    """

    summary: str
    terms: tuple[str, ...]


@torch.no_grad()
def take_fitting_weights(model: SpdaSamNetwork, checkpoint: str) -> Taken:
    """Put every weight of a checkpoint into `model` that it has by the same name and in the same shape.

    Classes are told by their names: rows of the class head move to the places of their names, those of new classes stay
    as they are.

    Args:
        model: the model to begin with.
        checkpoint: a file, or the preset of a shipped one.

    Raises:
        CheckpointError: what `load_checkpoint` raises.
        ValueError: another encoder, which leaves hardly anything to take.
    """
    source, info = load_checkpoint(checkpoint)
    if info.config.encoder != model.config.encoder:
        raise ValueError(
            f"init_from {checkpoint} has encoder '{info.config.encoder}', the model has '{model.config.encoder}': "
            f"give a checkpoint with the same one"
        )
    theirs, left = source.state_dict(), []
    shared = [name for name in model.config.class_names if name in info.config.class_names]
    rows, their_rows = (
        torch.tensor([names.index(name) for name in shared], dtype=torch.long)
        for names in (model.config.class_names, info.config.class_names)
    )
    for name, tensor in trained_state(model).items():
        if name.startswith(_CLASS_ROWS):
            tensor[rows.to(tensor.device)] = theirs[name][their_rows].to(tensor.device)
        elif name in theirs and theirs[name].shape == tensor.shape:
            tensor.copy_(theirs[name])
        else:
            left.append(name)
    new = len(model.config.class_names) - len(shared)
    of_which = f", {new} of {len(model.config.class_names)} classes are new" if new else ""
    missing = f"; {len(left)} weights are not in it, such as {left[0]}" if left else ""
    return Taken(f"begins with {info.path}{of_which}{missing}", info.terms)
