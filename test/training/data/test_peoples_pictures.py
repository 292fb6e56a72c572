"""Pictures as people have them, in a data set: read as their labels mean them, and what is odd is named."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from folder_cases import SIZE, encoded, noise, write_set

from training.check import as_json, check
from training.data.check_split import SplitReport
from training.data.dataset import open_split
from training.data.vocabulary import Vocabulary, in_vocabulary


def reports(data: Path) -> dict[str, SplitReport]:
    return check(data, workers=1)


def told(report: SplitReport) -> list[tuple[str, str, str]]:
    """Level, kind and words of what is found, but that there is no depth."""
    return [(p.level, p.kind, f"{p.where}: {p.text}") for p in report.problems if p.kind != "no depth"]


UPRIGHT = np.full((*SIZE, 3), 40, np.uint8)
UPRIGHT[10:25, 10:30] = (250, 60, 60)  # where the label is
TO_STORED = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: np.rot90,
    7: lambda a: np.rot90(a.swapaxes(0, 1), 2),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", TO_STORED)
def test_masks_lie_on_what_they_name_in_a_turned_picture(tmp_path: Path, orientation: int) -> None:
    stored = np.ascontiguousarray(TO_STORED[orientation](UPRIGHT))
    data = write_set(tmp_path, {"train": {"a.png": encoded(stored, orientation=orientation)}})
    (sample,) = open_split(data, "train")
    np.testing.assert_array_equal(sample.rgb, UPRIGHT)
    assert (sample.rgb[sample.masks[0]] == (250, 60, 60)).all()
    assert told(reports(data)["train"]) == []


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_labels_of_the_pixels_as_stored_are_read_so_and_named(tmp_path: Path, orientation: int) -> None:
    data = write_set(tmp_path, {"train": {"a.jpg": encoded(UPRIGHT, "JPEG", orientation=orientation)}})
    assert open_split(data, "train")[0].rgb.shape[:2] == SIZE
    ((level, kind, text),) = told(reports(data)["train"])
    assert (level, kind) == ("warning", "not upright")
    assert "a.jpg, picture 1: its EXIF turns it" in text


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_pictures_that_fill_few_bits_are_named_with_the_setting_that_mends_them(tmp_path: Path, bits: int) -> None:
    top = (1 << bits) - 1
    stored = (noise(0).astype(np.uint32) * top // 255).astype(np.uint16)
    files = {"train": {"a.png": cv2.imencode(".png", stored)[1].tobytes()}}
    data = write_set(tmp_path / "plain", files)
    assert open_split(data, "train")[0].rgb.mean() < 50
    ((level, kind, text),) = told(reports(data)["train"])
    assert (level, kind) == ("warning", "dark pictures")
    assert f"highest value is {stored.max()} of 65535" in text
    assert text.endswith(f"write bits: {bits} into the data set's YAML")
    mended = write_set(tmp_path / "mended", files, bits=bits)
    assert np.abs(open_split(mended, "train")[0].rgb[..., ::-1].astype(int) - noise(0)).max() <= 1
    assert told(reports(mended)["train"]) == []


def test_pictures_of_a_mixture_keep_their_bits(tmp_path: Path) -> None:
    stored = (noise(0).astype(np.uint32) * 4095 // 255).astype(np.uint16)
    data = write_set(tmp_path, {"train": {"a.png": cv2.imencode(".png", stored)[1].tobytes()}}, bits=12)
    joined = in_vocabulary(open_split(data, "train"), Vocabulary(("coral", "fish")), ("coral", "fish"))
    assert np.abs(joined[0].rgb[..., ::-1].astype(int) - noise(0)).max() <= 1
    assert joined[0].class_ids.tolist() == [1]


def test_values_above_the_bits_that_the_yaml_names_are_an_error(tmp_path: Path) -> None:
    content = cv2.imencode(".png", np.full((*SIZE, 3), 5000, np.uint16))[1].tobytes()
    data = write_set(tmp_path, {"train": {"a.png": content}}, bits=12)
    (level, kind, text), *_ = told(reports(data)["train"])
    assert (level, kind) == ("error", "unusable picture")
    assert "value 5000 does not fit into bits: 12: write 13 or more" in text


@pytest.mark.parametrize("bits", [7, 17, -1])
def test_bits_that_no_picture_has_are_refused(tmp_path: Path, bits: int) -> None:
    data = write_set(tmp_path, {"train": {"a.png": encoded(noise(0))}}, bits=bits)
    with pytest.raises(ValueError, match=rf"data\.yaml: bits {bits} must lie in 8\.\.16"):
        open_split(data, "train")


def test_equal_pictures_are_counted_within_a_split_and_across_splits(tmp_path: Path) -> None:
    train = {"a.png": encoded(noise(1)), "copy of a.png": encoded(noise(1)), "b.png": encoded(noise(2))}
    val = {"c.bmp": encoded(noise(1), "BMP"), "d.png": encoded(noise(3))}  # the same pixels in another format
    found = reports(write_set(tmp_path, {"train": train, "val": val}))
    ((level, kind, text),) = told(found["train"])
    assert (level, kind) == ("warning", "equal pictures")
    assert "copy of a.png, picture 2: the same pixels as" in text
    ((level, kind, text),) = told(found["val"])
    assert (level, kind) == ("warning", "shared pictures")
    assert "1 of 2 pictures are in 'train' too, pixel for pixel (c.bmp is copy of a.png)" in text
    assert as_json(found)["splits"]["train"]["n_equal"] == 1


def test_validation_on_the_training_pictures_is_named(tmp_path: Path) -> None:
    files = {f"{i}.png": encoded(noise(i)) for i in range(7)}
    found = reports(write_set(tmp_path, {"train": files, "val": files}))
    ((_, kind, text),) = told(found["val"])
    assert kind == "shared pictures"
    assert "7 of 7 pictures are in 'train' too" in text
    assert "4.png is 4.png, ...)" in text
