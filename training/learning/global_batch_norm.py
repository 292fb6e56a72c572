"""Batch normalisation over the pictures of all processes: torch's own, `SyncBatchNorm`, refuses the CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.learning.distributed import gather


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` whose statistics in training are those of all processes, each with as many pictures."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        if not self.training:
            return super().forward(x)
        variance, mean = torch.var_mean(x.float(), dim=(0, 2, 3), correction=0)
        means, variances = gather(torch.stack([mean, variance])).unbind(dim=1)  # (W, C)
        mean = means.mean(dim=0)
        variance = (variances + (means - mean).square()).mean(dim=0)
        with torch.no_grad():
            count = len(means) * x.numel() / x.shape[1]
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        return (x.float() * scale[:, None, None] + shift[:, None, None]).to(x.dtype)


def normalise_over_processes(module: nn.Module) -> None:
    """Make every `nn.BatchNorm2d` in `module` a `GlobalBatchNorm2d`, with its weights, buffers and their names."""
    for layer in module.modules():
        if type(layer) is nn.BatchNorm2d:
            layer.__class__ = GlobalBatchNorm2d  # the same object: optimiser and state dict do not notice
