"""The curve of fine-tuning: which pictures are learned from, what is measured, and what is not done again."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mixed_sets import write_set
from small_model import SMALL

from benchmarks import fine_tuning
from benchmarks.fine_tuning import draw, format_table, run, spread
from spda_sam_core.config import load_model_config
from spda_sam_core.network.network import build_network
from spda_sam_core.spda_sam import SpdaSam
from spda_sam_core.weights.checkpoint import save_checkpoint
from training.data.dataset import open_split
from training.learning.train_config import TrainConfig, load_train_config, write_model

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    """Two steps on pictures of grey squares, from an untrained checkpoint."""
    data = write_set(tmp_path / "squares", ["fish"], pictures=7)
    write_model(tmp_path / "model.yaml", "tiny", SMALL)
    torch.manual_seed(0)
    network = build_network(load_model_config(str(tmp_path / "model.yaml"), class_names=("fish",)))
    save_checkpoint(tmp_path / "first.safetensors", network, {})
    return dataclasses.replace(
        load_train_config(REPOSITORY / "config/train/fine_tune.yaml"),
        data=str(data),
        model=str(tmp_path / "model.yaml"),
        init_from=str(tmp_path / "first.safetensors"),
        output=str(tmp_path / "runs"),
        steps=2,
        batch_size=2,
        warmup_steps=1,
        decay_steps=1,
        decoded_per_image=4,
        learning_rate=0.05,
    )


def test_pictures_are_taken_evenly_and_no_more_than_there_are(config: TrainConfig) -> None:
    pictures = open_split(config.data_set, "train")
    names = [pictures.file_name(i) for i in range(7)]
    assert [spread(pictures, 3).file_name(i) for i in range(3)] == [names[0], names[3], names[6]]
    with pytest.raises(ValueError, match="--pictures 8: there are 7 to train on"):
        spread(pictures, 8)


def test_each_point_is_measured_on_all_of_val_and_kept(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = {name: open_split(config.data_set, name) for name in ("train", "val")}
    seen: list[int] = []
    measured: list[str] = []

    class Recorded(fine_tuning.Trainer):
        def __init__(self, config, train, validation, device) -> None:
            seen.append(len(train))
            super().__init__(config, train, validation, device)

    def load(checkpoint: str, **options: str) -> SpdaSam:
        measured.append(checkpoint)
        return SpdaSam.from_pretrained(checkpoint, **options)

    monkeypatch.setattr(fine_tuning, "Trainer", Recorded)
    monkeypatch.setattr(fine_tuning, "SpdaSam", SimpleNamespace(from_pretrained=load))
    before, after = (run(config, count, splits, device=torch.device("cpu"), workers=0) for count in (0, 3))
    assert seen == [3]
    assert [r["n_images"] for r in (before, after)] == [7, 7]
    assert [r["training_seconds"] > 0 for r in (before, after)] == [False, True]
    # the last weights, not the best ones: what is best would be told by a picture that is learned from
    assert measured == [config.init_from, str(tmp_path / "runs/0003/spda_sam_tiny.safetensors")]
    assert run(config, 3, splits, device=torch.device("cpu"), workers=0) == after
    assert seen == [3]


def test_the_table_and_the_picture_show_each_number_of_pictures() -> None:
    results = [
        {"pictures": n, "training_seconds": 9.6 * n, **dict.fromkeys(fine_tuning.SCORES, 1.25 * n)} for n in (0, 10)
    ]
    assert format_table(results).splitlines()[2:] == [
        "| 0 | 0.0 | 0.0 | 0.0 | 0.0 | 0 |",
        "| 10 | 12.5 | 12.5 | 12.5 | 12.5 | 96 |",
    ]
    (axes,) = draw(results, "tiny").axes
    assert [line.get_xydata().tolist() for line in axes.lines] == [[[0, 0], [10, 12.5]]] * 4
