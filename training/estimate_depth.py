"""Estimate the depth of pictures that have none, once; training and evaluation then read it.

python -m training.estimate_depth --data config/data/usis10k.yaml --split train --estimator depth_anything_v2_vits.pth

The YAML of the data then names the estimator, and all that read the data read its estimates:
`depth_estimator: depth_anything_v2_vits.pth`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from tqdm import tqdm

from spda_sam_core.depth.estimators import DepthEstimator, Estimate
from training.data.dataset import CocoRgbdDataset, open_split
from training.data.depth_cache import begin_cache, write_cached


def estimate_missing(dataset: CocoRgbdDataset, estimate: Estimate) -> int:
    """Estimate what has neither a depth image nor a cached estimate. Stop it at any time: it goes on where it was.

    Args:
        dataset: the pictures; it must have a cache.
        estimate: (H, W, 3) uint8 to (H, W) relative inverse depth.

    Returns:
        How many pictures were estimated now.
    """
    without = [i for i in range(len(dataset)) if dataset.depth_file(i) is None]
    missing = []
    for index in without:
        path = dataset.cached_path(index)
        assert path is not None
        if not path.exists():
            missing.append((index, path))
    done = len(without) - len(missing)
    with tqdm(total=len(without), initial=done, desc="estimating depth", unit="image") as bar:
        for index, path in missing:
            write_cached(path, estimate(dataset.rgb(index)))
            bar.update()
    return len(missing)


def main(arguments: list[str] | None = None) -> None:
    """Estimate the depth of the pictures of a split that have none, and keep it next to the data."""
    parser = argparse.ArgumentParser(
        description=main.__doc__, epilog="Stop it at any time: the same command goes on where it was."
    )
    parser.add_argument("--data", type=Path, required=True, help="YAML such as config/data/usis10k.yaml")
    parser.add_argument("--split", default="train", help="name of a split in that file (default: train)")
    parser.add_argument("--limit", type=int, help="only the first LIMIT pictures")
    parser.add_argument("--estimator", required=True, help="Depth Anything V2: .pth file or folder")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(arguments)
    estimator = DepthEstimator.from_pretrained(options.estimator, torch.device(options.device))
    dataset = open_split(options.data, options.split, limit=options.limit)
    dataset.cache = begin_cache(dataset.root, options.estimator)
    count = estimate_missing(dataset, estimator.estimate)
    print(f"{count} pictures estimated, kept in {dataset.cache}")
    print(f"they are read where {options.data} says depth_estimator: {options.estimator}")


if __name__ == "__main__":
    main()
