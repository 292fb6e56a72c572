"""The COCO folder of a rendered split."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from training.data import rendered_folder
from training.data.rendered_folder import (
    RenderedConfig,
    Split,
    depth_to_png,
    digest_of_split,
    load_rendered_config,
    write_split,
)
from training.world.frame import RenderedFrame, Survey, render_image
from training.world.jerlov import WATERS
from training.world.scene import CLASS_NAMES

SIZE = (64, 80)


@pytest.fixture
def config(tmp_path: Path) -> RenderedConfig:
    return RenderedConfig(tmp_path, SIZE, {"train": Split(seed=4, n_images=5)})


def test_round_trip_through_pycocotools(config: RenderedConfig) -> None:
    folder = write_split(config, "train", workers=1)
    coco = COCO(str(folder / "annotations.json"))
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == list(CLASS_NAMES)
    assert sorted(coco.getImgIds()) == list(range(5))
    for index in range(5):
        frame = render_image(4, index, SIZE)
        info = coco.loadImgs(index)[0]
        rgb = cv2.imread(str(folder / "rgb" / info["file_name"]))[..., ::-1]
        assert np.array_equal(rgb, frame.rgb)
        depth = cv2.imread(str(folder / "depth" / info["file_name"]), cv2.IMREAD_UNCHANGED)
        assert depth.dtype == np.uint16
        known = np.isfinite(frame.depth_m)
        assert ((depth > 0) == known).all()
        np.testing.assert_allclose(depth[known] / 1000.0, frame.depth_m[known], atol=5.1e-4)
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=index))
        label = np.zeros(SIZE, np.uint16)
        for k, annotation in enumerate(annotations, start=1):
            mask = coco.annToMask(annotation).astype(bool)
            assert annotation["area"] == mask.sum() == (frame.label == k).sum()
            assert annotation["category_id"] == frame.class_ids[k - 1] + 1
            rows, columns = np.nonzero(mask)
            x, y, w, h = annotation["bbox"]
            assert (x, y, x + w, y + h) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert not label[mask].any()  # masks do not overlap
            label[mask] = k
        assert np.array_equal(label, frame.label)


def test_an_interrupted_run_is_completed_and_only_the_rest_rendered(
    config: RenderedConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = RenderedConfig(config.root / "whole", SIZE, config.splits)
    expected = (write_split(whole, "train", workers=1) / "annotations.json").read_bytes()

    rendered: list[int] = []
    original = rendered_folder.render_image

    def dies_at_third(seed: int, index: int, size_hw: tuple[int, int], **kind: bool) -> RenderedFrame:
        if len(rendered) == 2:
            raise KeyboardInterrupt
        rendered.append(index)
        return original(seed, index, size_hw, **kind)

    monkeypatch.setattr(rendered_folder, "render_image", dies_at_third)
    with pytest.raises(KeyboardInterrupt):
        write_split(config, "train", workers=1)
    assert not (config.root / "train" / "annotations.json").exists()

    resumed: list[int] = []

    def counts(seed: int, index: int, size_hw: tuple[int, int], **kind: bool) -> RenderedFrame:
        resumed.append(index)
        return original(seed, index, size_hw, **kind)

    monkeypatch.setattr(rendered_folder, "render_image", counts)
    folder = write_split(config, "train", workers=1)
    assert resumed == [2, 3, 4]
    assert (folder / "annotations.json").read_bytes() == expected


def test_result_does_not_depend_on_the_number_of_processes(config: RenderedConfig) -> None:
    other = RenderedConfig(config.root / "two", SIZE, config.splits)
    one, two = write_split(config, "train", workers=1), write_split(other, "train", workers=2)
    for name in ["annotations.json", *(f"{kind}/{i:06d}.png" for kind in ("rgb", "depth") for i in range(5))]:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name


def test_pictures_of_another_seed_are_rendered_again(config: RenderedConfig) -> None:
    write_split(config, "train", workers=1, limit=1)
    changed = RenderedConfig(config.root, SIZE, {"train": Split(seed=9, n_images=1)})
    folder = write_split(changed, "train", workers=1)
    rgb = cv2.imread(str(folder / "rgb" / "000000.png"))[..., ::-1]
    assert np.array_equal(rgb, render_image(9, 0, SIZE).rgb)


def test_clutter_replaces_every_so_many_pictures_and_no_other(config: RenderedConfig) -> None:
    folder = write_split(config, "train", workers=1)
    before = [(folder / "rgb" / f"{i:06d}.png").read_bytes() for i in range(5)]
    mixed = RenderedConfig(config.root, SIZE, {"train": Split(seed=4, n_images=5, clutter_every=2)})
    write_split(mixed, "train", workers=1)
    after = [(folder / "rgb" / f"{i:06d}.png").read_bytes() for i in range(5)]
    assert [a != b for a, b in zip(before, after, strict=True)] == [False, True, False, True, False]
    coco = COCO(str(folder / "annotations.json"))
    for index in (1, 3):
        names = {coco.cats[a["category_id"]]["name"] for a in coco.imgToAnns[index]}
        assert names == {"object"}  # no hull, nothing of a hull


def test_pictures_from_before_a_split_named_its_world_are_kept(config: RenderedConfig) -> None:
    folder = write_split(config, "train", workers=1, limit=1)
    part = folder / "parts" / "000000.json"
    record = json.loads(part.read_text())
    part.write_text(json.dumps({k: v for k, v in record.items() if k not in ("world", "water", "clutter")}))
    written = part.stat().st_mtime_ns
    write_split(config, "train", workers=1, limit=1)
    assert part.stat().st_mtime_ns == written


def test_a_survey_is_sequences_of_frames_half_a_metre_apart_and_resumes(tmp_path: Path) -> None:
    config = RenderedConfig(tmp_path, SIZE, {"survey": Split(7, 14, world="survey", water="jerlov_i")})
    folder = write_split(config, "survey", workers=1)
    # 12 frames of the hull of seed 7, then the hull of seed 8
    for index, seed, frame in ((1, 7, 20), (11, 7, 220), (13, 8, 20)):
        rgb = cv2.imread(str(folder / "rgb" / f"{index:06d}.png"))[..., ::-1]
        assert np.array_equal(rgb, Survey(seed, SIZE, "jerlov_i").frame(frame).rgb), index

    whole = (folder / "annotations.json").read_bytes()
    kept, lost = folder / "rgb" / "000004.png", folder / "rgb" / "000005.png"
    written, expected = kept.stat().st_mtime_ns, lost.read_bytes()
    lost.unlink()
    write_split(config, "survey", workers=1)
    assert lost.read_bytes() == expected
    assert kept.stat().st_mtime_ns == written
    assert (folder / "annotations.json").read_bytes() == whole


def test_pictures_of_another_water_are_rendered_again(tmp_path: Path) -> None:
    for water in ("usual", "jerlov_9c"):
        config = RenderedConfig(tmp_path, SIZE, {"survey": Split(7, 1, world="survey", water=water)})
        folder = write_split(config, "survey", workers=1)
        rgb = cv2.imread(str(folder / "rgb" / "000000.png"))[..., ::-1]
        assert np.array_equal(rgb, Survey(7, SIZE, water).frame(0).rgb)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("{seed: 1, n_images: 2, world: reef}", "world: 'reef': choose one of stills, survey"),
        ("{seed: 1, n_images: 2, world: survey, water: mud}", "water 'mud': choose one of usual, jerlov_i, "),
        ("{seed: 1, n_images: 2, water: jerlov_i}", "water 'jerlov_i' with world 'stills': .* needs world: survey"),
        ("{seed: 1, n_images: 2, world: survey, clutter_every: 4}", "clutter_every 4 .* needs world: stills"),
        ("{seed: 1, n_images: 2, watr: usual}", "watr"),
        ("{seed: 1}", "n_images"),
    ],
)
def test_a_split_that_cannot_be_rendered_is_named_with_the_choices(tmp_path: Path, given: str, message: str) -> None:
    path = tmp_path / "data.yaml"
    path.write_text(
        f"root: x\nimage_size_hw: [64, 80]\nclasses: [{', '.join(CLASS_NAMES)}]\nsplits: {{odd: {given}}}\n"
    )
    with pytest.raises(ValueError, match=f"data.yaml: .*splits.odd.*{message}"):
        load_rendered_config(path)


def test_unknown_depth_is_zero_millimetres() -> None:
    depth = np.array([[1.2344, np.nan, 70.0]], np.float32)
    assert depth_to_png(depth).tolist() == [[1234, 0, 0]]


def test_unknown_split_and_wrong_classes_are_refused(config: RenderedConfig, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no split 'test': choose one of train"):
        write_split(config, "test")
    path = tmp_path / "data.yaml"
    path.write_text(json.dumps({"root": "x", "image_size_hw": [64, 80], "classes": ["fish"], "splits": {}}))
    with pytest.raises(ValueError, match="differ from the rendered world's"):
        load_rendered_config(path)


def test_shipped_configuration_is_valid() -> None:
    config = load_rendered_config(Path(__file__).parents[3] / "config" / "data" / "rendered.yaml")
    assert config.splits["train"].seed != config.splits["val"].seed
    assert config.splits["val"].n_images == 500


def test_shipped_waters_show_the_same_hulls() -> None:
    config = load_rendered_config(Path(__file__).parents[3] / "config" / "data" / "rendered_water.yaml")
    assert {name: split.water for name, split in config.splits.items()} == {name: name for name in WATERS}
    assert len({(split.seed, split.n_images, split.world) for split in config.splits.values()}) == 1


def test_the_digest_is_that_of_all_files_in_order_and_sees_a_single_byte(config: RenderedConfig) -> None:
    folder = write_split(config, "train", workers=1)
    files = [*sorted((folder / "rgb").iterdir()), *sorted((folder / "depth").iterdir()), folder / "annotations.json"]
    assert len(files) == 11
    digest = digest_of_split(folder)
    assert digest == hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    for path in (files[3], files[7], files[-1]):
        content = path.read_bytes()
        path.write_bytes(content + b" ")
        assert digest_of_split(folder) != digest
        path.write_bytes(content)
