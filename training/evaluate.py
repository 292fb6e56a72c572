"""Measure a model on a labelled set: COCO average precision of masks and boxes, by class and by size.

python training/evaluate.py --data config/data/rendered.yaml --split val --checkpoint tiny --report report/
"""

from __future__ import annotations

import argparse
import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from tqdm import tqdm

from spda_sam_core.results.instances import Instances
from spda_sam_core.spda_sam import SpdaSam
from spda_sam_core.weights.files import write_whole
from training.data.dataset import CocoRgbdDataset, Sample, open_split
from training.learning.run_files import current_commit
from training.measuring.coco_metrics import coco_metrics, metrics_of_runs, run_cocoeval
from training.measuring.metrics_table import class_table, overall_table

DepthMode = Literal["true", "estimated", "none"]

SCORE_THRESHOLD = 0.001
"""Average precision wants the whole curve; below this there is nothing but ballast."""
GPU_BATCH_SIZE = 4
WORKERS = 2
"""Threads; one can read while the other encodes."""


class PredictedSet(NamedTuple):
    """What a model finds in a data set.

    Attributes:
        results: COCO results with mask (RLE), box and the category ids of the data, picture by picture, best first.
        conditions: depth, depth_holes, checkpoint_sha256, score_threshold, and images_per_second: pictures over
            the time from the first read to the last mask encoded. Average precision is computed afterwards.
    """

    results: list[dict[str, Any]]
    conditions: dict[str, Any]


def evaluate(
    model: SpdaSam,
    dataset: CocoRgbdDataset,
    depth_mode: DepthMode = "true",
    *,
    depth_holes: float = 0.0,
    batch_size: int | None = None,
    workers: int = WORKERS,
) -> dict[str, Any]:
    """Predict every picture and compare with the labels.

    Args:
        model: the model to measure.
        dataset: the labelled pictures, with the model's classes in the model's order.
        depth_mode: see `predict`.
        depth_holes: see `predict`.
        batch_size: see `predict`.
        workers: see `predict`.

    Returns:
        What `coco_metrics` gives, and the conditions of `PredictedSet`.

    Raises:
        ValueError: as `predict`.
    """
    results, conditions = predict(
        model, dataset, depth_mode, depth_holes=depth_holes, batch_size=batch_size, workers=workers
    )
    return {**coco_metrics(dataset.coco, results, dataset.image_ids), **conditions}


def predict(
    model: SpdaSam,
    dataset: CocoRgbdDataset,
    depth_mode: DepthMode = "true",
    *,
    depth_holes: float = 0.0,
    batch_size: int | None = None,
    workers: int = WORKERS,
) -> PredictedSet:
    """Find the instances in every picture.

    Args:
        model: the model.
        dataset: the pictures, with the model's classes in the model's order.
        depth_mode: what the network sees: the depth of the data set, metric or relative, or its cached estimate where
            it has none; an estimate; or nothing.
        depth_holes: share of the pixels, chosen at random, whose true depth is made unknown.
        batch_size: pictures that go through the network together, whatever their sizes; None: 1 on the CPU, where
            more are no faster, else 4.
        workers: threads that read pictures ahead and encode masks while the network runs.

    Returns:
        The same, up to the rounding of larger sums, for every batch size and number of workers.

    Raises:
        ValueError: classes that differ, a depth mode without its depth, an unknown mode, holes in no true depth, or
            a batch size or number of workers below 1.
    """
    _check(model, dataset, depth_mode, depth_holes)
    if batch_size is None:
        batch_size = 1 if model.runtime.device == "cpu" else GPU_BATCH_SIZE
    if batch_size < 1 or workers < 1:
        raise ValueError(f"batch_size {batch_size} and workers {workers} must be at least 1")
    read = partial(_read, dataset, depth_mode, depth_holes)
    encoding: list[Future[list[dict[str, Any]]]] = []
    start = time.perf_counter()
    with (
        ThreadPoolExecutor(workers) as pool,
        tqdm(total=len(dataset), desc=f"evaluating, depth {depth_mode}", unit="image") as bar,
    ):
        samples = _read_ahead(pool, read, len(dataset), batch_size + workers)
        while batch := list(islice(samples, batch_size)):
            predictions = model.predict_batch(
                [sample.rgb for sample in batch],
                [sample.depth_m for sample in batch],
                relative_inverse_depths=[sample.relative_inverse_depth for sample in batch],
                score_threshold=SCORE_THRESHOLD,
                estimate_depth=depth_mode == "estimated",
            )
            for sample, prediction in zip(batch, predictions, strict=True):
                encoding.append(pool.submit(coco_results, prediction.instances, sample.image_id, dataset.category_ids))
            bar.update(len(batch))
        results = [result for picture in encoding for result in picture.result()]
    return PredictedSet(
        results,
        {
            "depth": depth_mode,
            "depth_holes": depth_holes,
            "checkpoint_sha256": model.checkpoint_sha256,
            "score_threshold": SCORE_THRESHOLD,
            "images_per_second": len(dataset) / (time.perf_counter() - start),
        },
    )


