"""The examination of one split for `training/check.py`: the COCO file, then all that training reads of each picture."""

from __future__ import annotations

import hashlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from spda_sam_core.depth.normalisation import NormalisedDepth, normalise_depth, normalise_inverse_depth
from spda_sam_core.picture_file import bits_of
from training.data.coco_file import index, read_document, why_unusable
from training.data.coco_problems import Problem, find_problems, without_errors
from training.data.data_config import SplitFiles
from training.data.dataset import CocoRgbdDataset, dataset_of

IMBALANCE = 100
"""Classes with so many times fewer instances than the most frequent one are named."""
LITTLE_DEPTH = 0.05
"""Pictures with a smaller share of known depth are named."""


@dataclass
class SplitReport:
    """What was found in a split.

    Attributes:
        n_images: pictures of the split that the COCO file describes well enough to look for them.
        n_instances: masks to learn from.
        n_crowd: crowd regions.
        instances: instances by class, every class of the file.
        pictures: pictures with an instance of the class.
        n_with_depth: pictures with a readable depth image.
        n_estimated: pictures without one whose depth was estimated.
        known_depth: of depth images, the mean share of pixels with known depth, None without any.
        n_equal: pictures with the same pixels as an earlier one of the split.
        problems: all of them.
        dataset: the pictures that were examined, None where the COCO file cannot be read.
        good: of `dataset`, the pictures without a problem that have instances, for the sheet.
        pixels: of `dataset`, hashes of the pixels of each picture; empty where it cannot be read.
    """

    n_images: int = 0
    n_instances: int = 0
    n_crowd: int = 0
    instances: dict[str, int] = field(default_factory=dict)
    pictures: dict[str, int] = field(default_factory=dict)
    n_with_depth: int = 0
    n_estimated: int = 0
    known_depth: float | None = None
    n_equal: int = 0
    problems: list[Problem] = field(default_factory=list)
    dataset: CocoRgbdDataset | None = None
    good: list[int] = field(default_factory=list)
    pixels: list[bytes] = field(default_factory=list)


@dataclass(frozen=True)
class _Found:
    problems: list[Problem]
    class_ids: list[int] = field(default_factory=list)
    known_depth: float | None = None
    estimated: bool = False
    pixels: bytes = b""
    highest: int | None = None


def check_split(files: SplitFiles, *, workers: int, title: str) -> SplitReport:
    """Examine a split.

    Args:
        files: where it lies.
        workers: number of threads; the result does not depend on it.
        title: of the progress bar.

    Raises:
        ValueError: fewer than 1 worker.
    """
    report = SplitReport()
    try:
        document = read_document(files.annotations)
    except (FileNotFoundError, ValueError) as error:
        report.problems.append(_problem("no COCO file", files.annotations, "", error))
        return report
    report.problems += find_problems(document, files.annotations)
    sound = without_errors(document, files.annotations)
    try:
        coco = index(sound, merge_classes=files.merge_classes, listed=files.listed)
    except ValueError as error:
        report.problems.append(Problem("error", "unclear split", str(files.annotations), str(error)))
        return report
    dataset = dataset_of(files, coco)
    why = why_unusable(sound, coco)
    if why is not None:
        report.problems.append(Problem("error", "no usable label", str(files.annotations), why))
    if not len(dataset):
        text = f"none of {len(document['images'])} pictures is usable and listed for this split"
        report.problems.append(Problem("error", "no pictures", str(files.annotations), text))
    counts: Counter[str] = Counter()
    pictures: Counter[str] = Counter()
    depths = []
    seen: dict[bytes, int] = {}
    equal: list[tuple[int, int]] = []
    highest: list[int] = []
    with (
        tqdm(total=len(dataset), desc=f"checking {title}", unit="image") as bar,
        ThreadPoolExecutor(workers) as pool,  # decoders of pictures leave the interpreter to the others
        closing(pool.map(partial(_examine, dataset, files), range(len(dataset)))) as examined,
    ):
        for number, found in enumerate(examined):
            report.problems += found.problems
            names = [dataset.class_names[class_id] for class_id in found.class_ids]
            counts.update(names)
            pictures.update(set(names))
            report.n_crowd += len(dataset.annotations(number, crowd=True))
            report.n_estimated += found.estimated
            depths += [] if found.known_depth is None else [found.known_depth]
            highest += [] if found.highest is None else [found.highest]
            report.pixels.append(found.pixels)
            if found.pixels and (first := seen.setdefault(found.pixels, number)) != number:
                equal.append((first, number))
            if not found.problems and found.class_ids:
                report.good.append(number)
            bar.update()
    report.dataset = dataset
    report.n_images, report.n_instances = len(dataset), counts.total()
    report.instances = {name: counts[name] for name in dataset.class_names}
    report.pictures = {name: pictures[name] for name in dataset.class_names}
    report.n_with_depth, report.known_depth = len(depths), float(np.mean(depths)) if depths else None
    report.n_equal = len(equal)
    report.problems += [
        *_balance_problems(report, files),
        *_equal_problems(dataset, equal),
        *_bits_problems(files, highest),
    ]
    return report


