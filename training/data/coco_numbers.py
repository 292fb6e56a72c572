"""Numbers of a COCO file as tools write them: ids as text or with a decimal point, flags as true and false."""

from __future__ import annotations

import math
import re
from typing import Any

_DIGITS = re.compile(r"\s*[+-]?[0-9]+\s*")


def whole_number(value: Any) -> int | None:
    """The integer that stands in JSON as 7, 7.0 or "7"; None for anything else, true and false among them."""
    if isinstance(value, str):
        return int(value) if _DIGITS.fullmatch(value) else None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value if type(value) is int else None


def mend_numbers(document: dict[str, Any]) -> None:
    """Make integers of what stands for integers, in place; what stands for none is left for `find_problems` to name.

    An `area` or a `bbox` that is none is taken out, so that it is made from the mask.
    """
    for image in _entries(document["images"]):
        _mend(image, ("id", "height", "width"))
    for category in _entries(document["categories"]):
        _mend(category, ("id",))
    for annotation in _entries(document["annotations"]):
        crowd = annotation.get("iscrowd", 0)
        annotation["iscrowd"] = int(bool(crowd)) if crowd is None or isinstance(crowd, bool) else crowd
        _mend(annotation, ("id", "image_id", "category_id", "iscrowd"))
        shape = annotation.get("segmentation")
        if isinstance(shape, dict):
            for key in ("size", "counts"):
                if isinstance(shape.get(key), list):
                    shape[key] = [number if (whole := whole_number(number)) is None else whole for number in shape[key]]
        if not _is_number(annotation.get("area")):
            annotation.pop("area", None)
        box = annotation.get("bbox")
        if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
            annotation.pop("bbox", None)


def _entries(values: list[Any]) -> list[dict[str, Any]]:
    return [value for value in values if isinstance(value, dict)]


def _mend(entry: dict[str, Any], keys: tuple[str, ...]) -> None:
    for key in keys:
        number = whole_number(entry.get(key))
        if number is not None:
            entry[key] = number


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
