"""Instance images in the manner of Cityscapes and of KITTI become a COCO file, once.

Both are 16-bit PNGs. Cityscapes: class * 1000 + instance, and the bare class where instances are not told apart.
KITTI: class * 256 + instance with instances from 1, and instance 0 where they are not told apart. What is not told
apart becomes a crowd region.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from spda_sam_core.picture_file import read_pixels
from spda_sam_core.weights.files import write_whole
from training.data.coco_file import annotation_of_mask
from training.data.data_config import LabelData, LabelSplit
from training.data.processes import in_processes


def class_and_crowd(value: int, kind: str) -> tuple[int, bool]:
    """Class id of a pixel value, and whether its instances are not told apart."""
    if kind == "kitti":
        return value // 256, value % 256 == 0
    return (value, True) if value < 1000 else (value // 1000, False)


def convert_split(config: LabelData, split: str, *, workers: int = 2) -> Path:
    """Write `<root>/coco_<split>.json`, unless it is there for the same pictures and classes.

    Args:
        config: the data set.
        split: name of a split in it.
        workers: number of processes; the result does not depend on it.

    Returns:
        The COCO file; it appears whole or not at all.

    Raises:
        FileNotFoundError: no instance images, or one that cannot be read.
        ValueError: an instance image that is not 16 bit, or cut off.
    """
    chosen = config.splits[split]
    names = _names(config.root, chosen)
    images = [{"id": i, "file_name": chosen.images.format(name)} for i, name in enumerate(names, start=1)]
    if chosen.depth is not None:
        images = [
            {**image, "depth_file_name": chosen.depth.format(name)} for image, name in zip(images, names, strict=True)
        ]
    categories = [{"id": number, "name": name} for number, name in sorted(config.classes.items())]
    path = config.root / f"coco_{split}.json"
    if _is_of(path, images, categories):
        return path
    jobs = [
        _Job(config.root / chosen.instances.format(name), config.format, frozenset(config.classes), i)
        for i, name in enumerate(names, start=1)
    ]
    annotations: list[dict[str, Any]] = []
    with tqdm(total=len(jobs), desc=f"converting {split}", unit="image") as bar:
        for image, (size_hw, found) in zip(images, in_processes(_convert, jobs, workers), strict=True):
            image["height"], image["width"] = size_hw
            annotations += [{"id": len(annotations) + k, **one} for k, one in enumerate(found, start=1)]
            bar.update()
    document = {"images": images, "annotations": annotations, "categories": categories}
    write_whole(path, json.dumps(document).encode())
    return path


def _names(root: Path, split: LabelSplit) -> list[str]:
    """Names of the labelled pictures, sorted: what stands for {} in the paths of their instance images."""
    before, after = split.instances.split("{}")
    found = sorted(path.relative_to(root).as_posix() for path in root.glob(f"{before}**/*{after}"))
    if not found:
        raise FileNotFoundError(f"{root / split.instances}: no instance images: see docs/datasets.md for the layout")
    return [path[len(before) : len(path) - len(after)] for path in found]


def _is_of(path: Path, images: list[dict[str, Any]], categories: list[dict[str, Any]]) -> bool:
    """Whether the COCO file was made of these pictures with these classes."""
    if not path.is_file():
        return False
    document = json.loads(path.read_text(encoding="utf-8"))
    there = [{k: v for k, v in image.items() if k not in ("height", "width")} for image in document["images"]]
    return bool(there == images and document["categories"] == categories)


@dataclass(frozen=True)
class _Job:
    path: Path
    kind: str
    classes: frozenset[int]
    image_id: int


def _convert(job: _Job) -> tuple[tuple[int, int], list[dict[str, Any]]]:
    """Height and width of an instance image, and its annotations without ids."""
    values: NDArray[Any] = read_pixels(job.path)
    if values.dtype != np.uint16 or values.ndim != 2:
        raise ValueError(f"{job.path}: {values.dtype} {values.shape}, expected a 16-bit PNG of class and instance")
    annotations = []
    for value in np.unique(values).tolist():
        category, crowd = class_and_crowd(value, job.kind)
        if category not in job.classes:
            continue
        annotations.append(annotation_of_mask(values == value, job.image_id, category, crowd=crowd))
    return (int(values.shape[0]), int(values.shape[1])), annotations
