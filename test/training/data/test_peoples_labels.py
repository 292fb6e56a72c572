"""COCO files and lists as tools, editors and spreadsheets write them are read, or refused with the place."""

from __future__ import annotations

import codecs
import copy
import json
from pathlib import Path
from typing import Any

import pytest
from folder_cases import document, encoded, noise, write_set
from pycocotools.coco import COCO

from spda_sam_core.results.instances import encode_rle
from training.check import check, main
from training.data.coco_file import load_coco
from training.data.dataset import open_split
from training.data.split_list import read_split_list
from training.measuring.coco_metrics import load_results

ENCODINGS = {
    "utf-8": b"",
    "utf-8-sig": b"",
    "utf-16": b"",
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32": b"",
}


def as_bytes(text: str, encoding: str) -> bytes:
    return ENCODINGS[encoding] + text.encode(encoding)


def loaded(path: Path, labels: dict[str, Any]) -> COCO:
    path.write_text(json.dumps(labels))
    return load_coco(path)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_kind_of_unicode_is_read_in_labels_settings_and_lists(tmp_path: Path, encoding: str) -> None:
    labels = document(["a.png", "b.png"])
    labels["categories"][0]["name"] = "海藻"
    text = json.dumps(labels, ensure_ascii=False)
    files = {"train": {"a.png": encoded(noise(0)), "b.png": encoded(noise(1))}}
    list_of = {"listed_in": "list.csv", "listed_as": "train"}
    data = write_set(tmp_path, files, labels=as_bytes(text, encoding), of_splits=list_of)
    (tmp_path / "list.csv").write_bytes(as_bytes("file,split\na.png,train\nb.png,val\n", encoding))
    data.write_bytes(as_bytes(f"{data.read_text()}\nmerge_classes: rør\n", encoding))
    dataset = open_split(data, "train")
    assert dataset.class_names == ("rør",)
    assert [image["file_name"] for image in dataset.coco.imgs.values()] == ["a.png"]
    assert load_coco(tmp_path / "train.json").cats[1]["name"] == "海藻"


def test_text_of_another_encoding_is_refused_with_the_place(tmp_path: Path) -> None:
    data = write_set(tmp_path, {"train": {"a.png": encoded(noise(0))}}, labels='{"images": "rør"}'.encode("latin-1"))
    with pytest.raises(ValueError, match=r"train\.json: byte 13 is no UTF-8: save the file as UTF-8"):
        open_split(data, "train")
    data.write_bytes(b"root: r\xf8r\n")
    with pytest.raises(ValueError, match=r"data\.yaml: byte 7 is no UTF-8"):
        open_split(data, "train")


def deep(labels: dict[str, Any], change: Any) -> dict[str, Any]:
    labels = copy.deepcopy(labels)
    for image in labels["images"]:
        for key in ("id", "height", "width"):
            image[key] = change(image[key])
    for category in labels["categories"]:
        category["id"] = change(category["id"])
    for annotation in labels["annotations"]:
        for key in ("id", "image_id", "category_id", "iscrowd"):
            annotation[key] = change(annotation[key])
    return labels


@pytest.mark.parametrize("change", [str, float, lambda n: f" {n} ", lambda n: f"{n:06d}"])
def test_numbers_as_text_or_with_a_point_are_read(tmp_path: Path, change: Any) -> None:
    labels = document(["a.png", "b.png"])
    plain, other = (loaded(tmp_path / "a.json", each) for each in (labels, deep(labels, change)))
    assert other.imgs == plain.imgs
    assert other.anns == plain.anns
    assert other.cats == plain.cats


