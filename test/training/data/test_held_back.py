"""A slice of the training pictures to validate on: whole clips, and the same ones in every run."""

from __future__ import annotations

from pathlib import Path

import pytest
from mixed_sets import write_set

from training.data.data_config import scene_of_pictures
from training.data.dataset import open_split
from training.data.held_back import held_back


def test_no_clip_is_parted_and_the_share_is_about_what_was_asked_for(tmp_path: Path) -> None:
    path = write_set(tmp_path / "sea", ["fish"], pictures=40, scenes=r"clip\d+", clip=4)
    pictures, scene = open_split(path, "train"), scene_of_pictures(path)
    taken = held_back(pictures, 0.2, scene)
    assert len(taken) == 8
    assert {i // 4 for i in taken}.isdisjoint({i // 4 for i in range(40) if i not in taken})
    assert held_back(pictures, 0.2, scene) == taken
    assert set(taken) < set(held_back(pictures, 0.5, scene))
    assert held_back(pictures, 0.0, scene) == []


def test_without_scenes_each_picture_stands_alone(tmp_path: Path) -> None:
    path = write_set(tmp_path / "sea", ["fish"], pictures=10, clip=5)
    assert len(held_back(open_split(path, "train"), 0.3, scene_of_pictures(path))) == 3


def test_a_slice_that_leaves_nothing_is_refused(tmp_path: Path) -> None:
    path = write_set(tmp_path / "sea", ["fish"], pictures=4, scenes="clip", clip=2)
    with pytest.raises(ValueError, match=r"held_back 0\.1 takes all 4 pictures, which are of 1 scenes: give a smaller"):
        held_back(open_split(path, "train"), 0.1, scene_of_pictures(path))


def test_scenes_that_are_no_pattern_are_refused(tmp_path: Path) -> None:
    path = write_set(tmp_path / "sea", ["fish"], scenes="clip(")
    with pytest.raises(ValueError, match=r"sea\.yaml: scenes 'clip\(' is no regular expression"):
        open_split(path, "train")