def _examine(dataset: CocoRgbdDataset, files: SplitFiles, number: int) -> _Found:
    """Read what training reads of a picture."""
    which = f"picture {dataset.image_ids[number]}"
    path = dataset.rgb_file(number)
    try:
        picture = dataset.picture(number)
    except (FileNotFoundError, ValueError) as error:
        return _Found([_problem("unusable picture", path, f", {which}", error)])
    problems: list[Problem] = []
    if picture.as_stored:
        text = (
            "its EXIF turns it, the COCO file has the size of the pixels as stored, and so it is read: see in the "
            "sheet whether masks lie where they should"
        )
        problems.append(Problem("warning", "not upright", f"{path}, {which}", text))
    pixels = hashlib.blake2b(picture.rgb, digest_size=16).digest()
    of_depth, known = dataset.depth_file(number), None
    try:
        depth = network_depth(dataset, number)
        known = depth.valid_fraction if depth is not None and of_depth is not None else None
    except (FileNotFoundError, ValueError) as error:
        place = of_depth or dataset.cached_path(number) or path
        problems.append(_problem("unusable depth image", place, f", depth of {which}", error))
    if known is not None and known < LITTLE_DEPTH:
        text = f"{100 * known:.1f} % of its pixels known, under {100 * LITTLE_DEPTH:.0f} %: the picture counts as blind"
        problems.append(Problem("warning", "hardly any depth", f"{path}, {which}", text))
    masks, class_ids = dataset.instances(number)
    drawn = masks.any(axis=(1, 2))
    for annotation, any_pixel in zip(dataset.annotations(number), drawn, strict=True):
        if not any_pixel:
            where = f"{files.annotations}, annotation {annotation['id_in_file']} of {which}"
            problems.append(Problem("warning", "empty mask", where, "no pixel of the picture is set: nothing to learn"))
    estimated = of_depth is None and dataset.has_depth(number)
    return _Found(problems, class_ids[drawn].tolist(), known, estimated, pixels, picture.highest)


def network_depth(dataset: CocoRgbdDataset, number: int) -> NormalisedDepth | None:
    """The depth of a picture as the network sees it, None without any; raises what reading it raises."""
    depth_m, relative = dataset.depth_of(number)
    if depth_m is not None:
        return normalise_depth(depth_m)
    return None if relative is None else normalise_inverse_depth(relative)


def _balance_problems(report: SplitReport, files: SplitFiles) -> list[Problem]:
    """Classes that are rare or missing, and pictures without depth."""
    problems = []
    most = max(report.instances.values(), default=0)
    for name, count in report.instances.items():
        if count * IMBALANCE < most:
            text = f"{count} instances, the most frequent class has {most}: hard to learn"
            problems.append(Problem("warning", "rare class", f"{files.annotations}, class '{name}'", text))
    without = report.n_images - report.n_with_depth - report.n_estimated
    if without:
        text = f"{without} of {report.n_images} pictures have none: python -m training.estimate_depth estimates it once"
        problems.append(Problem("warning", "no depth", str(files.root), text))
    return problems


def _equal_problems(dataset: CocoRgbdDataset, equal: list[tuple[int, int]]) -> list[Problem]:
    """Pairs of pictures of a split with the same pixels."""
    return [
        Problem(
            "warning",
            "equal pictures",
            f"{dataset.rgb_file(number)}, picture {dataset.image_ids[number]}",
            f"the same pixels as {dataset.rgb_file(first)}, picture {dataset.image_ids[first]}: keep one of them",
        )
        for first, number in equal
    ]


def _bits_problems(files: SplitFiles, highest: list[int]) -> list[Problem]:
    """Pictures of 16 bits, of which the camera has filled fewer."""
    bits = bits_of(max(highest)) if highest and files.bits is None else None
    if bits is None:
        return []
    text = (
        f"{len(highest)} pictures of 16 bits, whose highest value is {max(highest)} of 65535, are read nearly black: "
        f"write bits: {bits} into the data set's YAML"
    )
    return [Problem("warning", "dark pictures", str(files.images), text)]


def _problem(kind: str, path: Path, which: str, error: Exception) -> Problem:
    return Problem("error", kind, f"{path}{which}", str(error).removeprefix(f"{path}: "))
