"""A COCO instance file, checked before anything is learnt from it: what is wrong is named, skipped or refused."""

from __future__ import annotations

import contextlib
import io
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from spda_sam_core.text_file import read_text
from training.data.coco_numbers import mend_numbers
from training.data.coco_problems import SHORTEST_POLYGON, find_problems, has_mask
from training.data.split_list import SplitList


def load_coco(path: Path, *, merge_classes: str | None = None, listed: SplitList | None = None) -> COCO:
    """Read a COCO instance file for training and evaluation.

    Annotations without a mask and of unknown pictures are left out; missing `area`, `bbox` and `iscrowd` are filled in.
    Annotations are numbered anew from 1, because COCOeval takes an id of 0 for "not matched".

    Args:
        path: the JSON file.
        merge_classes: name of the one class that all classes become; None leaves them.
        listed: which pictures to keep; None keeps all.

    Returns:
        The pycocotools index.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no COCO instance file, `find_problems` finds an error, or it has labels and none with a mask.
    """
    document = read_document(path)
    errors = [problem for problem in find_problems(document, path) if problem.level == "error"]
    if errors:
        more = f" ({len(errors) - 1} more: python training/check.py names them)" if len(errors) > 1 else ""
        raise ValueError(f"{errors[0].where}: {errors[0].kind}: {errors[0].text}{more}")
    coco = index(document, merge_classes=merge_classes, listed=listed)
    if not coco.imgs:
        raise ValueError(f"{path}: none of its {len(document['images'])} pictures is listed for this split")
    why = why_unusable(document, coco)
    if why is not None:
        raise ValueError(f"{path}: {why}")
    return coco


def read_document(path: Path) -> dict[str, Any]:
    """The JSON of a COCO instance file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not JSON, or without pictures or categories.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such COCO file: write it or correct the path")
    text = read_text(path)
    try:
        document = json.loads(text)
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
    mend_numbers(document)
    return document


def index(document: Mapping[str, Any], *, merge_classes: str | None = None, listed: SplitList | None = None) -> COCO:
    """The pycocotools index of a document without errors; see `load_coco`, which is for files.

    Returns:
        The index; `id_in_file` is the number that an annotation has in the file.
    """
    images = document["images"] if listed is None else listed.select(document["images"])
    sizes = {image["id"]: (image["height"], image["width"]) for image in images}
    categories = document["categories"]
    if merge_classes is not None:
        categories = [{"id": 1, "name": merge_classes}]
    annotations = []
    for annotation in document["annotations"]:
        if annotation["image_id"] in sizes and has_mask(annotation):
            whole = _completed(annotation, sizes[annotation["image_id"]])
            category = annotation["category_id"] if merge_classes is None else 1
            own = {"id": len(annotations) + 1, "id_in_file": annotation["id"], "category_id": category}
            annotations.append({**whole, **own})
    coco = COCO()
    # pycocotools 2.0.9 and 2.0.10 read "info" of every file
    coco.dataset = {"info": {}, "images": images, "annotations": annotations, "categories": categories}
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        coco.createIndex()
    return coco


def why_unusable(document: Mapping[str, Any], coco: COCO) -> str | None:
    """Why none of the labels of a document can be used, of which there are some; None where one can, or there is none.

    Args:
        document: without errors.
        coco: the index of it, of all its pictures or of some.
    """
    if coco.anns:
        return None
    known = {image["id"] for image in document["images"]}
    reasons = Counter(
        "of a picture that the file does not have"
        if annotation["image_id"] not in known
        else "with a box, but no mask"
        if "bbox" in annotation
        else "without a mask"
        for annotation in document["annotations"]
        if annotation["image_id"] in coco.imgs or annotation["image_id"] not in known
    )
    if not reasons:
        return None
    told = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    return f"none of {reasons.total()} labels can be used ({told}): write a polygon or RLE into segmentation"


def to_rle(segmentation: Any, size_hw: tuple[int, int]) -> dict[str, Any]:
    """Compressed RLE, as pycocotools wants it, of a mask without problems but polygons that are none."""
    if isinstance(segmentation, list):
        polygons = [part for part in segmentation if len(part) >= SHORTEST_POLYGON]
        return coco_mask.merge(coco_mask.frPyObjects(polygons, *size_hw))
    if isinstance(segmentation["counts"], list):
        return coco_mask.frPyObjects(segmentation, *size_hw)
    return dict(segmentation)


def by_picture(entries: Iterable[Mapping[str, Any]]) -> defaultdict[int, list[Mapping[str, Any]]]:
    """Annotations or results by `image_id`, in their order."""
    pictures: defaultdict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for entry in entries:
        pictures[entry["image_id"]].append(entry)
    return pictures


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
