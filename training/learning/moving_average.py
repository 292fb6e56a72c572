"""The exponential moving average of a model's weights: steadier than the last step's, measured and exported instead."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from spda_sam_core.network.network import SpdaSamNetwork
from spda_sam_core.weights.official_weights import load_trained_state, trained_state


class MovingAverage:
    """Average of what is trained of a model, weights and running statistics; a frozen base is not copied.

    Args:
        model: the model at the beginning.
        decay: share of the average that a step keeps. Early steps keep less, (1 + n) / (10 + n) after n of them: the
            first weights are soon forgotten.
    """

    def __init__(self, model: SpdaSamNetwork, decay: float) -> None:
        self.decay = decay
        self.weights = {name: tensor.detach().clone() for name, tensor in trained_state(model).items()}

    @torch.no_grad()
    def update(self, model: SpdaSamNetwork, steps_done: int) -> None:
        """Take in the weights after a step."""
        keep = min(self.decay, (1 + steps_done) / (10 + steps_done))
        for name, tensor in trained_state(model).items():
            if tensor.is_floating_point():
                self.weights[name].lerp_(tensor, 1 - keep)
            else:
                self.weights[name].copy_(tensor)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Go on from the `weights` of another average of the same model."""
        for name, tensor in self.weights.items():
            tensor.copy_(weights[name])

    @contextmanager
    def inside(self, model: SpdaSamNetwork) -> Iterator[None]:
        """The model with the averaged weights; its own come back afterwards."""
        own = {name: tensor.detach().clone() for name, tensor in trained_state(model).items()}
        load_trained_state(model, self.weights)
        try:
            yield
        finally:
            load_trained_state(model, own)
