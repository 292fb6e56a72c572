"""Measure estimated depth on pictures with known depth: a network's own estimate, or Depth Anything's.

python -m training.evaluate_depth --data config/data/rendered.yaml --split val --limit 100 --checkpoint tiny
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from tqdm import tqdm

from spda_sam_core.depth.estimators import DepthEstimator, Estimate
from spda_sam_core.depth.normalisation import normalise_depth, normalise_inverse_depth
from spda_sam_core.spda_sam import SpdaSam
from training.data.dataset import CocoRgbdDataset, open_split

MINIMUM_KNOWN = 0.02
"""Pictures with a smaller share of known depth are left out."""


def depth_metrics(inverse_depth: NDArray[np.float32], depth_m: NDArray[np.float32]) -> dict[str, float]:
    """Compare an estimate with the truth, where that is known.

    Args:
        inverse_depth: (H, W) float32 estimate of unknown scale and offset.
        depth_m: (H, W) float32 metres, NaN is unknown; something must be known.

    Returns:
        `abs_rel` (mean of |estimate - truth| / truth) and `delta1` (share of pixels within a factor of 1.25),
        after the offset and scale that fit best in the least squares sense in inverse depth (MiDaS' protocol),
        limited to the picture's own range of depth; `spearman`, the rank correlation of inverse depth, without
        any alignment, 0 where either is flat; `normalised_error`, the mean absolute difference of the two maps
        as the segmentation network would get them, in [0, 1].
    """
    known = np.isfinite(depth_m)
    truth = 1 / depth_m[known].astype(np.float64)
    estimate = inverse_depth[known].astype(np.float64)
    design = np.stack([estimate, np.ones_like(estimate)], axis=1)
    aligned = design @ np.linalg.lstsq(design, truth, rcond=None)[0]
    ratio = np.clip(aligned, truth.min(), truth.max()) / truth  # true depth over estimated depth
    seen = normalise_inverse_depth(np.where(known, inverse_depth, np.float32(np.nan))).inverse_depth
    wanted = normalise_depth(depth_m).inverse_depth
    return {
        "abs_rel": float(np.mean(np.abs(1 / ratio - 1))),
        "delta1": float(np.mean(np.maximum(ratio, 1 / ratio) < 1.25)),
        "spearman": _rank_correlation(estimate, truth),
        "normalised_error": float(np.mean(np.abs(seen - wanted)[known])),
    }


def _rank_correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    ranks_a, ranks_b = rankdata(a), rankdata(b)
    if ranks_a.std() == 0 or ranks_b.std() == 0:
        return 0.0
    return float(np.corrcoef(ranks_a, ranks_b)[0, 1])


def evaluate_depth(estimate: Estimate, dataset: CocoRgbdDataset) -> dict[str, float]:
    """Mean of `depth_metrics` over the pictures with depth, and `n_images`, how many those are.

    Raises:
        ValueError: no picture has depth.
    """
    rows = []
    for i in tqdm(range(len(dataset)), desc="evaluating depth", unit="image", leave=False):
        sample = dataset[i]
        if sample.depth_m is None or np.isfinite(sample.depth_m).mean() < MINIMUM_KNOWN:
            continue
        rows.append(depth_metrics(estimate(sample.rgb), sample.depth_m))
    if not rows:
        raise ValueError(f"{dataset.root}: none of {len(dataset)} pictures has depth: give a set with depth/")
    means = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
    return {"n_images": len(rows), **means}


def own_estimate(model: SpdaSam) -> Estimate:
    """The estimate that a network makes of a picture without depth.

    Returns:
        A function; it raises ValueError where the network makes none.
    """

    def estimate(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        (prediction,) = model.predict_batch([rgb])
        if prediction.depth is None:
            raise ValueError(f"preset '{model.preset}' estimates no depth of its own: give --estimator")
        return prediction.depth.inverse_depth

    return estimate


def constant(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The estimate of one who knows nothing: everything equally far."""
    return np.ones(rgb.shape[:2], np.float32)


def vertical_gradient(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The estimate of one who knows sea floors only: what is lower is nearer."""
    rows = np.linspace(0, 1, rgb.shape[0], dtype=np.float32)
    return np.repeat(rows[:, None], rgb.shape[1], axis=1)


def main(arguments: list[str] | None = None) -> None:
    """Measure estimated depth, beside two estimates that do not look at the picture."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True, help="YAML such as config/data/rendered.yaml")
    parser.add_argument("--split", default="val", help="name of a split in that file (default: val)")
    parser.add_argument("--limit", type=int, help="only the first LIMIT pictures")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--checkpoint", help="what the network of this checkpoint estimates: a file, or a preset")
    source.add_argument("--estimator", help="Depth Anything V2: its .pth file, or a folder of transformers")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    options = parser.parse_args(arguments)
    if options.checkpoint is not None:
        estimate = own_estimate(SpdaSam.from_pretrained(options.checkpoint, device=options.device))
    else:
        estimate = DepthEstimator.from_pretrained(options.estimator, torch.device(options.device)).estimate
    dataset = open_split(options.data, options.split, limit=options.limit)
    candidates: dict[str, Estimate] = {
        options.checkpoint or options.estimator: estimate,
        "constant": constant,
        "vertical_gradient": vertical_gradient,
    }
    results = {name: evaluate_depth(candidate, dataset) for name, candidate in candidates.items()}
    for name, row in results.items():
        print(name, " ".join(f"{key} {value:.3f}" for key, value in row.items()))
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    cv2.setNumThreads(1)
    main()
