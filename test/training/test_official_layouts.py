"""Every data set of `config/data/` is read from a small copy of its official layout, made here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from training.data.data_config import load_data_config, split_names
from training.data.dataset import open_split

CONFIGS = Path(__file__).resolve().parents[2] / "config/data"
SIZE = (24, 32)
SQUARE = [4, 3, 14, 3, 14, 13, 4, 13]


@dataclass(frozen=True)
class Coco:
    """One COCO file of an official layout: where it lies, its pictures, its depth images, its categories."""

    annotations: str
    images: str
    categories: tuple[str, ...]
    depth: str | None = None
    file_names: tuple[str, ...] = ("1.jpg", "2.jpg")


UNDERWATER = ("fish", "reefs", "aquatic plants", "wrecks/ruins", "human divers", "robots", "sea-floor")
LIACI = (
    "sea_chest_grating", "paint_peel", "over_board_valves", "defect", "corrosion", "propeller", "anode", "bilge_keel",
    "marine_growth", "ship_hull",
)  # fmt: skip
TRASHCAN = ("rov", "plant", "animal_fish", "trash_unknown_instance")
CLIPS = ("vid_000002_frame0000013.jpg", "vid_000004_frame0000002.jpg")
SALIENT = ("foreground",)
LAYOUTS = {
    "come15k": [
        Coco("annotations/COME15K-Train.json", "train/imgs_right", SALIENT, "train/depths"),
        Coco("annotations/COME15K-Test-E.json", "COME-E/RGB", SALIENT, "COME-E/depth"),
        Coco("annotations/COME15K-Test-H.json", "COME-H/RGB", SALIENT, "COME-H/depth"),
    ],
    "dsis": [Coco("DSIS.json", "RGB", SALIENT, "depth")],
    "sip": [Coco("SIP.json", "RGB", SALIENT, "depth")],
    "usis10k": [
        Coco(f"multi_class_annotations/multi_class_{s}_annotations.json", s, UNDERWATER)
        for s in ("train", "val", "test")
    ],
    "usis10k_agnostic": [
        Coco(f"foreground_annotations/foreground_{s}_annotations.json", s, SALIENT) for s in ("train", "val", "test")
    ],
    "uiis": [Coco(f"annotations/{s}.json", s, UNDERWATER) for s in ("train", "val")],
    "liaci": [Coco("coco-labels.json", "images", LIACI, file_names=("image_0001.jpg", "image_0002.jpg"))],
    "zerowaste": [
        Coco(f"{s}/labels.json", f"{s}/data", ("rigid_plastic", "cardboard", "metal", "soft_plastic"))
        for s in ("train", "val", "test")
    ],
    "trashcan": [
        Coco(f"instance_version/instances_{s}_trashcan.json", f"instance_version/{s}", TRASHCAN, file_names=CLIPS)
        for s in ("train", "val")
    ],
    "trashcan_coco": [
        Coco(f"{s}.json", "images", TRASHCAN, file_names=CLIPS)
        for s in ("train", "val", "train_without_held_clips", "held_clips")
    ],
    "deepfish": [Coco(f"{s}.json", "images", ("fish",)) for s in ("train", "val")],
    "aquarium": [Coco(f"{s}.json", "images", ("fish", "shark")) for s in ("train", "val")],
    "coco226": [Coco("train.json", "images", ("person", "boat"))],
    "corrosion25": [Coco("train.json", "images", ("corrosion",))],
    "coco2017": [Coco(f"annotations/instances_{s}2017.json", f"{s}2017", ("person", "boat")) for s in ("train", "val")],
    "coco_folder": [Coco(f"{s}.json", "rgb", ("crab",), "depth", (f"{s}1.jpg", f"{s}2.png")) for s in ("train", "val")],
}  # fmt: skip


def picture(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def write_coco(root: Path, layout: Coco, depth_type: type) -> None:
    """Pictures with one square each; class and polygon, RLE and crowd alternate as in the wild."""
    document: dict[str, list[Any]] = {"images": [], "annotations": [], "categories": []}
    document["categories"] = [{"id": i, "name": name} for i, name in enumerate(layout.categories, start=1)]
    for i, name in enumerate(layout.file_names, start=1):
        picture(root / layout.images / name, np.full((*SIZE, 3), 40 * i, np.uint8))
        if layout.depth is not None:
            picture(root / layout.depth / f"{Path(name).stem}.png", np.full(SIZE, 100 * i, depth_type))
        document["images"].append({"id": i, "file_name": name, "height": SIZE[0], "width": SIZE[1]})
        own = {"image_id": i, "category_id": len(layout.categories), "segmentation": [SQUARE], "iscrowd": 0}
        crowd = {**own, "segmentation": {"size": list(SIZE), "counts": [0, 24, 744]}, "iscrowd": 1}
        for one in (own, crowd):
            document["annotations"].append(
                {"id": len(document["annotations"]), "area": 100, "bbox": [4, 3, 10, 10], **one}
            )
    path = root / layout.annotations
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")


def config_in(tmp_path: Path, name: str) -> Path:
    """The shipped YAML with its root moved."""
    entries = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8"))
    path = tmp_path / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**entries, "root": str(tmp_path / "data")}, sort_keys=False), encoding="utf-8")
    return path


def test_every_shipped_data_set_has_its_layout_here() -> None:
    shipped = {p.stem for p in CONFIGS.glob("*.yaml")}
    assert shipped == {*LAYOUTS, "rendered", "rendered_water", "cityscapes", "kitti"}
    page = (CONFIGS.parents[1] / "docs/datasets.md").read_text(encoding="utf-8")
    assert {name for name in shipped if name not in page} == {"rendered", "rendered_water"}


@pytest.mark.parametrize("name", LAYOUTS)
def test_coco_layouts(tmp_path: Path, name: str) -> None:
    config = config_in(tmp_path, name)
    kind = load_data_config(config).depth
    for layout in LAYOUTS[name]:
        write_coco(tmp_path / "data", layout, np.uint8 if kind and kind.kind == "relative" else np.uint16)
    (tmp_path / "data/train_test_split.csv").write_text(
        ",file_name,split\n0,image_0001.jpg,train\n1,image_0002.jpg,test\n"
    )
    for split in split_names(config):
        dataset = open_split(config, split)
        assert len(dataset) == (1 if name == "liaci" else 2)
        for sample in dataset:
            brightness = 80 if Path(sample.file_name).stem.endswith("2") else 40
            assert abs(int(sample.rgb.mean()) - brightness) <= 2
            assert sample.masks.shape == (1, *SIZE)  # no crowd
            assert sample.masks[0, 3:13, 4:14].all()
            assert sample.masks.sum() == 100
            assert sample.class_ids.tolist() == [len(dataset.class_names) - 1]
            depth = 100 * brightness / 40
            if kind is None:
                assert sample.depth_m is sample.relative_inverse_depth is None
            elif kind.kind == "millimetres":
                np.testing.assert_allclose(sample.depth_m, depth / 1000)
            else:
                assert sample.depth_m is None
                assert (sample.relative_inverse_depth == depth).all()


def test_liaci_by_its_other_name_of_the_coco_file(tmp_path: Path) -> None:
    config = config_in(tmp_path, "liaci")
    write_coco(tmp_path / "data", LAYOUTS["liaci"][0], np.uint8)
    (tmp_path / "data/coco-labels.json").rename(tmp_path / "data/coco-annotations.json")
    with pytest.raises(FileNotFoundError, match=r"train_test_split\.csv: no such list of pictures"):
        open_split(config, "train")
    (tmp_path / "data/train_test_split.csv").write_text("image_0001, train\nimage_0002, test\n")
    assert [open_split(config, s)[0].file_name for s in ("train", "test")] == ["image_0001.jpg", "image_0002.jpg"]


def test_usis10k_class_agnostic_calls_everything_object(tmp_path: Path) -> None:
    config = config_in(tmp_path, "usis10k_agnostic")
    write_coco(tmp_path / "data", LAYOUTS["usis10k_agnostic"][1], np.uint8)
    assert open_split(config, "val").class_names == ("object",)


def instance_image(values: dict[tuple[int, int, int, int], int]) -> np.ndarray:
    """(y0, y1, x0, x1) to pixel value, 7 (road) elsewhere."""
    image = np.full(SIZE, 7, np.uint16)
    for (y0, y1, x0, x1), value in values.items():
        image[y0:y1, x0:x1] = value
    return image


def test_cityscapes_layout(tmp_path: Path) -> None:
    config, root = config_in(tmp_path, "cityscapes"), tmp_path / "data"
    for city, number in (("aachen", 19), ("bochum", 3)):
        name = f"{city}/{city}_000000_{number:06d}"
        picture(root / f"leftImg8bit/train/{name}_leftImg8bit.png", np.full((*SIZE, 3), number, np.uint8))
        values = {(0, 5, 0, 5): 26000, (0, 5, 10, 15): 26001, (10, 14, 0, 6): 24003, (10, 14, 20, 30): 26}
        picture(root / f"gtFine/train/{name}_gtFine_instanceIds.png", instance_image(values))
        picture(root / f"gtFine/train/{name}_gtFine_labelIds.png", np.zeros(SIZE, np.uint8))
    picture(root / "disparity/train/aachen/aachen_000000_000019_disparity.png", np.full(SIZE, 1 + 256 * 40, np.uint16))
    dataset = open_split(config, "train")
    assert dataset.class_names[:3] == ("person", "rider", "car")
    first, second = dataset
    assert first.file_name == "leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png"
    assert (first.rgb == 19).all()
    assert (second.rgb == 3).all()
    assert sorted(zip(first.class_ids.tolist(), first.masks.sum(axis=(1, 2)).tolist(), strict=True)) == [
        (0, 24), (2, 25), (2, 25),
    ]  # fmt: skip
    (crowd,) = [a for a in dataset.coco.imgToAnns[1] if a["iscrowd"]]
    assert (crowd["category_id"], crowd["area"]) == (26, 40)
    np.testing.assert_allclose(first.depth_m, 2262.52 * 0.209313 / 40, rtol=1e-5)
    assert second.depth_m is None


def test_kitti_layout(tmp_path: Path) -> None:
    config, root = config_in(tmp_path, "kitti"), tmp_path / "data"
    picture(root / "image_2/000000_10.png", np.full((*SIZE, 3), 9, np.uint8))
    # 26 is instance 26 of class 0, not a crowd of cars
    values = {(0, 5, 0, 5): 26 * 256 + 1, (0, 5, 10, 15): 26 * 256 + 2, (9, 12, 0, 4): 26, (9, 12, 9, 12): 24 * 256}
    picture(root / "instance/000000_10.png", instance_image(values))
    (sample,) = open_split(config, "val")
    assert sample.class_ids.tolist() == [2, 2]
    assert sample.masks[0, :5, :5].all()
    assert sample.masks[1, :5, 10:15].all()
    assert sample.masks.sum() == 50
    assert [a["category_id"] for a in open_split(config, "val").coco.anns.values() if a["iscrowd"]] == [24]


def test_instance_images_are_converted_once_and_anew_when_they_change(tmp_path: Path) -> None:
    config, root = config_in(tmp_path, "kitti"), tmp_path / "data"
    for name in ("a", "b"):
        picture(root / f"image_2/{name}.png", np.zeros((*SIZE, 3), np.uint8))
    picture(root / "instance/a.png", instance_image({(0, 5, 0, 5): 26 * 256 + 1}))
    assert len(open_split(config, "val")) == 1
    written = (root / "coco_val.json").stat().st_mtime_ns
    assert len(open_split(config, "val")) == 1
    assert (root / "coco_val.json").stat().st_mtime_ns == written
    picture(root / "instance/b.png", instance_image({(0, 5, 0, 5): 26 * 256 + 1}))
    assert len(open_split(config, "val")) == 2
    picture(root / "instance/c.png", np.zeros(SIZE, np.uint8))
    with pytest.raises(ValueError, match=r"c\.png: uint8 \(24, 32\), expected a 16-bit PNG of class and instance"):
        open_split(config, "val")
    for path in (root / "instance").iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"no instance images: see docs/datasets\.md"):
        open_split(config, "val")


def test_depth_images_may_have_names_of_their_own(tmp_path: Path) -> None:
    config, root = config_in(tmp_path, "coco_folder"), tmp_path / "data"
    layout = LAYOUTS["coco_folder"][0]
    write_coco(root, layout, np.uint16)
    document = json.loads((root / "train.json").read_text())
    document["images"][0]["depth_file_name"] = "sonar/0007_depth.png"
    (root / "train.json").write_text(json.dumps(document))
    picture(root / "depth/sonar/0007_depth.png", np.full(SIZE, 4321, np.uint16))
    np.testing.assert_allclose(open_split(config, "train")[0].depth_m, 4.321)


@pytest.mark.parametrize(
    ("find", "replace", "message"),
    [
        ("format: coco", "format: voc", "format: 'voc': choose one of rendered, coco, cityscapes, kitti"),
        ("images:", "image:", "unknown key 'splits.train.image': did you mean 'images'"),
        ("merge_classes", "merge_clases", "unknown key 'merge_clases': did you mean 'merge_classes'"),
        ("images: train", "images: ../train", "'../train' leads out of"),
        ("images: train", "images: train, depth: d", r"split 'train' has depth images: say what they mean"),
        ("images: train", "images: train, listed_in: a.csv", "listed_as None: give both or neither"),
        ("merge_classes: object", "classes: {1: a}", "unknown key 'classes': did you mean"),
        ("merge_classes: object", "depth: {kind: metres}", "depth.kind: 'metres': choose one of"),
        ("splits:", "splits: {}\nrest:", "no splits"),
    ],
)
def test_configuration_errors_name_the_fix(tmp_path: Path, find: str, replace: str, message: str) -> None:
    text = (CONFIGS / "usis10k_agnostic.yaml").read_text(encoding="utf-8")
    assert find in text
    path = tmp_path / "data.yaml"
    path.write_text(text.replace(find, replace), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        open_split(path, "train")


def test_a_missing_or_unknown_split_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.yaml: no such data set"):
        open_split(tmp_path / "nowhere.yaml", "train")
    with pytest.raises(ValueError, match="no split 'tset': choose one of train, val, test"):
        open_split(config_in(tmp_path, "zerowaste"), "tset")
    with pytest.raises(FileNotFoundError, match=r"train/labels\.json: no such COCO file"):
        open_split(config_in(tmp_path, "zerowaste"), "train")
