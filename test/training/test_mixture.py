"""Training on several sets at once, as a user has it: by weight, class by name, with and without depth, resumed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from mixed_sets import write_set

from spda_sam_core.weights.checkpoint import load_checkpoint
from training.data.batches import TrainingBatches
from training.data.mixture import DataShare
from training.data.training_data import open_training_data
from training.learning.train_config import TrainConfig, load_train_config
from training.learning.trainer import Trainer
from training.train import main, train

SIZE = 96
VOCABULARY = {"classes": ["anode", "fish", "unused", "trash"], "names": {"fish": ["animal_fish"]}}


@pytest.fixture
def mixed(config: TrainConfig, tmp_path: Path) -> TrainConfig:
    """A run on three sets: with depth and complete; larger and without depth; upright, repeated, in clips."""
    (tmp_path / "classes.yaml").write_text(yaml.safe_dump(VOCABULARY), encoding="utf-8")
    sets = (
        write_set(tmp_path / "hulls", ["anode"], depth=True, pictures=6),
        write_set(
            tmp_path / "sea", ["trash", "animal_fish"], size_hw=(120, 200), pictures=12, scenes=r"clip\d+", clip=3
        ),
        write_set(tmp_path / "tank", ["fish"], size_hw=(90, 60), pictures=5),
    )
    shares = (
        DataShare(str(sets[0]), weight=2, complete=True, held_back=0.3),
        DataShare(str(sets[1]), weight=5, held_back=0.2, repeat_below=0.3),
        DataShare(str(sets[2]), weight=1, labels=("fish", "trash")),
    )
    return dataclasses.replace(config, data=shares, classes=str(tmp_path / "classes.yaml"), batch_size=8)


def trainer_of(config: TrainConfig) -> Trainer:
    return Trainer(config, *open_training_data(config), torch.device("cpu"))


def test_the_model_gets_the_classes_that_some_set_has_and_knows_what_each_labels(mixed: TrainConfig) -> None:
    data = open_training_data(mixed)
    assert data.train.class_names == ("anode", "fish", "trash")
    labelled = [dict(zip(data.train.class_names, each.labelled or (), strict=True)) for each in data.train.sets]
    assert [[name for name, is_so in each.items() if is_so] for each in labelled] == [
        ["anode"], ["fish", "trash"], ["fish", "trash"],
    ]  # fmt: skip
    assert [each.complete for each in data.train.sets] == [True, False, False]


def test_the_catch_all_of_the_vocabulary_reaches_the_losses_where_some_set_has_it(
    mixed: TrainConfig, tmp_path: Path
) -> None:
    for name, number in (("trash", 2), ("unused", None)):
        text = yaml.safe_dump({**VOCABULARY, "catch_all": name})
        (tmp_path / "classes.yaml").write_text(text, encoding="utf-8")
        assert trainer_of(mixed).losses.catch_all == number


def test_without_a_vocabulary_classes_are_joined_by_the_names_that_sets_give(mixed: TrainConfig) -> None:
    data = open_training_data(dataclasses.replace(mixed, classes=None))
    assert data.train.class_names == ("anode", "trash", "animal_fish", "fish")


def test_what_is_validated_on_is_whole_clips_of_the_training_pictures_that_are_not_learned_from(
    mixed: TrainConfig,
) -> None:
    data = open_training_data(mixed)
    assert list(data.validation) == ["hulls_train", "sea_train"]
    for name, pictures in data.validation.items():
        (learned,) = (each.pictures for each in data.train.sets if each.name == name)
        clips = [{each.file_name(i).split("_")[0] for i in range(len(each))} for each in (pictures, learned)]
        assert clips[0].isdisjoint(clips[1])
        assert len(pictures) + len(learned) == {"hulls_train": 6, "sea_train": 12}[name]
    few = open_training_data(dataclasses.replace(mixed, n_validation=1))
    assert {len(pictures) for pictures in few.validation.values()} == {1}


def test_sets_with_and_without_depth_and_of_any_size_share_a_batch_by_their_weights(mixed: TrainConfig) -> None:
    shown = dataclasses.replace(mixed.augment, no_depth=0.0, estimated_depth=0.0, sensor_holes=0.0, scale=(0.9, 1.1))
    config = dataclasses.replace(mixed, augment=shown, steps=8)
    data = open_training_data(config)
    counts = np.zeros(3)
    for step in range(8):
        batch = TrainingBatches(data.train, config, SIZE, first_step=0).batch(step)
        assert batch.image.shape == (8, SIZE, SIZE, 3)
        counts += np.bincount(batch.origin, minlength=3)
        for origin, valid, classes in zip(batch.origin, batch.depth_valid, batch.class_ids, strict=True):
            assert bool(valid.any()) == (origin == 0)
            own = {0: {"anode"}, 1: {"fish", "trash"}, 2: {"fish"}}[int(origin)]
            assert {data.train.class_names[c] for c in classes.tolist()} <= own
    np.testing.assert_allclose(counts, [16, 40, 8], atol=2)


@pytest.mark.parametrize("copy_paste", [0.0, 0.8])
def test_a_run_that_was_interrupted_or_shared_sees_the_same_pictures(mixed: TrainConfig, copy_paste: float) -> None:
    config = dataclasses.replace(mixed, augment=dataclasses.replace(mixed.augment, copy_paste=copy_paste))
    whole = list(TrainingBatches(open_training_data(config).train, config, SIZE, first_step=0))
    again = TrainingBatches(open_training_data(config).train, config, SIZE, first_step=4, share=[2, 5])
    for late, batch in zip(again, whole[4:], strict=True):
        assert torch.equal(late.image, batch.image[[2, 5]])
        assert torch.equal(late.origin, batch.origin[[2, 5]])
        assert all(torch.equal(a, batch.masks[i]) for a, i in zip(late.masks, (2, 5), strict=True))
    assert len({batch.image.sum().item() for batch in whole}) == len(whole)


def test_copy_paste_puts_things_of_one_set_into_pictures_of_another(mixed: TrainConfig) -> None:
    config = dataclasses.replace(mixed, augment=dataclasses.replace(mixed.augment, copy_paste=1.0))
    data = open_training_data(config)
    foreign = 0
    for step in range(6):
        batch = TrainingBatches(data.train, config, SIZE, first_step=0).batch(step)
        pairs = zip(batch.origin.tolist(), batch.class_ids, strict=True)
        foreign += sum(data.train.class_names.index("anode") in classes for origin, classes in pairs if origin)
    assert foreign > 0
    assert not isinstance(config.data, str)
    first, *rest = config.data
    kept = dataclasses.replace(config, data=(dataclasses.replace(first, lends=False), *rest))
    train = open_training_data(kept).train
    for step in range(6):
        batch = TrainingBatches(train, kept, SIZE, first_step=0).batch(step)
        pairs = zip(batch.origin.tolist(), batch.class_ids, strict=True)
        assert not any(train.class_names.index("anode") in classes for origin, classes in pairs if origin)
    with pytest.raises(ValueError, match=r"augment\.copy_paste 1\.0: no set of data lends things to paste"):
        dataclasses.replace(config, data=tuple(dataclasses.replace(share, lends=False) for share in config.data))


def test_it_trains_resumes_and_writes_the_mean_over_the_sets(mixed: TrainConfig, tmp_path: Path) -> None:
    path = train(trainer_of(mixed))
    whole = torch.load(tmp_path / "run/resume.pt", weights_only=True)
    _, info = load_checkpoint(path)
    assert info.config.class_names == ("anode", "fish", "trash")
    metrics = info.metadata["metrics"]
    assert set(metrics["sets"]) == {"hulls_train", "sea_train"}
    of_sets = [each["mask_ap_agnostic"] for each in metrics["sets"].values()]
    assert metrics["mask_ap_agnostic"] == pytest.approx(np.mean(of_sets))
    assert [each["depth"] for each in metrics["sets"].values()] == ["true", "none"]
    assert info.metadata["n_training_images"] == 6 - 2 + 12 - 3 + 5
    again = dataclasses.replace(mixed, output=str(tmp_path / "again"))
    stopped = trainer_of(again)
    batches = stopped.batches(workers=0)
    for _ in range(3):
        stopped.run_step(next(batches))
    stopped.save()
    resumed = trainer_of(again)
    resumed.resume()
    train(resumed)
    pieces = torch.load(tmp_path / "again/resume.pt", weights_only=True)
    assert all(torch.equal(weight, pieces["model"][name]) for name, weight in whole["model"].items())


def test_the_command_takes_a_mixture(
    mixed: TrainConfig, run_file: Callable[[TrainConfig], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run_file(dataclasses.replace(mixed, steps=2, warmup_steps=1))
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    shares = [
        {key: list(value) if isinstance(value, tuple) else value for key, value in dataclasses.asdict(share).items()}
        for share in mixed.data
        if isinstance(share, DataShare)
    ]
    path.write_text(yaml.safe_dump({**entries, "data": shares}), encoding="utf-8")
    main(["--config", str(path), "--workers", "0", "--device", "cpu"])
    assert capsys.readouterr().out.strip().endswith("spda_sam_tiny.safetensors")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([{"data": "a.yaml", "weight": 0}], r"data\[0\]: weight 0.0 must be above 0: leave a set out"),
        ([{"data": "a.yaml", "weight": "much"}], r"data\[0\].weight: 'much' is no number"),
        ([{"data": "a.yaml", "held_back": 1}], r"data\[0\]: held_back 1.0 must lie in \[0, 1\)"),
        ([{"data": "a.yaml", "wieght": 1}], r"unknown key 'data\[0\].wieght': did you mean 'weight'"),
        ([{"data": "a.yaml", "labels": "fish"}], r"data\[0\].labels: 'fish' is no list"),
        ([{"split": "train"}], r"missing data\[0\].data"),
        ([], r"data lists \[\]: give at least one set"),
        ([{"data": "a.yaml"}, {"data": "a.yaml"}], r"data lists \['a_train', 'a_train'\]: .* each split once"),
        ("a.yaml", "classes .*classes.yaml join a list of sets, data is a.yaml alone: leave classes out"),
    ],
)
def test_a_wrong_mixture_is_refused_by_file_key_and_value(
    mixed: TrainConfig, run_file: Callable[[TrainConfig], Path], data: object, message: str
) -> None:
    path = run_file(dataclasses.replace(mixed))
    entries = {**yaml.safe_load(path.read_text(encoding="utf-8")), "data": data}
    path.write_text(yaml.safe_dump(entries), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"^{path}: {message}"):
        load_train_config(path)


def test_what_no_mixture_can_be_made_of_is_refused_with_the_set(mixed: TrainConfig, tmp_path: Path) -> None:
    assert not isinstance(mixed.data, str)
    first, *rest = mixed.data
    (tmp_path / "small.yaml").write_text("classes: [anode, fish]\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"small\.yaml: sea_train: class 'trash' is not in the vocabulary"):
        open_training_data(dataclasses.replace(mixed, classes=str(tmp_path / "small.yaml")))
    wrong = dataclasses.replace(first, labels=("anodes",))
    with pytest.raises(ValueError, match=r"hulls_train: class 'anodes' is not .* the nearest is 'anode'"):
        open_training_data(dataclasses.replace(mixed, data=(wrong, *rest)))
    nothing = tuple(dataclasses.replace(share, held_back=0.0) for share in mixed.data)
    with pytest.raises(ValueError, match="held_back is 0 in every set: give it to one at least"):
        open_training_data(dataclasses.replace(mixed, data=nothing))


def test_terms_of_a_set_go_into_the_checkpoint_are_said_when_it_is_loaded_and_stay_in_what_begins_with_it(
    mixed: TrainConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """A model that has learned from pictures for research stays one for research, fine-tuned or not."""
    research = Path(mixed.data[1].data)
    research.write_text(research.read_text(encoding="utf-8") + "model_terms: research only (clips)\n", encoding="utf-8")
    first = trainer_of(mixed)
    exported = first.export({"mask_ap": 0.0})
    caplog.clear()
    assert load_checkpoint(exported)[1].terms == ("research only (clips)",)
    assert f"{exported.name} may be used on these terms only: research only (clips)" in caplog.text
    own = dataclasses.replace(
        mixed, data=mixed.data[:1], init_from=str(exported), output=str(Path(mixed.output).with_name("own"))
    )
    assert trainer_of(own).terms == {"research only (clips)"}
    caplog.clear()
    assert load_checkpoint("tiny")[1].terms == ()
    assert caplog.text == ""
