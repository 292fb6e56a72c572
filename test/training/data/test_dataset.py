"""Colour, depth, masks and classes come back as they were written."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from spda_sam_core.results.instances import encode_rle
from training.data.dataset import CocoRgbdDataset, open_split
from training.data.rendered_folder import load_rendered_config, write_split

CATEGORIES = [{"id": 5, "name": "late"}, {"id": 2, "name": "early"}]


def write_folder(root: Path, *, images: int = 3) -> Path:
    """A COCO folder whose picture i is filled with (i, 20, 200), with one RLE and one polygon instance."""
    (root / "rgb").mkdir(parents=True)
    (root / "depth").mkdir()
    document: dict[str, list[dict[str, object]]] = {"images": [], "annotations": [], "categories": CATEGORIES}
    for i in range(images):
        cv2.imwrite(str(root / "rgb" / f"{i}.png"), np.full((20, 30, 3), (200, 20, i), np.uint8))
        mask = np.zeros((20, 30), np.bool_)
        mask[2:6, 3:9] = True
        document["images"].append({"id": 10 + i, "file_name": f"{i}.png", "height": 20, "width": 30})
        shapes = [
            (5, encode_rle(mask), 0),
            (2, [[10, 10, 15, 10, 15, 15, 10, 15]], 0),
            (2, encode_rle(mask), 1),
        ]
        for category, segmentation, crowd in shapes:
            document["annotations"].append(
                {
                    "id": len(document["annotations"]) + 1,
                    "image_id": 10 + i,
                    "category_id": category,
                    "segmentation": segmentation,
                    "area": 24,
                    "bbox": [3, 2, 6, 4],
                    "iscrowd": crowd,
                }
            )
    millimetres = np.full((20, 30), 1500, np.uint16)
    millimetres[0] = 0
    cv2.imwrite(str(root / "depth" / "0.png"), millimetres)
    (root / "annotations.json").write_text(json.dumps(document))
    return root / "annotations.json"


def test_classes_are_numbered_from_zero_in_the_order_of_their_ids(tmp_path: Path) -> None:
    dataset = CocoRgbdDataset(tmp_path, write_folder(tmp_path))
    assert dataset.class_names == ("early", "late")
    assert dataset.category_ids == (2, 5)
    assert dataset[0].class_ids.tolist() == [1, 0]  # the crowd is left out


def test_sample_holds_colour_depth_and_masks(tmp_path: Path) -> None:
    dataset = CocoRgbdDataset(tmp_path, write_folder(tmp_path))
    sample = dataset[1]
    assert (sample.image_id, sample.file_name) == (11, "1.png")
    assert sample.rgb[3, 3].tolist() == [1, 20, 200]
    assert sample.masks.shape == (2, 20, 30)
    assert sample.masks[0].sum() == 24
    assert sample.masks[0][2:6, 3:9].all()
    assert sample.masks[1][10:15, 10:15].all()
    assert sample.depth_m is None  # no file for it
    depth_m = dataset[0].depth_m
    assert depth_m is not None
    assert np.isnan(depth_m[0]).all()
    np.testing.assert_allclose(depth_m[1:], 1.5)


def test_limit_keeps_the_first_pictures(tmp_path: Path) -> None:
    file = write_folder(tmp_path)
    assert CocoRgbdDataset(tmp_path, file, limit=2).image_ids == (10, 11)
    assert len(CocoRgbdDataset(tmp_path, file, limit=99)) == 3
    with pytest.raises(ValueError, match="limit 0 must be at least 1"):
        CocoRgbdDataset(tmp_path, file, limit=0)


def test_iterating_ends(tmp_path: Path) -> None:
    assert len(list(CocoRgbdDataset(tmp_path, write_folder(tmp_path)))) == 3


def test_wrong_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.json: no such COCO file"):
        CocoRgbdDataset(tmp_path, tmp_path / "nowhere.json")
    dataset = CocoRgbdDataset(tmp_path, write_folder(tmp_path))
    cv2.imwrite(str(tmp_path / "rgb" / "1.png"), np.zeros((5, 6, 3), np.uint8))
    with pytest.raises(ValueError, match=r"1\.png: \(5, 6\) pixels.*COCO file says \(20, 30\)"):
        dataset[1]
    (tmp_path / "rgb" / "2.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"2\.png: missing"):
        dataset[2]
    cv2.imwrite(str(tmp_path / "depth" / "0.png"), np.zeros((20, 30), np.uint8))
    with pytest.raises(ValueError, match=r"0\.png: uint8 \(20, 30\), expected a uint16 PNG in millimetres"):
        dataset[0]


def rendered_yaml(tmp_path: Path, seed: int) -> Path:
    from training.world.scene import CLASS_NAMES

    path = tmp_path / "rendered.yaml"
    path.write_text(
        f"root: {tmp_path}/data\nimage_size_hw: [48, 64]\nclasses: [{', '.join(CLASS_NAMES)}]\n"
        f"splits: {{val: {{seed: {seed}, n_images: 3}}}}\n"
    )
    return path


def test_open_split_renders_what_is_missing_and_then_reuses_it(tmp_path: Path) -> None:
    data = rendered_yaml(tmp_path, seed=2)
    first = open_split(data, "val", limit=1)
    assert len(first) == 1
    picture = tmp_path / "data" / "val" / "rgb" / "000000.png"
    written = picture.stat().st_mtime_ns
    assert len(open_split(data, "val")) == 3
    assert len(open_split(data, "val", limit=2)) == 2
    assert picture.stat().st_mtime_ns == written
    sample = first[0]
    assert sample.depth_m is not None
    assert sample.masks.any(axis=(1, 2)).all()
    assert sample.masks.sum(axis=0).max() == 1  # a pixel belongs to one instance


def test_open_split_notices_another_seed(tmp_path: Path) -> None:
    before = open_split(rendered_yaml(tmp_path, seed=2), "val", limit=1)[0].rgb
    after = open_split(rendered_yaml(tmp_path, seed=3), "val", limit=1)[0].rgb
    assert (before != after).any()


def test_open_split_notices_another_water(tmp_path: Path) -> None:
    data = rendered_yaml(tmp_path, seed=2)
    survey = data.read_text().replace("n_images: 3", "n_images: 1, world: survey")
    data.write_text(survey)
    write_split(load_rendered_config(data), "val", workers=1)
    before = open_split(data, "val")[0]
    data.write_text(survey.replace("survey}", "survey, water: jerlov_9c}"))
    after = open_split(data, "val")[0]
    assert (before.rgb != after.rgb).any()
    assert np.array_equal(before.masks, after.masks)


def test_open_split_names_the_splits(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no split 'test': choose one of val"):
        open_split(rendered_yaml(tmp_path, seed=2), "test")
