"""Worker processes share the labels of a data set: none has a copy of them, and nothing is left behind."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from folder_cases import document, encoded, noise, write_set
from spawn_cases import in_another_process, own_kib, seen

from training.data.dataset import open_split
from training.data.label_store import LabelStore


def test_another_process_sees_the_same_labels(tmp_path: Path) -> None:
    labels = document(["a.png", "b.png", "c.png"])
    labels["annotations"][1]["segmentation"] = {"size": [40, 60], "counts": [5, 10, 2385]}
    labels["annotations"][2]["iscrowd"] = 1
    files = {name: encoded(noise(i)) for i, name in enumerate(("a.png", "b.png", "c.png"))}
    dataset = open_split(write_set(tmp_path, {"train": files}, labels=labels), "train")
    for here, there in zip(seen(dataset), in_another_process(seen, dataset), strict=True):
        assert here[:2] == there[:2]
        np.testing.assert_array_equal(here[2], there[2])
        assert here[3] == there[3]
    coco = dataset.coco
    for i, image_id in enumerate(dataset.image_ids):
        plain = [coco.annToMask(a) > 0 for a in coco.imgToAnns[image_id] if not a["iscrowd"]]
        np.testing.assert_array_equal(dataset.instances(i)[0], np.array(plain).reshape(-1, 40, 60))


def test_a_part_of_a_set_has_its_own_pictures_here_and_in_another_process(tmp_path: Path) -> None:
    files = {f"{i}.png": encoded(noise(i)) for i in range(4)}
    part = open_split(write_set(tmp_path, {"train": files}), "train").part([3, 1]).part([1, 0])
    for found in (seen(part), in_another_process(seen, part)):
        assert [name for name, *_ in found] == ["1.png", "3.png"]
    assert part.coco.getImgIds() == [1, 2, 3, 4]
    np.testing.assert_array_equal(part[1].rgb, noise(3))


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux tells what memory is of files")
def test_another_process_has_no_copy_of_the_labels() -> None:
    payload = os.urandom(10_000)
    large = LabelStore(({"id": i}, [{"segmentation": payload + bytes([i % 256])}]) for i in range(8000))  # 80 MB
    small = LabelStore([({"id": 0}, [])])
    extra = in_another_process(own_kib, large, 8000) - in_another_process(own_kib, small, 1)
    assert extra < 8_000


def test_the_file_has_no_name_and_nothing_is_left_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    store = LabelStore(({"id": i}, [{"n": i}]) for i in range(10))
    assert (store.record(7), store.annotations(7)) == ({"id": 7}, [{"n": 7}])
    assert not list(tmp_path.iterdir())
    del store
    if before:
        assert len(os.listdir("/proc/self/fd")) == before


def test_a_set_without_pictures_has_an_empty_store() -> None:
    with pytest.raises(IndexError):
        LabelStore([]).record(0)
