"""A COCO instance file, checked before anything is learnt from it: what is wrong is named, skipped or refused."""

from __future__ import annotations

import contextlib
import io
import json
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

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


def load_coco(path: Path, *, merge_classes: str | None = None, only: Collection[str] | None = None) -> COCO:
    """Read a COCO instance file for training and evaluation.

    Annotations without a mask and of unknown pictures are left out; missing `area`, `bbox` and `iscrowd` are filled in.
    Annotations are numbered anew from 1, because COCOeval takes an id of 0 for "not matched".

    Args:
        path: the JSON file.
        merge_classes: name of the one class that all classes become; None leaves them.
        only: file names of the pictures to keep, or their names without ending; None keeps all.

    Returns:
        The pycocotools index.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no COCO instance file, or `find_problems` finds an error.
    """
    document = read_document(path)
    errors = [problem for problem in find_problems(document, path) if problem.level == "error"]
    if errors:
        more = f" ({len(errors) - 1} more: python training/check.py names them)" if len(errors) > 1 else ""
        raise ValueError(f"{errors[0].where}: {errors[0].kind}: {errors[0].text}{more}")
    images = select(document["images"], only)
    if not images:
        raise ValueError(f"{path}: none of its {len(document['images'])} pictures is listed for this split")
    sizes = {image["id"]: (image["height"], image["width"]) for image in images}
    categories = document["categories"]
    if merge_classes is not None:
        categories = [{"id": 1, "name": merge_classes}]
    annotations = []
    for annotation in document["annotations"]:
        if _is_of(annotation, sizes) and has_mask(annotation):
            whole = _completed(annotation, sizes[annotation["image_id"]])
            category = annotation["category_id"] if merge_classes is None else 1
            annotations.append({**whole, "id": len(annotations) + 1, "category_id": category})
    coco = COCO()
    coco.dataset = {"images": images, "annotations": annotations, "categories": categories}
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        coco.createIndex()
    return coco


def read_document(path: Path) -> dict[str, Any]:
    """The JSON of a COCO instance file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not JSON, or without pictures or categories.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such COCO file: write it or correct the path")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: malformed JSON ({error}): write or copy it again") from error
    lists = {key: document.get(key) if isinstance(document, dict) else None for key in ("images", "categories")}
    found = {key: len(value) if isinstance(value, list) else 0 for key, value in lists.items()}
    if not all(found.values()):
        raise ValueError(
            f"{path}: {found['images']} images and {found['categories']} categories: a COCO instance file needs both"
        )
    if not isinstance(document.setdefault("annotations", []), list):
        raise ValueError(f"{path}: annotations are no list: a COCO instance file needs one")
    return document


def find_problems(document: Mapping[str, Any], path: Path) -> Iterator[Problem]:
    """What is wrong with a COCO instance file, as far as the file alone tells; no picture is read, no mask decoded.

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
        if not isinstance(number, int) or not isinstance(name, str) or not name:
            yield Problem("error", "malformed category", where, f"{category}: give an integer id and a name")
            continue
        if number in names or name in names.values():
            yield Problem("error", "duplicate category", where, f"'{name}': give each class its own id and name")
        names[number] = name
    seen: set[int] = set()
    for annotation in document["annotations"]:
        number = annotation.get("id") if isinstance(annotation, dict) else None
        where = f"{path}, annotation {number}"
        if not isinstance(number, int):
            yield Problem("error", "malformed annotation", where, f"{str(annotation)[:80]}: give an integer id")
            continue
        if number in seen:
            yield Problem("warning", "duplicate annotation id", where, "used before: both are kept and numbered anew")
        seen.add(number)
        category = annotation.get("category_id")
        if not isinstance(category, int) or category not in names:
            text = f"category_id {category} is none of {sorted(names)}: add it to categories"
            yield Problem("error", "unknown category", where, text)
        image_id = annotation.get("image_id")
        size_hw = sizes.get(image_id) if isinstance(image_id, int) else None
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
    if not all(isinstance(value, int) for value in (number, height, width)) or not isinstance(name, str):
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
    whole = isinstance(size, list) and all(isinstance(side, int) for side in size)
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


def _is_of(annotation: Mapping[str, Any], images: Collection[int]) -> bool:
    image_id = annotation.get("image_id")
    return isinstance(image_id, int) and image_id in images


def select(images: list[dict[str, Any]], only: Collection[str] | None) -> list[dict[str, Any]]:
    """The pictures whose file name, with or without folder and ending, is in `only`; all of them for None."""
    if only is None:
        return images
    names = [(image, Path(image["file_name"])) for image in images]
    return [image for image, path in names if not {str(path), path.name, path.stem}.isdisjoint(only)]


def to_rle(segmentation: Any, size_hw: tuple[int, int]) -> dict[str, Any]:
    """Compressed RLE, as pycocotools wants it, of a mask without problems but polygons that are none."""
    if isinstance(segmentation, list):
        polygons = [part for part in segmentation if len(part) >= SHORTEST_POLYGON]
        return coco_mask.merge(coco_mask.frPyObjects(polygons, *size_hw))
    if isinstance(segmentation["counts"], list):
        return coco_mask.frPyObjects(segmentation, *size_hw)
    return dict(segmentation)


def annotation_of_mask(
    mask: NDArray[np.bool_], image_id: int, category_id: int, *, crowd: bool = False
) -> dict[str, Any]:
    """COCO annotation of an (H, W) mask as compressed RLE, without an annotation id; ready for `json.dump`."""
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {
        "image_id": image_id,
        "category_id": category_id,
        "segmentation": {"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")},
        "area": float(coco_mask.area(rle)),
        "bbox": [float(x) for x in coco_mask.toBbox(rle)],
        "iscrowd": int(crowd),
    }


def _completed(annotation: dict[str, Any], size_hw: tuple[int, int]) -> dict[str, Any]:
    """The annotation with what COCOeval reads, and without polygons that are none."""
    whole = {"iscrowd": 0, **annotation}
    if isinstance(whole["segmentation"], list):
        whole["segmentation"] = [part for part in whole["segmentation"] if len(part) >= SHORTEST_POLYGON]
    if "area" not in whole or "bbox" not in whole:
        rle = to_rle(whole["segmentation"], size_hw)
        whole = {"area": float(coco_mask.area(rle)), "bbox": [float(x) for x in coco_mask.toBbox(rle)], **whole}
    return whole