@pytest.mark.parametrize(
    ("part", "key", "value", "message"),
    [
        ("annotations", "image_id", "abc", "annotation 1: malformed annotation: image_id 'abc' is no integer"),
        ("annotations", "image_id", 1.5, "annotation 1: malformed annotation: image_id 1.5 is no integer"),
        ("annotations", "image_id", None, "annotation 1: malformed annotation: image_id None is no integer"),
        ("annotations", "image_id", True, "annotation 1: malformed annotation: image_id True is no integer"),
        ("annotations", "category_id", "fish", "annotation 1: unknown category: category_id 'fish' is none of"),
        ("annotations", "iscrowd", "no", "annotation 1.*: malformed annotation: iscrowd 'no': give 0, or 1"),
        ("images", "id", "first", "picture first: malformed picture"),
        ("images", "height", "40 px", "picture 1: malformed picture"),
        ("categories", "id", "a", "category a: malformed category"),
    ],
)
def test_what_is_no_number_is_refused_with_the_place(
    tmp_path: Path, part: str, key: str, value: Any, message: str
) -> None:
    labels = document(["a.png", "b.png"])
    labels[part][0][key] = value
    with pytest.raises(ValueError, match=message):
        loaded(tmp_path / "a.json", labels)


@pytest.mark.parametrize(
    ("written", "meant"), [(True, 1), (False, 0), (None, 0), ("0", 0), ("1", 1), (0.0, 0), (1.0, 1)]
)
def test_a_crowd_flag_is_what_it_says_however_it_is_written(tmp_path: Path, written: Any, meant: int) -> None:
    labels = document(["a.png"])
    labels["annotations"][0]["iscrowd"] = written
    assert loaded(tmp_path / "a.json", labels).anns[1]["iscrowd"] == meant


@pytest.mark.parametrize("area", [None, "300", float("nan"), "big"])
@pytest.mark.parametrize("box", [None, [], ["10", 10, 20, 15], [10, 10, 20, float("nan")]])
def test_areas_and_boxes_that_are_none_are_those_of_the_mask(tmp_path: Path, area: Any, box: Any) -> None:
    labels = document(["a.png"])
    labels["annotations"][0] |= {"area": area, "bbox": box}
    annotation = loaded(tmp_path / "a.json", labels).anns[1]
    assert (annotation["area"], annotation["bbox"]) == (300, [10, 10, 20, 15])


def test_an_rle_of_numbers_with_points_is_read(tmp_path: Path) -> None:
    labels = document(["a.png"])
    labels["annotations"][0]["segmentation"] = {"size": ["40", 60.0], "counts": [5.0, "10", 2385]}
    coco = loaded(tmp_path / "a.json", labels)
    assert coco.annToMask(coco.anns[1]).sum() == 10


def test_results_are_loaded_without_info_as_every_pycocotools_wants_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = COCO.loadRes

    def of_2_0_9(self: COCO, results: Any) -> COCO:
        assert "info" in self.dataset  # its loadRes takes self.dataset["info"]
        return plain(self, results)

    monkeypatch.setattr(COCO, "loadRes", of_2_0_9)
    coco = loaded(tmp_path / "a.json", document(["a.png"]))
    result = {"image_id": 1, "category_id": 1, "score": 0.5, "segmentation": coco.annToRLE(coco.anns[1])}
    assert len(load_results(coco, [result], "segm").anns) == 1
    del coco.dataset["info"]  # of an index that somebody else has made
    assert len(load_results(coco, [result], "segm").anns) == 1


def without_masks(labels: dict[str, Any]) -> str:
    for annotation in labels["annotations"]:
        del annotation["segmentation"]
        annotation["bbox"] = [1, 1, 5, 5]
    return "3 with a box, but no mask"


def empty_masks(labels: dict[str, Any]) -> str:
    for annotation in labels["annotations"]:
        annotation["segmentation"] = []
    return "3 without a mask"


def other_pictures(labels: dict[str, Any]) -> str:
    for annotation in labels["annotations"]:
        annotation["image_id"] += 100
    return "3 of a picture that the file does not have"