def _check(model: SpdaSam, dataset: CocoRgbdDataset, depth_mode: DepthMode, depth_holes: float) -> None:
    if depth_mode not in get_args(DepthMode):
        raise ValueError(f"depth mode '{depth_mode}': choose one of {', '.join(get_args(DepthMode))}")
    if model.class_names != dataset.class_names:
        raise ValueError(
            f"the model's classes {model.class_names} are not those of the data {dataset.class_names}: "
            "evaluate on data with the same classes, in the same order"
        )
    if depth_mode == "estimated" and not model.estimates_depth:
        raise ValueError("depth mode 'estimated' needs a network that reads depth: this one does not")
    if not 0 <= depth_holes <= (1 if depth_mode == "true" else 0):
        raise ValueError(f"depth_holes {depth_holes} must lie in 0..1, and need depth mode 'true', not '{depth_mode}'")


def _read_ahead(pool: Executor, read: Callable[[int], Sample], count: int, ahead: int) -> Iterator[Sample]:
    """Samples 0 .. count - 1 in order; `ahead` of them are being read or wait to be asked for."""
    reading = (pool.submit(read, index) for index in range(count))  # submitted when asked for
    waiting = deque(islice(reading, ahead))
    while waiting:
        sample = waiting.popleft().result()
        waiting.extend(islice(reading, 1))
        yield sample


def _read(dataset: CocoRgbdDataset, depth_mode: DepthMode, depth_holes: float, index: int) -> Sample:
    """Picture `index` with the depth that the model is given."""
    sample = dataset[index]
    if depth_mode != "true":
        return replace(sample, depth_m=None, relative_inverse_depth=None)
    if sample.depth_m is None and sample.relative_inverse_depth is None:
        raise ValueError(
            f"{sample.file_name} has no depth: choose depth mode 'estimated' or 'none', or estimate it once with "
            "python -m training.estimate_depth"
        )
    if depth_holes == 0:
        return sample
    unknown = np.random.default_rng(sample.image_id).random(sample.rgb.shape[:2]) < depth_holes
    depth_m, relative = (
        None if depth is None else np.where(unknown, np.float32(np.nan), depth)
        for depth in (sample.depth_m, sample.relative_inverse_depth)
    )
    return replace(sample, depth_m=depth_m, relative_inverse_depth=relative)


def coco_results(instances: Instances, image_id: int, category_ids: Sequence[int]) -> list[dict[str, Any]]:
    """What was found in a picture as COCO results, with the category ids of the data."""
    return [
        {**result, "category_id": category_ids[result["category_id"] - 1]} for result in instances.to_coco(image_id)
    ]


def main(arguments: list[str] | None = None) -> None:
    """Measure a checkpoint on a split of a data set: print COCO average precision, and write a report."""
    parser = argparse.ArgumentParser(
        description=main.__doc__,
        epilog="The report: report.md to read, metrics.json, results.json and labels.json for pycocotools, "
        "precision-recall curves, and the best and the worst pictures.",
    )
    parser.add_argument("--data", type=Path, required=True, help="YAML such as config/data/rendered.yaml")
    parser.add_argument("--split", default="val", help="name of a split in that file (default: val)")
    parser.add_argument("--checkpoint", default="tiny", help="a file, or the preset of a shipped one")
    parser.add_argument("--depth", choices=get_args(DepthMode), default="true", help="what the network sees")
    parser.add_argument("--depth-holes", type=float, default=0.0, help="share of true depth to make unknown, 0..1")
    parser.add_argument("--depth-estimator", default="tiny", help="file or name: its estimates, cached or new")
    parser.add_argument("--limit", type=int, help="only the first LIMIT pictures")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--batch-size",
        type=int,
        help="pictures that go through the network together, fewer where memory runs out (default: 1 on the CPU, else "
        f"{GPU_BATCH_SIZE})",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=WORKERS,
        help="threads that read and encode while the network runs (default: %(default)s)",
    )
    parser.add_argument("--report", type=Path, help="folder for the report, metrics.json included")
    parser.add_argument("--json", type=Path, help="write the numbers alone to this file")
    options = parser.parse_args(arguments)
    model = SpdaSam.from_pretrained(
        options.checkpoint,
        device=options.device,
        depth_estimator=options.depth_estimator if options.depth == "estimated" else None,
    )
    dataset = open_split(options.data, options.split, limit=options.limit, depth_estimator=options.depth_estimator)
    results, conditions = predict(
        model,
        dataset,
        options.depth,
        depth_holes=options.depth_holes,
        batch_size=options.batch_size,
        workers=options.workers,
    )
    runs = run_cocoeval(dataset.coco, results, dataset.image_ids)
    metrics = {
        **metrics_of_runs(runs),
        **conditions,
        "checkpoint": options.checkpoint,
        "data": str(options.data),
        "split": options.split,
        "device": options.device,
        "commit": current_commit(),
    }
    print(overall_table(metrics), class_table(metrics), sep="\n\n")
    print(f"\n{metrics['n_images']} pictures, {metrics['images_per_second']:.2f} per second")
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        write_whole(options.json, (json.dumps(metrics, indent=2) + "\n").encode())
    if options.report is not None:
        # here, because it draws with matplotlib, which training does without
        from training.measuring.report import write_report

        print(write_report(options.report, dataset, results, runs, metrics))


if __name__ == "__main__":
    main()
