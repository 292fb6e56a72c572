"""What a model finds in the pictures of a data set, read ahead and encoded in threads."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from tqdm import tqdm

from spda_sam_core.preprocess import Letterbox
from spda_sam_core.results.instances import Instances
from spda_sam_core.runtimes.runtime import RawOutput, Runtime
from spda_sam_core.spda_sam import SpdaSam
from training.data.dataset import CocoRgbdDataset, Sample
from training.measuring.classes import MatchedClasses, match_classes
from training.measuring.doubles import Doubles, count_doubles

DepthMode = Literal["true", "estimated", "none"]

SCORE_THRESHOLD = 0.0
"""Average precision wants the whole curve: all that the node would publish at this threshold."""
GPU_BATCH_SIZE = 4
WORKERS = 2
"""Threads; one can read while the other encodes."""


class PredictedSet(NamedTuple):
    """What a model finds in a data set.

    Attributes:
        results: COCO results with mask (RLE), box and the category ids of `classes`, picture by picture, best first.
        conditions: depth, depth_holes, checkpoint_sha256, score_threshold, and images_per_second: pictures over
            the time from the first read to the last mask encoded. Average precision is computed afterwards.
        doubles: among the candidates that the network decoded.
        classes: of the model among those of the data.
    """

    results: list[dict[str, Any]]
    conditions: dict[str, Any]
    doubles: Doubles
    classes: MatchedClasses


def predict(
    model: SpdaSam,
    dataset: CocoRgbdDataset,
    depth_mode: DepthMode = "true",
    *,
    depth_holes: float = 0.0,
    batch_size: int | None = None,
    workers: int = WORKERS,
    other_names: Mapping[str, Sequence[str]] | None = None,
) -> PredictedSet:
    """Find the instances in every picture.

    Args:
        model: the model.
        dataset: the pictures; its classes are matched with the model's by their names.
        depth_mode: what the network sees: the depth of the data set, metric or relative, or its cached estimate where
            it has none; an estimate; or nothing.
        depth_holes: share of the pixels, chosen at random, whose true depth is made unknown.
        batch_size: pictures that go through the network together, whatever their sizes; None: 1 on the CPU, where
            more are no faster, else 4.
        workers: threads that read pictures ahead and encode masks while the network runs.
        other_names: see `match_classes`.

    Returns:
        The same, up to the rounding of larger sums, for every batch size and number of workers.

    Raises:
        ValueError: a depth mode without its depth, an unknown mode, holes in no true depth, or
            a batch size or number of workers below 1.
    """
    _check(model, depth_mode, depth_holes)
    if batch_size is None:
        batch_size = 1 if model.runtime.device == "cpu" else GPU_BATCH_SIZE
    if batch_size < 1 or workers < 1:
        raise ValueError(f"batch_size {batch_size} and workers {workers} must be at least 1")
    classes = match_classes(model.class_names, dataset.class_names, dataset.category_ids, other_names)
    read = partial(_read, dataset, depth_mode, depth_holes)
    encoding: list[Future[list[dict[str, Any]]]] = []
    counting: list[Future[Doubles]] = []
    start = time.perf_counter()
    with (
        ThreadPoolExecutor(workers) as pool,
        _outputs(model) as outputs,
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
            for sample, candidates in zip(batch, _of_each(outputs), strict=False):
                counting.append(pool.submit(_count_doubles, model, sample, candidates))
            outputs.clear()
            for sample, prediction in zip(batch, predictions, strict=True):
                encoding.append(pool.submit(coco_results, prediction.instances, sample.image_id, classes.category_ids))
            bar.update(len(batch))
        results = [result for picture in encoding for result in picture.result()]
        doubles = Doubles(*(sum(counts) for counts in zip(Doubles(0, 0), *(c.result() for c in counting), strict=True)))
    return PredictedSet(
        results,
        {
            "depth": depth_mode,
            "depth_holes": depth_holes,
            "checkpoint_sha256": model.checkpoint_sha256,
            "score_threshold": SCORE_THRESHOLD,
            "images_per_second": len(dataset) / (time.perf_counter() - start),
        },
        doubles,
        classes,
    )


class _Recording:
    """A runtime that keeps what the network gives, beside handing it on."""

    def __init__(self, runtime: Runtime, outputs: list[RawOutput]) -> None:
        self.runtime, self.outputs = runtime, outputs
        self.info, self.device = runtime.info, runtime.device

    def run(self, *inputs: np.ndarray) -> RawOutput:
        self.outputs.append(self.runtime.run(*inputs))
        return self.outputs[-1]


@contextmanager
def _outputs(model: SpdaSam) -> Iterator[list[RawOutput]]:
    """What the network gives, one entry a call, as long as the block lasts."""
    runtime, outputs = model.runtime, []
    model.runtime = _Recording(runtime, outputs)
    try:
        yield outputs
    finally:
        model.runtime = runtime


def _of_each(outputs: Sequence[RawOutput]) -> Iterator[tuple[np.ndarray, ...]]:
    """Mask logits, class logits and predicted IoU of each picture of a batch."""
    for output in outputs:
        yield from zip(output.mask_logits, output.class_logits, output.predicted_iou, strict=True)


def _count_doubles(model: SpdaSam, sample: Sample, candidates: tuple[np.ndarray, ...]) -> Doubles:
    letterbox = Letterbox(sample.rgb.shape[0], sample.rgb.shape[1], model.input_size)
    return count_doubles(*candidates, letterbox=letterbox, calibration=model.calibration)


def _check(model: SpdaSam, depth_mode: DepthMode, depth_holes: float) -> None:
    if depth_mode not in get_args(DepthMode):
        raise ValueError(f"depth mode '{depth_mode}': choose one of {', '.join(get_args(DepthMode))}")
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
    """What was found in a picture as COCO results, with a category id for each class id."""
    return [
        {**result, "category_id": category_ids[result["category_id"] - 1]} for result in instances.to_coco(image_id)
    ]