@pytest.mark.parametrize("spoil", [without_masks, empty_masks, other_pictures])
def test_labels_of_which_none_can_be_used_are_refused_with_the_reason(
    tmp_path: Path, spoil: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {f"{i}.png": encoded(noise(i)) for i in range(3)}
    labels = document(list(files))
    reason = spoil(labels)
    data = write_set(tmp_path, {"train": files}, labels=labels)
    with pytest.raises(ValueError, match=rf"train\.json: none of 3 labels can be used \({reason}\): write a polygon"):
        open_split(data, "train")
    assert main([str(data), "--sheet", str(tmp_path / "sheet.jpg")]) == 1
    printed = capsys.readouterr().out
    assert f"none of 3 labels can be used ({reason})" in printed
    assert "training would fail" in printed


@pytest.mark.parametrize("kind", ["nothing", "crowd", "no pixel"])
def test_the_doctor_says_that_training_would_have_nothing_to_learn(tmp_path: Path, kind: str) -> None:
    files = {"a.png": encoded(noise(0))}
    labels = document(list(files))
    if kind == "nothing":
        labels["annotations"] = []
    elif kind == "crowd":
        labels["annotations"][0]["iscrowd"] = 1
    else:
        labels["annotations"][0]["segmentation"] = encode_rle(noise(0)[..., 0] > 255)
    found = check(write_set(tmp_path, {"train": files}, labels=labels), workers=1)["train"].problems
    assert [(p.kind, p.text.split(" that")[0]) for p in found if p.level == "error"] == [
        ("no instance", "1 pictures without a single mask")
    ]


PICTURES = [{"file_name": f"{i}.png"} for i in range(1, 7)]
FIRST, LAST = ["1.png", "2.png", "3.png"], ["4.png", "5.png", "6.png"]


def listed(path: Path, text: str, label: str, pictures: list[dict[str, Any]] = PICTURES) -> list[str]:
    path.write_text(text)
    return [image["file_name"] for image in read_split_list(path, label).select(pictures)]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize(
    ("head", "row"),
    [
        (["", "file", "split"], ["{index}", "{i}.png", "{split}"]),
        (["split", "", "file"], ["{split}", "{index}", "{i}.png"]),
        (["index", "split", "path", "width"], ["{index}", "{split}", "rgb\\{i}.png", "3"]),
        (["file", "again", "split"], ["{i}.png", "{index}", "{split}"]),
        (["mask", "file", "split"], ["{i}_mask.png", "./{i}.png", "{split}"]),
        (["name", "split"], ["{i}", "{split}"]),
        (None, ["{index}", "{i}.png", "{split}"]),
    ],
)
def test_the_column_of_the_files_is_found_whatever_else_is_in_the_list(
    tmp_path: Path, separator: str, start: int, head: list[str] | None, row: list[str]
) -> None:
    lines = [] if head is None else [separator.join(head)]
    for i in range(1, 7):
        fields = (field.format(i=i, index=i - 1 + start, split="train" if i < 4 else "test") for field in row)
        lines.append(separator.join(fields))
    text = "\r\n".join(lines)
    assert listed(tmp_path / "a.csv", text, "train") == FIRST
    assert listed(tmp_path / "a.csv", text, "test") == LAST
    assert listed(tmp_path / "a.csv", text, "val") == []


def test_a_picture_in_two_splits_is_an_error(tmp_path: Path) -> None:
    text = "file,split\n1.png,train\n2.png,test\n1.png,test\n2.png,test\n"
    with pytest.raises(ValueError, match=r"a\.csv: '1\.png' is in test and train: put each picture into one split"):
        listed(tmp_path / "a.csv", text, "train")
    files = {"1.png": encoded(noise(0)), "2.png": encoded(noise(1))}
    data = write_set(tmp_path, {"train": files})
    (tmp_path / "a.csv").write_text(text)
    data.write_text(
        data.read_text().replace("images: train", "images: train\n    listed_in: a.csv\n    listed_as: train")
    )
    (problem,) = check(data, workers=1)["train"].problems
    assert (problem.level, problem.kind) == ("error", "unclear split")
    assert "'1.png' is in test and train" in problem.text


def test_a_name_in_two_folders_needs_its_path(tmp_path: Path) -> None:
    pictures = [{"file_name": "left/1.png"}, {"file_name": "right/1.png"}]
    assert listed(tmp_path / "a.csv", "left/1.png,train\nright/1.png,test\n", "train", pictures) == ["left/1.png"]
    with pytest.raises(ValueError, match=r"'1\.png' may be any of left/1\.png, right/1\.png: write the whole path"):
        listed(tmp_path / "a.csv", "1.png,train\n", "train", pictures)


def test_an_empty_list_lists_nothing(tmp_path: Path) -> None:
    assert listed(tmp_path / "a.csv", "", "train") == []
    assert listed(tmp_path / "a.csv", "train\n", "train") == []
