"""What is wrong with a COCO instance file, as far as the file alone tells; no picture is read, no mask decoded."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from training.data.pictures import inside

Level = Literal["error", "warning"]
SHORTEST_POLYGON = 6
"""Numbers in a triangle; pycocotools would take four numbers for a box."""


@dataclass(frozen=True)
class Problem:
    """Something wrong with a data set.

    Attributes:
        level: "error" where training refuses the data, "warning" where it skips this.
        kind: the same few words for the same defect.
        where: file, and id of the picture or the annotation.
        text: the value, the limit, and the fix.
    """

    level: Level
    kind: str
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.level}: {self.where}: {self.kind}: {self.text}"


def find_problems(document: Mapping[str, Any], path: Path) -> Iterator[Problem]:
    """What is wrong with a COCO instance file.

    Args:
        document: what `read_document` gave.
        path: its file, for the messages.
    """
    sizes: dict[int, tuple[int, int]] = {}
    for image in document["images"]:
        yield from image_problems(image, sizes, path)
    names: dict[int, str] = {}
    for category in document["categories"]:
        number, name = (category.get(key) if isinstance(category, dict) else None for key in ("id", "name"))
        where = f"{path}, category {number}"
        if type(number) is not int or not isinstance(name, str) or not name:
            yield Problem("error", "malformed category", where, f"{category}: give an integer id and a name")
            continue
        if number in names or name in names.values():
            yield Problem("error", "duplicate category", where, f"'{name}': give each class its own id and name")
        names[number] = name
    seen: set[int] = set()
    for annotation in document["annotations"]:
        number = annotation.get("id") if isinstance(annotation, dict) else None
        where = f"{path}, annotation {number}"
        if type(number) is not int:
            yield Problem("error", "malformed annotation", where, f"{str(annotation)[:80]}: give an integer id")
            continue
        if number in seen:
            yield Problem("warning", "duplicate annotation id", where, "used before: both are kept and numbered anew")
        seen.add(number)
        category = annotation.get("category_id")
        if type(category) is not int or category not in names:
            text = f"category_id {category!r} is none of {sorted(names)}: add it to categories"
            yield Problem("error", "unknown category", where, text)
        image_id = annotation.get("image_id")
        if type(image_id) is not int:
            text = f"image_id {image_id!r} is no integer: give the id of a picture"
            yield Problem("error", "malformed annotation", where, text)
            continue
        if type(annotation.get("iscrowd", 0)) is not int:
            text = f"iscrowd {annotation['iscrowd']!r}: give 0, or 1 for a group"
            yield Problem("error", "malformed annotation", where, text)
        size_hw = sizes.get(image_id)
        if size_hw is None:
            text = f"image_id {image_id} is no picture of this file: left out"
            yield Problem("warning", "unknown picture", where, text)
            continue
        yield from mask_problems(annotation, size_hw, f"{where} of picture {image_id}")
        if annotation.get("iscrowd", 0):
            yield Problem("warning", "crowd region", where, "left out in training, ignored in evaluation")


def image_problems(image: Any, sizes: dict[int, tuple[int, int]], path: Path) -> Iterator[Problem]:
    """What is wrong with an entry of `images`; its height and width go into `sizes`, by id."""
    keys = ("id", "height", "width", "file_name")
    number, height, width, name = (image.get(key) if isinstance(image, dict) else None for key in keys)
    where = f"{path}, picture {number}"
    if not all(type(value) is int for value in (number, height, width)) or not isinstance(name, str):
        text = f"{str(image)[:80]}: give an integer id, height and width, and a file_name"
        yield Problem("error", "malformed picture", where, text)
        return
    if min(height, width) < 1:
        yield Problem("error", "malformed picture", where, f"size {(height, width)} must be at least 1 pixel")
        return
    if number in sizes:
        yield Problem("error", "duplicate picture id", where, f"'{name}' has an id used before: give each its own")
    sizes[number] = (height, width)
    for key in ("file_name", "depth_file_name"):
        try:
            if image.get(key) is not None:
                inside(Path("its folder"), str(image[key]))
        except ValueError as error:
            yield Problem("error", "path traversal", where, f"{key} {error}")


def mask_problems(annotation: Mapping[str, Any], size_hw: tuple[int, int], where: str) -> Iterator[Problem]:
    """What is wrong with the mask of an annotation of a picture of this height and width."""
    shape = annotation.get("segmentation")
    if not shape:
        yield Problem("warning", "no mask", where, "segmentation is missing or empty: left out")
    elif isinstance(shape, dict):
        yield from _rle_problems(shape, size_hw, where)
    elif isinstance(shape, list) and all(_is_polygon(part) for part in shape):
        for part in shape:
            if len(part) < SHORTEST_POLYGON:
                text = f"{len(part) // 2} corners, at least 3 are needed: left out"
                yield Problem("warning", "empty polygon", where, text)
        points = [p for part in shape if len(part) >= SHORTEST_POLYGON for p in zip(part[::2], part[1::2], strict=True)]
        if points:
            xs, ys = zip(*points, strict=True)
            beyond = max(-min(xs), -min(ys), max(xs) - size_hw[1], max(ys) - size_hw[0])
            if beyond > 1:
                text = f"reaches {beyond:.0f} pixels out of a picture of {size_hw} (height, width): cut off there"
                yield Problem("warning", "polygon out of frame", where, text)
    else:
        text = f"segmentation {str(shape)[:60]}: give lists of x, y, ... or an RLE with size and counts"
        yield Problem("error", "malformed mask", where, text)


def _is_polygon(part: Any) -> bool:
    if not isinstance(part, list) or len(part) % 2:
        return False
    return all(isinstance(number, (int, float)) and math.isfinite(number) for number in part)


def _rle_problems(shape: Mapping[str, Any], size_hw: tuple[int, int], where: str) -> Iterator[Problem]:
    size, counts = shape.get("size"), shape.get("counts")
    whole = isinstance(size, list) and all(type(side) is int for side in size)
    if not whole or not isinstance(counts, (str, list)):
        yield Problem("error", "malformed mask", where, "an RLE needs size [height, width] and counts")
    elif tuple(size) != size_hw:
        text = f"size {tuple(size)}, but the picture has {size_hw} (height, width): make them equal"
        yield Problem("error", "RLE of the wrong size", where, text)
    else:
        covered = rle_pixels(counts)
        if covered != size_hw[0] * size_hw[1]:
            found = "do not decode" if covered is None else f"cover {covered} pixels"
            text = f"counts {found}, the picture has {size_hw[0] * size_hw[1]}: write this mask again"
            yield Problem("error", "RLE of the wrong size", where, text)


def rle_pixels(counts: str | list[int]) -> int | None:
    """How many pixels an RLE runs over, None if it is none; pycocotools decodes wrong totals to wrong masks.

    Args:
        counts: lengths of runs, or their compressed form (`rleFrString` in cocoapi's `maskApi.c`).
    """
    if isinstance(counts, list):
        fine = all(isinstance(run, int) and run >= 0 for run in counts)
        return sum(counts) if fine else None
    groups = np.frombuffer(counts.encode(), np.uint8).astype(np.int64) - 48
    if not groups.size or groups.min() < 0 or groups.max() > 63 or groups[-1] & 0x20:
        return None
    ends = np.flatnonzero((groups & 0x20) == 0)  # 5 bits each, low group first; the last has no sixth bit
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts + 1
    place = np.arange(groups.size) - np.repeat(starts, lengths)
    stored = np.add.reduceat((groups & 0x1F) << (5 * place), starts)
    stored -= np.where(groups[ends] & 0x10, np.int64(1) << (5 * lengths), 0)
    # from the fourth on, a run is stored as its difference to the run before last
    runs = np.concatenate((stored[:1], np.cumsum(stored[1::2]), np.cumsum(stored[2::2])))
    return int(runs.sum()) if runs.min() >= 0 else None


def has_mask(annotation: Mapping[str, Any]) -> bool:
    """Whether anything is drawn by the annotation of a file without errors."""
    shape = annotation.get("segmentation")
    if isinstance(shape, list):
        return any(len(part) >= SHORTEST_POLYGON for part in shape)
    return bool(shape)


def without_errors(document: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """What is left of a document without the entries in which `find_problems` finds errors."""
    sizes: dict[int, tuple[int, int]] = {}
    images: dict[int, dict[str, Any]] = {}
    for image in document["images"]:
        if not any(image_problems(image, sizes, path)):
            images[image["id"]] = image
    categories: dict[int, dict[str, Any]] = {}
    for category in document["categories"]:
        number, name = (category.get(key) if isinstance(category, dict) else None for key in ("id", "name"))
        if type(number) is int and isinstance(name, str) and name:
            categories.setdefault(number, category)
    annotations = [
        annotation
        for annotation in document["annotations"]
        if isinstance(annotation, dict)
        and all(type(annotation.get(key)) is int for key in ("id", "image_id", "category_id", "iscrowd"))
        and annotation["category_id"] in categories
        and (
            annotation["image_id"] not in images
            or not any(p.level == "error" for p in mask_problems(annotation, sizes[annotation["image_id"]], ""))
        )
    ]
    return {"images": list(images.values()), "categories": list(categories.values()), "annotations": annotations}
