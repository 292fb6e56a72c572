"""The examination of one split for `training/check.py`: the COCO file, then every picture, in several processes."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from tqdm import tqdm

from spda_sam_core.depth.normalisation import NormalisedDepth, normalise_depth, normalise_inverse_depth
from training.data.coco_file import (
    Problem,
    find_problems,
    has_mask,
    image_problems,
    mask_problems,
    read_document,
    select,
    to_rle,
)
from training.data.data_config import SplitFiles
from training.data.depth_cache import cached_file
from training.data.pictures import depth_path, inside, read_depth_m, read_relative_inverse_depth, read_rgb
from training.data.processes import in_processes

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
        categories: name of the class by category id, in the order of ids.
        instances: instances by class, every class of the file.
        pictures: pictures with an instance of the class.
        n_with_depth: pictures with a readable depth image.
        n_estimated: pictures without one whose depth was estimated.
        known_depth: of depth images, the mean share of pixels with known depth, None without any.
        problems: all of them.
        good: entries of pictures without a problem, each with its annotations, for the sheet.
    """

    n_images: int = 0
    n_instances: int = 0
    n_crowd: int = 0
    categories: dict[int, str] = field(default_factory=dict)
    instances: dict[str, int] = field(default_factory=dict)
    pictures: dict[str, int] = field(default_factory=dict)
    n_with_depth: int = 0
    n_estimated: int = 0
    known_depth: float | None = None
    problems: list[Problem] = field(default_factory=list)
    good: list[Job] = field(default_factory=list)


