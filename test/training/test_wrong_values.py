"""Every value of a wrong type, in every kind of YAML, is refused in one line: file, key, value and what is wanted."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.peers_setup import load_setup
from spda_sam_core.config import load_model_config
from training.ablate import load_ablation
from training.data.data_config import load_data_config, split_files
from training.data.rendered_folder import load_rendered_config
from training.data.vocabulary import load_vocabulary
from training.learning.train_config import load_train_config

REPOSITORY = Path(__file__).resolve().parents[2]
READERS: dict[str, Any] = {
    "train/tiny": load_train_config,
    "train/sea": load_train_config,
    "classes/sea": load_vocabulary,
    "model/tiny": lambda path: load_model_config(path, class_names=("a",)),
    "data/coco_folder": load_data_config,
    "data/cityscapes": load_data_config,
    "data/liaci": load_data_config,
    "data/rendered": load_rendered_config,
    "ablation": load_ablation,
    "peers": load_setup,
}


@pytest.mark.parametrize("kind", READERS)
def test_the_shipped_file_is_read(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    READERS[kind](Path(f"config/{kind}.yaml"))


@pytest.mark.parametrize(
    ("kind", "key", "value", "message"),
    [
        ("train/tiny", "steps", "4k", "steps: '4k' is no whole number"),
        ("train/tiny", "steps", "4000", "steps: '4000' is no whole number"),
        ("train/tiny", "steps", 4000.5, "steps: 4000.5 is no whole number"),
        ("train/tiny", "steps", True, "steps: True is no whole number"),
        ("train/tiny", "steps", None, "steps: None is no whole number"),
        ("train/tiny", "steps", [4000], "steps: [4000] is no whole number"),
        ("train/tiny", "learning_rate", "fast", "learning_rate: 'fast' is no number"),
        ("train/tiny", "learning_rate", float("nan"), "learning_rate: nan is no finite number"),
        ("train/tiny", "learning_rate", False, "learning_rate: False is no number"),
        ("train/tiny", "data", 3, "data: 3 is no text"),
        ("train/tiny", "data", [3], "data[0]: 3 is no mapping of keys to values"),
        ("train/tiny", "data", {"data": "a"}, "data: {'data': 'a'} is no text and no list"),
        ("train/sea", "classes", 3, "classes: 3 is no text"),
        ("train/sea", "augment.copy_paste", 2, "augment: copy_paste 2.0 must lie in [0, 1]"),
        ("train/tiny", "init_from", 1, "init_from: 1 is no text"),
        ("train/tiny", "augment.scale", [0.5, "1.8"], "augment.scale[1]: '1.8' is no number"),
        ("train/tiny", "augment.scale", 2, "augment.scale: 2 is no list"),
        ("train/tiny", "augment.scale", [1, 2, 3], "augment.scale: [1, 2, 3] has 3 values, not 2"),
        ("train/tiny", "augment.scale", [1], "missing augment.scale[1]"),
        ("train/tiny", "augment.scale", [2, 1], "augment: scale (2.0, 1.0) must rise from above 0"),
        ("train/tiny", "clip_gradient", 0, "clip_gradient 0.0 must be above 0"),
        ("train/tiny", "seed", -1, "seed -1 must be at least 0"),
        ("train/tiny", "loss_weights.iou", -1, "loss_weights: iou -1.0 must be at least 0"),
        ("data/rendered", "splits.val.n_images", 0, "splits.val: n_images 0 must be at least 1"),
        ("ablation", "rows", [{"name": "a", "title": "a", "seeds": 0}], "rows[0]: seeds 0 must be at least 1"),
        ("train/tiny", "augment.flip", "often", "augment.flip: 'often' is no number"),
        ("train/tiny", "augment", [1], "augment: [1] is no mapping of keys to values"),
        ("train/tiny", "loss_weights.iou", "1", "loss_weights.iou: '1' is no number"),
        ("train/tiny", "loss_weights.box", 1, "unknown key 'loss_weights.box': did you mean 'boxes'?"),
        ("model/tiny", "use_depth", "yes please", "use_depth: 'yes please' is neither true nor false"),
        ("model/tiny", "use_depth", 1, "use_depth: 1 is neither true nor false"),
        ("model/tiny", "input_size", "384", "input_size: '384' is no whole number"),
        ("model/tiny", "depth_widths", [16, 32, 6.5], "depth_widths[2]: 6.5 is no whole number"),
        ("model/tiny", "encoder", "resnet", "encoder: 'resnet': choose one of efficientnet_lite0"),
        ("model/tiny", "class_names", ["a"], "class_names are those of the data: leave them out"),
        ("data/coco_folder", "root", 7, "root: 7 is no text"),
        ("data/coco_folder", "splits.train.images", 7, "splits.train.images: 7 is no text"),
        ("data/coco_folder", "splits.train.annotations", 7, "splits.train.annotations: 7 is no text and no list"),
        ("data/coco_folder", "splits.train", "train", "splits.train: 'train' is no mapping of keys to values"),
        ("data/coco_folder", "splits.train.image", "rgb", "unknown key 'splits.train.image': did you mean 'images'?"),
        ("data/coco_folder", "depth.focal_px", "wide", "depth.focal_px: 'wide' is no number"),
        ("data/coco_folder", "depth.kind", "feet", "depth.kind: 'feet': choose one of millimetres, disparity"),
        ("data/coco_folder", "format", ["coco"], "format: ['coco']: choose one of rendered, coco, cityscapes"),
        ("data/cityscapes", "classes", {"car": 26}, "classes.car: 'car' is no whole number; classes.car: 26 is"),
        ("data/cityscapes", "splits.val.instances", 1, "splits.val.instances: 1 is no text"),
        ("data/liaci", "splits.val.listed_as", True, "splits.val.listed_as: True is no text"),
        ("data/rendered", "image_size_hw", [384, "512"], "image_size_hw[1]: '512' is no whole number"),
        ("data/rendered", "splits.train.seed", "one", "splits.train.seed: 'one' is no whole number"),
        ("data/rendered", "splits.train.world", "reef", "splits.train.world: 'reef': choose one of stills, survey"),
        ("ablation", "rows", [{"name": "a", "title": "a", "seeds": "3"}], "rows[0].seeds: '3' is no whole number"),
        ("ablation", "rows", {"a": 1}, "rows: {'a': 1} is no list"),
        ("ablation", "output", False, "output: False is no text"),
        ("peers", "warmup_share", "0.1", "warmup_share: '0.1' is no number"),
        ("peers", "peers", [{"name": "a", "title": "A", "network": 1}], "peers[0].network: 1: choose one of spda_sam"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_by_file_key_and_value_with_what_is_wanted(
    kind: str, key: str, value: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    entries = yaml.safe_load((REPOSITORY / f"config/{kind}.yaml").read_text(encoding="utf-8"))
    *parents, last = key.split(".")
    place = entries
    for parent in parents:
        place = place.setdefault(parent, {})
    place[last] = value
    path = tmp_path / "a.yaml"
    path.write_text(yaml.safe_dump(entries), encoding="utf-8")
    with pytest.raises(ValueError) as error:  # noqa: PT011
        READERS[kind](path)
    assert str(error.value).startswith(f"{path}: {message}")
    assert "\n" not in str(error.value)


def places(entries: Any) -> Iterator[tuple[Any, Any]]:
    """Every mapping or list in entries, with each of its keys."""
    keys = list(entries) if isinstance(entries, dict) else range(len(entries)) if isinstance(entries, list) else ()
    for key in keys:
        yield entries, key
        yield from places(entries[key])


@pytest.mark.parametrize("kind", [kind for kind in READERS if kind != "ablation"])  # it reads three files each time
def test_whatever_stands_anywhere_is_read_or_refused_in_one_line(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    entries = yaml.safe_load((REPOSITORY / f"config/{kind}.yaml").read_text(encoding="utf-8"))
    path = tmp_path / "a.yaml"
    told: list[str] = []
    for holder, key in places(entries):
        sound = holder[key]
        for junk in (None, [], "x", -1, True, float("inf"), date(2026, 1, 1), {"str": 1}, {date(2026, 1, 1): 1}):
            holder[key] = junk
            path.write_text(yaml.safe_dump(entries), encoding="utf-8")
            try:
                READERS[kind](path)
            except FileNotFoundError:  # the name of another file
                pass
            except ValueError as error:
                told.append(str(error))
        holder[key] = sound
    assert len(told) > 20
    assert [text for text in told if "\n" in text or not text.startswith(str(path))] == []


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"model": {"num_proposals": "many"}}, "num_proposals: 'many' is no whole number"),
        ({"model": {"class_names": ["a"]}}, "class_names are those of the data"),
        ({"train": {"augment": {"flip": "no"}}}, "augment.flip: 'no' is no number"),
        ({"train": {"steps": 0}}, "steps 0 must be at least 1"),
    ],
)
def test_what_a_variant_changes_is_checked_before_anything_runs(
    row: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    rows = [{"name": "a", "title": "a", "seeds": 1, **row}]
    path = tmp_path / "a.yaml"
    path.write_text(yaml.safe_dump({"train": "config/train/ablation.yaml", "output": "runs", "rows": rows}))
    with pytest.raises(ValueError) as error:  # noqa: PT011
        load_ablation(path)
    assert str(error.value).startswith(f"{path}, row a: ")
    assert message in str(error.value)


def test_a_data_set_that_is_wrong_elsewhere_is_refused_when_a_split_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("splits: {train: {seed: 1, n_images: 2}}\n")
    with pytest.raises(ValueError, match=r"a\.yaml: missing root, image_size_hw"):
        split_files(path, "train")
