"""What the depth head learns from: inverse depth as the network is shown it, and where there is any."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from spda_sam_core.network.layers import area_pool
from training.learning.distributed import normaliser

GRADIENT_WEIGHT = 0.5
"""Of the gradient matching loss, as in MiDaS."""
SEEN_WEIGHT = 0.2
"""Of the question whether anything is within sight."""


def depth_loss(depth_logits: Tensor | None, inverse_depth: Tensor, depth_valid: Tensor) -> Tensor:
    """Mean over the pictures with known depth; pictures without teach nothing.

    Inverse depth is normalised to each picture's own range already (`spda_sam_core.depth.normalisation`), so that no
    scale or offset has to be found.

    Args:
        depth_logits: (B, 2, h, h) of `DepthHead`; None: the network has none.
        inverse_depth: (B, 1, S, S) in [0, 1].
        depth_valid: (B, 1, S, S), 1 where known.
    """
    if depth_logits is None:
        return inverse_depth.new_zeros(())
    side = depth_logits.shape[-1]
    share = area_pool(depth_valid, side)[:, 0]  # (B, h, h)
    truth = area_pool(inverse_depth * depth_valid, side)[:, 0] / share.clamp(min=1e-3)
    known = share > 0.5
    near, seen = depth_logits.float().unbind(dim=1)
    residual = (near.sigmoid() - truth) * known
    pixels = known.sum(dim=(1, 2)).clamp(min=1)
    absolute = residual.abs().sum(dim=(1, 2)) / pixels
    asked = F.binary_cross_entropy_with_logits(seen, known.float(), reduction="none").mean(dim=(1, 2))
    has_depth = known.any(dim=2).any(dim=1).float()
    losses = absolute + GRADIENT_WEIGHT * gradient_loss(residual, known) + SEEN_WEIGHT * asked
    return (losses * has_depth).sum() / normaliser(has_depth.sum())


def gradient_loss(residual: Tensor, counts: Tensor, scales: int = 3) -> Tensor:
    """Mean absolute differences of neighbouring residuals, summed over scales (MiDaS, arXiv 1907.01341, equation 11).

    Edges of the prediction are thereby drawn to edges of the truth, and its smooth parts are kept smooth.

    Args:
        residual: (B, h, h), prediction minus truth.
        counts: (B, h, h) bool.
        scales: number of scales; each takes every other pixel of the one before.

    Returns:
        (B,); 0, with gradients of 0, where no pixel counts.
    """
    total = residual.new_zeros(len(residual))
    for scale in range(scales):
        step = 2**scale
        r, c = residual[:, ::step, ::step], counts[:, ::step, ::step]
        across = (r[:, :, 1:] - r[:, :, :-1]) * (c[:, :, 1:] & c[:, :, :-1])
        down = (r[:, 1:] - r[:, :-1]) * (c[:, 1:] & c[:, :-1])
        sums = across.abs().sum(dim=(1, 2)) + down.abs().sum(dim=(1, 2))
        total = total + sums / c.sum(dim=(1, 2)).clamp_min(1)
    return total
