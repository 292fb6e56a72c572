"""A COCO file with a defect is refused or mended before training begins, and the defect is named."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from spda_sam_core.results.instances import encode_rle
from training.data.coco_file import load_coco
from training.data.coco_problems import find_problems, rle_pixels
from training.data.split_list import SplitList

MASK = np.zeros((20, 30), np.bool_)
MASK[2:6, 3:9] = True
SQUARE = [10, 10, 15, 10, 15, 15, 10, 15]


def good() -> dict[str, Any]:
    """One picture, two classes, a polygon and an RLE."""
    return {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 20, "width": 30}],
        "categories": [{"id": 3, "name": "fish"}, {"id": 7, "name": "wreck"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 3, "segmentation": [SQUARE]},
            {"id": 2, "image_id": 1, "category_id": 7, "segmentation": encode_rle(MASK), "iscrowd": 0},
        ],
    }


def changed(*change: Any) -> dict[str, Any]:
    """The good document with one entry replaced: changed("images", 0, "id", 5)."""
    document = copy.deepcopy(good())
    *path, last, value = change
    place: Any = document
    for key in path:
        place = place[key]
    place[last] = value
    return document


def written(path: Path, document: dict[str, Any]) -> Path:
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def with_second(key: str, entry: dict[str, Any]) -> dict[str, Any]:
    document = good()
    document[key].append(entry)
    return document


UNCOMPRESSED = {"size": [20, 30], "counts": [5, 10, 585]}


@pytest.mark.parametrize(
    ("document", "kind", "named"),
    [
        (changed("images", 0, "file_name", "../../etc/passwd"), "path traversal", "picture 1: .*'../../etc/passwd'"),
        (changed("images", 0, "depth_file_name", "/d.png"), "path traversal", "picture 1: .*depth_file_name '/d.png'"),
        (changed("images", 0, "height", None), "malformed picture", "picture 1"),
        (changed("images", 0, "width", 0), "malformed picture", "picture 1: .*at least 1 pixel"),
        (with_second("images", good()["images"][0]), "duplicate picture id", "picture 1"),
        (with_second("categories", {"id": 3, "name": "x"}), "duplicate category", "category 3"),
        (with_second("categories", {"id": 4, "name": "fish"}), "duplicate category", "category 4"),
        (changed("annotations", 0, "category_id", 4), "unknown category", r"annotation 1: .*4 is none of \[3, 7\]"),
        (changed("annotations", 0, "id", None), "malformed annotation", "annotation None"),
        (changed("annotations", 0, "segmentation", [[1, 2, 3]]), "malformed mask", "annotation 1"),
        (changed("annotations", 0, "segmentation", [[1, 2, "3", 4, 5, 6]]), "malformed mask", "annotation 1"),
        (changed("annotations", 0, "segmentation", {"counts": "x"}), "malformed mask", "annotation 1"),
        (
            changed("annotations", 1, "segmentation", "size", [30, 20]),
            "RLE of the wrong size",
            r"annotation 2 of picture 1: .*\(30, 20\), but the picture has \(20, 30\)",
        ),
        (
            changed("annotations", 1, "segmentation", {"size": [20, 30], "counts": [5, 10]}),
            "RLE of the wrong size",
            "cover 15 pixels, the picture has 600",
        ),
        (
            changed("annotations", 1, "segmentation", {"size": [20, 30], "counts": "~~"}),
            "RLE of the wrong size",
            "counts do not decode",
        ),
    ],
)
def test_what_training_cannot_use_is_refused_by_name(
    tmp_path: Path, document: dict[str, Any], kind: str, named: str
) -> None:
    path = written(tmp_path / "a.json", document)
    assert [p.kind for p in find_problems(document, path) if p.level == "error"] == [kind]
    with pytest.raises(ValueError, match=rf"a\.json, .*{kind}") as caught:
        load_coco(path)
    assert re.search(named, str(caught.value))


@pytest.mark.parametrize(
    ("document", "kind", "left"),
    [
        (changed("annotations", 0, "segmentation", []), "no mask", 1),
        (changed("annotations", 0, "segmentation", [[1, 2, 3, 4]]), "empty polygon", 1),
        (changed("annotations", 0, "segmentation", [[1, 2, 3, 4], SQUARE]), "empty polygon", 2),
        (changed("annotations", 0, "segmentation", [[-9, 0, 5, 0, 5, 5]]), "polygon out of frame", 2),
        (changed("annotations", 0, "image_id", 99), "unknown picture", 1),
        (changed("annotations", 1, "iscrowd", 1), "crowd region", 2),
        (changed("annotations", 1, "id", 1), "duplicate annotation id", 2),
    ],
)
def test_what_training_can_do_without_is_skipped(
    tmp_path: Path, document: dict[str, Any], kind: str, left: int
) -> None:
    path = written(tmp_path / "a.json", document)
    assert [(p.kind, p.level) for p in find_problems(document, path)] == [(kind, "warning")]
    coco = load_coco(path)
    assert sorted(coco.anns) == list(range(1, left + 1))
    for annotation in coco.anns.values():
        assert coco.annToMask(annotation).any()


def test_two_numbers_pairs_are_no_box(tmp_path: Path) -> None:
    """Pycocotools would read the four numbers as x, y, width and height."""
    document = changed("annotations", 0, "segmentation", [[0, 0, 25, 18], SQUARE])
    coco = load_coco(written(tmp_path / "a.json", document))
    assert coco.annToMask(coco.anns[1]).sum() == 25


def test_missing_area_box_and_crowd_flag_are_filled_in(tmp_path: Path) -> None:
    coco = load_coco(written(tmp_path / "a.json", good()))
    assert [(a["area"], a["bbox"], a["iscrowd"]) for a in coco.anns.values()] == [
        (25, [10, 10, 5, 5], 0),
        (24, [3, 2, 6, 4], 0),
    ]
    document = changed("annotations", 1, "segmentation", UNCOMPRESSED)
    coco = load_coco(written(tmp_path / "b.json", document))
    assert coco.anns[2]["area"] == coco.annToMask(coco.anns[2]).sum() == 10


def test_classes_merge_into_one(tmp_path: Path) -> None:
    coco = load_coco(written(tmp_path / "a.json", good()), merge_classes="object")
    assert [c["name"] for c in coco.cats.values()] == ["object"]
    assert {a["category_id"] for a in coco.anns.values()} == set(coco.cats)


def test_only_the_listed_pictures_are_kept(tmp_path: Path) -> None:
    document = with_second("images", {"id": 2, "file_name": "sub/b.jpg", "height": 20, "width": 30})
    path = written(tmp_path / "a.json", document)
    for names, kept in ((["a.jpg"], [1]), (["a"], [1]), (["b.jpg"], [2]), (["sub/b.jpg", "a.jpg"], [1, 2])):
        coco = load_coco(path, listed=SplitList(path, tuple((name, "train") for name in names), "train"))
        assert sorted(coco.imgs) == kept
        assert {a["image_id"] for a in coco.anns.values()} <= set(kept)
    with pytest.raises(ValueError, match="none of its 2 pictures is listed"):
        load_coco(path, listed=SplitList(path, (("c.jpg", "train"), ("a.jpg", "val")), "train"))


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of everything in a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [*([path] if path else []), *(leaf for key, inner in items for leaf in leaves(inner, (*path, key)))]


JUNK = (None, -1, 0, 77, 2.5, float("nan"), "", "../x", "\x00", [], [[]], [[1, 2]], {}, {"size": [1]}, True)


@pytest.mark.parametrize("path", leaves(good()), ids=str)
def test_whatever_stands_anywhere_in_the_file_is_refused_or_can_be_read(tmp_path: Path, path: tuple[Any, ...]) -> None:
    file = tmp_path / "a.json"
    for junk in JUNK:
        written(file, changed(*path, junk))
        try:
            coco = load_coco(file)
        except ValueError:  # with the file's name: see the other tests
            continue
        for annotation in coco.anns.values():
            assert coco.annToMask(annotation).max() <= 1
            assert coco.cats[annotation["category_id"]]["name"]


@pytest.mark.parametrize("text", ['{"images": [', "[]", '{"images": [], "categories": []}', '{"annotations": 3}'])
def test_what_is_no_coco_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"a\.json: (malformed JSON|0 images and 0 categories)"):
        load_coco(path)


def test_the_number_of_further_errors_is_told(tmp_path: Path) -> None:
    document = changed("annotations", 0, "category_id", 4)
    document["annotations"][1]["category_id"] = 5
    with pytest.raises(ValueError, match=r"annotation 1: .*\(1 more: python training/check\.py names them\)"):
        load_coco(written(tmp_path / "a.json", document))


def test_pixels_of_an_rle_are_those_that_pycocotools_runs_over() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        shape = tuple(rng.integers(1, 90, 2))
        mask = rng.random(shape) < rng.uniform(0, 1)
        counts = coco_mask.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()
        assert rle_pixels(counts) == mask.size
    large = coco_mask.encode(np.asfortranarray(np.zeros((3000, 4000), np.uint8)))["counts"].decode()
    assert rle_pixels(large) == 12_000_000
    assert rle_pixels("") is None
    assert rle_pixels([4, -1]) is None
