"""Labelled real pictures: what counts as a region, and as a hit."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.real_pictures import best_ious, read_folder, suim_regions


def square(x: int, y: int, side: int) -> np.ndarray:
    mask = np.zeros((80, 120), bool)
    mask[y : y + side, x : x + side] = True
    return mask


def test_each_connected_region_of_a_class_of_things_is_one_instance() -> None:
    rgb = np.zeros((80, 120, 3), np.uint8)
    rgb[square(5, 5, 30)] = (0, 0, 255)  # diver
    rgb[square(60, 5, 30)] = (3, 2, 250)  # another one, badly stored
    rgb[square(5, 50, 25)] = (255, 255, 0)  # fish
    rgb[square(60, 50, 10)] = (255, 255, 0)  # too small to count
    rgb[square(90, 50, 25)] = (255, 0, 255)  # reef is no thing
    regions = suim_regions(rgb)
    assert [name for name, _ in regions] == ["diver", "diver", "fish"]
    for (_, mask), expected in zip(regions, [square(5, 5, 30), square(60, 5, 30), square(5, 50, 25)], strict=True):
        assert np.array_equal(mask, expected)


def test_a_region_gets_the_iou_of_the_mask_that_meets_it_best() -> None:
    regions = [("a", square(10, 10, 20)), ("b", square(60, 10, 20)), ("c", square(90, 50, 20))]
    masks = np.stack([square(10, 10, 20), square(10, 10, 40), square(65, 10, 20)])
    assert best_ious(regions, masks) == pytest.approx([1.0, 15 / 25, 0.0])
    assert best_ious(regions, masks[:0]) == [0.0, 0.0, 0.0]


def test_both_layouts_are_read(tmp_path: Path) -> None:
    grey = np.full((80, 120, 3), 128, np.uint8)
    classes = np.zeros_like(grey)
    classes[square(5, 5, 30)] = (255, 0, 0)  # B G R: diver
    cv2.imwrite(str(tmp_path / "a_1_.jpg"), grey)
    cv2.imwrite(str(tmp_path / "a_1__classes.png"), classes)
    cv2.imwrite(str(tmp_path / "box_rgb.png"), grey)
    cv2.imwrite(str(tmp_path / "box_instances.png"), square(5, 5, 30).astype(np.uint16) * 3)
    cv2.imwrite(str(tmp_path / "box_depth_mm.png"), np.where(square(5, 5, 30), 1500, 0).astype(np.uint16))
    suim, box = read_folder(tmp_path)
    assert (suim.name, suim.depth_m, [name for name, _ in suim.regions]) == ("a_1_", None, ["diver"])
    assert (box.name, [name for name, _ in box.regions]) == ("box", ["object 3"])
    assert box.depth_m is not None
    assert np.nanmax(box.depth_m) == pytest.approx(1.5)
    assert np.isnan(box.depth_m[0, 0])


def test_a_folder_without_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no \*_classes\.png and no \*_instances\.png"):
        list(read_folder(tmp_path))