@dataclass(frozen=True)
class Job:
    """A picture to examine.

    Attributes:
        files: where its split lies.
        image: its entry in the COCO file.
        annotations: its annotations that can be drawn, crowd regions included.
    """

    files: SplitFiles
    image: dict[str, Any]
    annotations: list[dict[str, Any]]

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width that the COCO file states."""
        return self.image["height"], self.image["width"]


@dataclass(frozen=True)
class _Found:
    problems: list[Problem]
    categories: list[int]
    n_crowd: int
    known_depth: float | None
    estimated: bool


def check_split(files: SplitFiles, *, workers: int, title: str) -> SplitReport:
    """Examine a split.

    Args:
        files: where it lies.
        workers: number of processes; the result does not depend on it.
        title: of the progress bar.
    """
    report = SplitReport()
    try:
        document = read_document(files.annotations)
    except (FileNotFoundError, ValueError) as error:
        report.problems.append(_problem("no COCO file", files.annotations, "", error))
        return report
    report.problems += find_problems(document, files.annotations)
    jobs = _jobs(document, files)
    if not jobs:
        text = f"none of {len(document['images'])} pictures is usable and listed for this split"
        report.problems.append(Problem("error", "no pictures", str(files.annotations), text))
    report.categories = _categories(document, files)
    counts: Counter[str] = Counter()
    pictures: Counter[str] = Counter()
    depths = []
    with tqdm(total=len(jobs), desc=f"checking {title}", unit="image") as bar:
        for job, found in zip(jobs, in_processes(_examine, jobs, workers), strict=True):
            report.problems += found.problems
            names = [report.categories[number] for number in found.categories]
            counts.update(names)
            pictures.update(set(names))
            report.n_crowd += found.n_crowd
            report.n_estimated += found.estimated
            depths += [] if found.known_depth is None else [found.known_depth]
            if not found.problems and found.categories:
                report.good.append(job)
            bar.update()
    report.n_images, report.n_instances = len(jobs), counts.total()
    report.instances = {name: counts[name] for name in report.categories.values()}
    report.pictures = {name: pictures[name] for name in report.categories.values()}
    report.n_with_depth, report.known_depth = len(depths), float(np.mean(depths)) if depths else None
    report.problems += _balance_problems(report, files)
    return report


def _categories(document: dict[str, Any], files: SplitFiles) -> dict[int, str]:
    """Names of the usable categories by id, in the order of ids."""
    usable = [c for c in document["categories"] if isinstance(c, dict) and isinstance(c.get("id"), int)]
    names = {c["id"]: files.merge_classes or str(c.get("name")) for c in usable}
    return dict(sorted(names.items()))


def _jobs(document: dict[str, Any], files: SplitFiles) -> list[Job]:
    """The pictures that can be looked for, with the annotations that can be drawn."""
    sizes: dict[int, tuple[int, int]] = {}
    described = [image for image in document["images"] if not list(image_problems(image, sizes, files.annotations))]
    images = {image["id"]: image for image in select(described, files.only)}
    categories = _categories(document, files)
    drawn: dict[int, list[dict[str, Any]]] = {number: [] for number in images}
    for annotation in document["annotations"]:
        keys = ("id", "image_id", "category_id")
        if not isinstance(annotation, dict) or not all(isinstance(annotation.get(key), int) for key in keys):
            continue
        number = annotation["image_id"]
        if annotation["category_id"] in categories and number in images and _can_be_drawn(annotation, sizes[number]):
            drawn[number].append(annotation)
    files = dataclasses.replace(files, only=None)  # it has done its work, and would travel with each picture
    return [Job(files, image, drawn[number]) for number, image in images.items()]


def _can_be_drawn(annotation: dict[str, Any], size_hw: tuple[int, int]) -> bool:
    """Whether pycocotools can be trusted with the mask."""
    wrong = any(problem.level == "error" for problem in mask_problems(annotation, size_hw, ""))
    return not wrong and has_mask(annotation)


def _examine(job: Job) -> _Found:
    """Read what training would read of a picture."""
    image = job.image
    path = inside(job.files.images, image["file_name"])
    try:
        read_rgb(path, job.size_hw)
    except (FileNotFoundError, ValueError) as error:
        return _Found([_problem("unusable picture", path, f", picture {image['id']}", error)], [], 0, None, False)
    problems: list[Problem] = []
    known: float | None = None
    of_depth = depth_path(job.files.depth, image)
    if of_depth is not None:
        try:
            known = read_any_depth(of_depth, job).valid_fraction
        except (FileNotFoundError, ValueError) as error:
            problems.append(_problem("unusable depth image", of_depth, f", depth of picture {image['id']}", error))
    folder = job.files.images.relative_to(job.files.root)
    cached = None if job.files.cache is None else cached_file(job.files.cache, folder, image["file_name"])
    estimated = of_depth is None and cached is not None and cached.exists()
    if known is not None and known < LITTLE_DEPTH:
        text = f"{100 * known:.1f} % of its pixels known, under {100 * LITTLE_DEPTH:.0f} %: the picture counts as blind"
        problems.append(Problem("warning", "hardly any depth", f"{path}, picture {image['id']}", text))
    categories, n_crowd = [], 0
    for annotation in job.annotations:
        if annotation.get("iscrowd", 0):
            n_crowd += 1
        elif coco_mask.area(to_rle(annotation["segmentation"], job.size_hw)) == 0:
            where = f"{job.files.annotations}, annotation {annotation['id']} of picture {image['id']}"
            problems.append(Problem("warning", "empty mask", where, "no pixel of the picture is set: nothing to learn"))
        else:
            categories.append(annotation["category_id"])
    return _Found(problems, categories, n_crowd, known, estimated)


def job_masks(job: Job) -> tuple[NDArray[np.bool_], list[int]]:
    """(N, H, W) bool masks of a picture without its crowd regions, and their category ids."""
    own = [a for a in job.annotations if not a.get("iscrowd", 0)]
    masks = np.zeros((len(own), *job.size_hw), np.bool_)
    for mask, annotation in zip(masks, own, strict=True):
        mask[:] = coco_mask.decode(to_rle(annotation["segmentation"], job.size_hw))
    return masks, [a["category_id"] for a in own]


def read_any_depth(path: Path, job: Job) -> NormalisedDepth:
    """The depth image of a picture as the network sees it; raises what reading it raises."""
    if job.files.depth_images.kind == "relative":
        return normalise_inverse_depth(read_relative_inverse_depth(path, job.size_hw, job.files.depth_images))
    return normalise_depth(read_depth_m(path, job.size_hw, job.files.depth_images))


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


def _problem(kind: str, path: Path, which: str, error: Exception) -> Problem:
    return Problem("error", kind, f"{path}{which}", str(error).removeprefix(f"{path}: "))
