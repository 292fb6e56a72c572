"""Losses for relative inverse depth, blind to its scale and offset.

Written after Ranftl et al., "Towards Robust Monocular Depth Estimation: Mixing Datasets for Zero-shot
Cross-dataset Transfer" (MiDaS), TPAMI 2022, arXiv 1907.01341: equations 6 to 8 (alignment by median and mean
absolute deviation) and 11 (multi-scale gradient matching).

Shapes: B pictures of H x W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

MINIMUM_RELATIVE_DEVIATION = 0.002
"""A picture whose inverse depth deviates less than this from its median is flat: it has nothing to teach."""


def median_and_deviation(values: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Robust offset and scale of each map (equation 6).

    Args:
        values: (B, H, W) float32.
        known: (B, H, W) bool, the pixels that count.

    Returns:
        The median and the mean absolute deviation from it, both (B, 1, 1); NaN where nothing is known.
    """
    inside = values.masked_fill(~known, torch.nan).flatten(1)
    median = inside.nanmedian(dim=1, keepdim=True).values
    deviation = (inside - median).abs().nanmean(dim=1, keepdim=True)
    return median[..., None], deviation[..., None]


def aligned_residual(
    prediction: Tensor, inverse_depth: Tensor, known: Tensor, far: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Difference of prediction and truth, each in units of its own deviation from its own median.

    Args:
        prediction: (B, H, W) float32, any positive scale and any offset.
        inverse_depth: (B, H, W) float32 in 1/m; ignored where not known.
        known: (B, H, W) bool.
        far: (B, H, W) bool, pixels without depth that are known to be open water. They are to lie with the
            farthest known pixel: at inverse depth 0 they would squeeze all relief out of a normalised map.

    Returns:
        The residual (B, H, W) float32, 0 where it does not count, and where it counts (B, H, W) bool. Nothing
        counts in a picture without depth or with a flat one.
    """
    true_median, true_deviation = median_and_deviation(inverse_depth, known)
    # NaN, of a picture without depth, compares False
    teaches = true_deviation > MINIMUM_RELATIVE_DEVIATION * true_median.abs()
    known = known & teaches
    # all pixels of a picture that does not teach: the gradient of an empty median is NaN, even times 0
    median, deviation = median_and_deviation(prediction, known | ~teaches)
    truth = (inverse_depth - true_median) / true_deviation
    counts = known
    if far is not None:
        farthest = truth.masked_fill(~known, torch.inf).amin(dim=(1, 2), keepdim=True)
        truth = torch.where(known, truth, farthest)
        counts = known | (far & teaches)
    residual = (prediction - median) / deviation.clamp_min(1e-6) - truth
    return torch.where(counts, residual, 0.0), counts


def absolute_loss(residual: Tensor, counts: Tensor) -> Tensor:
    """Mean absolute residual over the pixels that count, then over pictures (equation 7 with the L1 norm).

    Args:
        residual: (B, H, W) of `aligned_residual`.
        counts: (B, H, W) bool.

    Returns:
        Scalar; 0, with gradients of 0, if no pixel counts.
    """
    pixels = counts.sum(dim=(1, 2))
    per_picture = residual.abs().sum(dim=(1, 2)) / pixels.clamp_min(1)
    return per_picture.sum() / (pixels > 0).sum().clamp_min(1)


def gradient_loss(residual: Tensor, counts: Tensor, scales: int = 4) -> Tensor:
    """Mean absolute differences of neighbouring residuals, summed over scales (equation 11).

    Edges of the prediction are thereby drawn to edges of the truth, and its smooth parts are kept smooth.

    Args:
        residual: (B, H, W) of `aligned_residual`.
        counts: (B, H, W) bool.
        scales: number of scales; each takes every other pixel of the one before.

    Returns:
        Scalar; 0, with gradients of 0, if no pixel counts.
    """
    total = residual.new_zeros(())
    for scale in range(scales):
        step = 2**scale
        r, c = residual[:, ::step, ::step], counts[:, ::step, ::step]
        across = (r[:, :, 1:] - r[:, :, :-1]) * (c[:, :, 1:] & c[:, :, :-1])
        down = (r[:, 1:] - r[:, :-1]) * (c[:, 1:] & c[:, :-1])
        pixels = c.sum(dim=(1, 2))
        sums = across.abs().sum(dim=(1, 2)) + down.abs().sum(dim=(1, 2))
        total = total + (sums / pixels.clamp_min(1)).sum() / (pixels > 0).sum().clamp_min(1)
    return total
