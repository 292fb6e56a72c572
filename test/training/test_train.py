"""Training: repeatable order, learning something, and errors that name the fix."""

from __future__ import annotations

import dataclasses
import json
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from segment_anything import sam_model_registry

from spda_sam_core.config import load_model_config
from spda_sam_core.network.network import build_network
from spda_sam_core.weights.checkpoint import load_checkpoint
from spda_sam_core.weights.download import PUBLISHED
from spda_sam_core.weights.files import file_sha256
from training.data.batches import TrainingBatches
from training.data.data_config import split_files
from training.data.dataset import CocoRgbdDataset
from training.data.vocabulary import load_vocabulary
from training.learning.fine_tune import take_fitting_weights
from training.learning.moving_average import MovingAverage
from training.learning.train_config import TrainConfig, load_train_config, write_model
from training.learning.trainer import Trainer
from training.train import main, train

REPOSITORY = Path(__file__).resolve().parents[2]
SIZE = 96


def new_trainer(config: TrainConfig, dataset: CocoRgbdDataset) -> Trainer:
    return Trainer(config, dataset, dataset, torch.device("cpu"))


def test_worker_processes_do_not_change_the_order(config: TrainConfig, dataset: CocoRgbdDataset) -> None:
    trainer = new_trainer(config, dataset)
    alone, by_two = ([batch.image for batch in trainer.batches(workers)] for workers in (0, 2))
    assert len(alone) == len(by_two) == config.steps
    assert all(torch.equal(a, b) for a, b in zip(alone, by_two, strict=True))


def test_every_picture_is_seen_once_per_epoch(config: TrainConfig, dataset: CocoRgbdDataset) -> None:
    seen = []

    class Spy:
        def __len__(self) -> int:
            return len(dataset)

        def __getitem__(self, index: int):
            seen.append(index)
            return dataset[index]

    batches = TrainingBatches(Spy(), config, SIZE, first_step=0)  # type: ignore[arg-type]
    for step in range(4):
        batches.batch(step)
    assert sorted(seen[:6]) == sorted(seen[6:]) == list(range(6))
    assert seen[:6] != seen[6:]


def test_it_learns_the_pictures_that_it_sees(config: TrainConfig, dataset: CocoRgbdDataset) -> None:
    calm = dataclasses.replace(
        config.augment, scale=(1.0, 1.0), rotation_deg=0, colour=0.05, no_depth=0.0, sensor_holes=0.0
    )
    longer = dataclasses.replace(
        config, steps=120, warmup_steps=10, decay_steps=40, learning_rate=2e-3, batch_size=6, ema_decay=0.9,
        save_every=1000, augment=calm,
    )  # fmt: skip
    trainer = new_trainer(longer, dataset)
    before = trainer.validate()["mask_ap50"]
    path = train(trainer)
    _, info = load_checkpoint(path)
    assert info.metadata["steps_done"] == 120
    assert before < 5
    assert info.metadata["metrics"]["mask_ap50"] > 80


def test_the_average_follows_the_closed_form(config: TrainConfig, dataset: CocoRgbdDataset) -> None:
    model = new_trainer(config, dataset).model
    name, weight = next(iter(model.named_parameters()))
    average = MovingAverage(model, decay=0.5)
    expected, first = weight.detach().clone(), weight.detach().clone()
    for step in (1, 2, 50):
        with torch.no_grad():
            weight.copy_(first + step)
        average.update(model, step)
        keep = min(0.5, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * (first + step)
    torch.testing.assert_close(average.weights[name], expected)
    with average.inside(model):
        torch.testing.assert_close(weight.data, expected)
    assert torch.equal(weight.data, first + 50)


def test_the_averaged_weights_are_exported(config: TrainConfig, dataset: CocoRgbdDataset, tmp_path: Path) -> None:
    network, _ = load_checkpoint(train(new_trainer(config, dataset)))
    state = torch.load(tmp_path / "run/resume.pt", weights_only=True)
    for name, weight in network.state_dict().items():
        torch.testing.assert_close(weight, state["average"][name].half().to(weight.dtype))
    assert any(not torch.equal(weight, state["average"][name]) for name, weight in state["model"].items())


def test_the_best_model_is_kept_beside_the_last(config: TrainConfig, dataset: CocoRgbdDataset) -> None:
    trainer = new_trainer(config, dataset)

    def exported(step: int, mask_ap: float) -> tuple[int, int]:
        trainer.step = step
        trainer.export({"mask_ap": mask_ap})
        last, best = (load_checkpoint(path)[1].metadata for path in (trainer.export_path, trainer.best_path))
        return last["steps_done"], best["steps_done"]

    assert exported(1, 10.0) == (1, 1)
    assert exported(2, 30.0) == (2, 2)
    assert exported(3, 20.0) == (3, 2)
    trainer.save()
    trainer = new_trainer(config, dataset)
    trainer.resume()
    assert exported(4, 25.0) == (4, 2)
    assert exported(5, 31.0) == (5, 5)


def test_fine_tuning_takes_weights_and_moves_classes_to_their_names(
    config: TrainConfig, dataset: CocoRgbdDataset
) -> None:
    first = train(new_trainer(config, dataset))
    before = load_checkpoint(first)[0].state_dict()
    document = json.loads((dataset.root / "annotations.json").read_text(encoding="utf-8"))
    document["categories"] = [{"id": 1, "name": "blue"}, {"id": 2, "name": "green"}, {"id": 3, "name": "red"}]
    (dataset.root / "more.json").write_text(json.dumps(document), encoding="utf-8")
    more = CocoRgbdDataset(dataset.root, dataset.root / "more.json")
    begun = new_trainer(dataclasses.replace(config, init_from=str(first)), more).model
    untouched = new_trainer(config, more).model
    for name, weight in begun.state_dict().items():
        if name.startswith("proposal_head.classes."):
            assert torch.equal(weight[1:], before[name][[1, 0]])  # green, red
            assert torch.equal(weight[0], untouched.state_dict()[name][0])  # blue is new
        else:
            assert torch.equal(weight, before[name]), name


def test_fine_tuning_from_another_encoder_is_refused(config: TrainConfig, dataset: CocoRgbdDataset) -> None:
    with pytest.raises(ValueError, match="has encoder 'efficientnet_lite0', the model has 'sam_vit_b'"):
        take_fitting_weights(build_network(load_model_config("sam_vit_b", class_names=("anode", "object"))), "tiny")


@pytest.mark.parametrize("name", ["tiny", "ablation", "peers", "fine_tune", "fine_tune_sam", "sea", "tiny_mixture"])
def test_the_shipped_recipes_name_a_model_and_data_that_are_there(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    recipe = load_train_config(f"config/train/{name}.yaml")
    recipe.model_config(("anode", "object"))
    sets = [(recipe.data, "train")] if isinstance(recipe.data, str) else [(s.data, s.split) for s in recipe.data]
    for data, split in sets:
        split_files(Path(data), split)
    if recipe.classes is not None:
        load_vocabulary(recipe.classes)


def test_a_leg_at_another_size_is_begun_with_by_one_at_the_models_own(
    config: TrainConfig, dataset: CocoRgbdDataset
) -> None:
    short = dataclasses.replace(config, steps=1, warmup_steps=0, decay_steps=0, input_size=64)
    first = train(new_trainer(short, dataset))
    assert load_checkpoint(first)[1].config.input_size == 64
    last = new_trainer(dataclasses.replace(config, init_from=str(first), output=config.output + "-last"), dataset)
    assert last.model.config.input_size == SIZE
    begun = load_checkpoint(first)[0].state_dict()
    assert all(torch.equal(weight, begun[name]) for name, weight in last.model.state_dict().items())


def test_a_loss_that_is_not_finite_stops_training(config: TrainConfig, dataset: CocoRgbdDataset) -> None:
    trainer = new_trainer(config, dataset)
    with torch.no_grad():
        trainer.model.pyramid.lateral8.weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="at step 0: start anew with a learning_rate below"):
        trainer.run_step(next(trainer.batches(workers=0)))


def test_the_command_trains_on_another_data_set_with_its_classes_and_without_depth(
    config: TrainConfig, dataset: CocoRgbdDataset, tmp_path: Path
) -> None:
    split = {"annotations": "annotations.json", "images": "rgb"}
    entries = {"format": "coco", "root": str(dataset.root), "merge_classes": "square"}
    data = tmp_path / "squares.yaml"
    data.write_text(yaml.safe_dump({**entries, "splits": {"train": split, "val": split}}), encoding="utf-8")
    fields = {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(config).items()}
    fields["augment"]["scale"] = list(fields["augment"]["scale"])
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({**fields, "steps": 3, "warmup_steps": 1}), encoding="utf-8")
    given = {"config": tmp_path / "run.yaml", "data": data, "output": tmp_path / "other", "workers": 0, "device": "cpu"}
    main([text for name, value in given.items() for text in (f"--{name}", str(value))])
    _, info = load_checkpoint(tmp_path / "other/spda_sam_tiny.safetensors", torch.device("cpu"))
    assert info.config.class_names == ("square",)
    assert info.metadata["metrics"]["depth"] == "none"
    assert info.metadata["training"]["data"] == str(data)


def test_depth_of_some_validation_pictures_only_is_refused_before_training(
    config: TrainConfig, dataset: CocoRgbdDataset
) -> None:
    next((dataset.root / "depth").iterdir()).unlink()
    with pytest.raises(
        ValueError, match=r"5 of 6 pictures to validate on have depth: estimate the rest with python -m"
    ):
        new_trainer(config, dataset)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": "fast"}, r"error: .*run\.yaml: learning_rate: 'fast' is no number"),
        ({"data": "nowhere.yaml"}, r"error: nowhere\.yaml: no such data set: see config/ for examples"),
    ],
)
def test_the_command_says_in_one_line_what_it_cannot_use(
    config: TrainConfig,
    run_file: Callable[[TrainConfig], Path],
    change: dict[str, str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = run_file(config)
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **change}))
    monkeypatch.setattr("sys.argv", ["train.py", "--config", str(path), "--device", "cpu"])
    with pytest.raises(SystemExit, match=message) as caught:
        runpy.run_path(str(REPOSITORY / "training/train.py"), run_name="__main__")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("kind", ["nothing", "crowds only", "masks without a pixel"])
def test_training_on_nothing_is_refused(
    config: TrainConfig, dataset: CocoRgbdDataset, tmp_path: Path, split: str, kind: str
) -> None:
    document = json.loads((dataset.root / "annotations.json").read_text())
    if kind == "nothing":
        document["annotations"] = []
    for annotation in document["annotations"]:
        if kind == "crowds only":
            annotation["iscrowd"] = 1
        else:
            annotation["segmentation"] = [[5, 5, 5, 5, 5, 5]]
    (tmp_path / "empty.json").write_text(json.dumps(document))
    empty = CocoRgbdDataset(dataset.root, tmp_path / "empty.json")
    train_set, validation = (empty, dataset) if split == "train" else (dataset, empty)
    with pytest.raises(ValueError, match=f"not one of 6 pictures of '{split}' has a mask to learn from"):
        Trainer(config, train_set, validation, torch.device("cpu"))


def test_the_model_gets_the_classes_of_the_data(config: TrainConfig, dataset: CocoRgbdDataset) -> None:
    trainer = new_trainer(dataclasses.replace(config, model="tiny"), dataset)
    assert trainer.model.config.class_names == dataset.class_names
    other = CocoRgbdDataset(dataset.root, dataset.root / "annotations.json", merge_classes="square")
    with pytest.raises(ValueError, match=r"'val' has \('square',\): they must be the same"):
        Trainer(config, dataset, other, torch.device("cpu"))


@pytest.mark.parametrize(
    ("find", "replace", "message"),
    [
        ("output:", "sead: 0\noutput:", "unknown key 'sead': did you mean 'seed'"),
        ("output:", "steps: 0\noutput:", "steps 0 must be at least 1"),
        ("output: runs/tiny\n", "", "missing output"),
        ("output:", "augment: {flop: 0.5}\noutput:", "unknown key 'augment.flop': did you mean 'flip'"),
    ],
)
def test_configuration_errors_name_the_fix(find: str, replace: str, message: str, tmp_path: Path) -> None:
    text = (REPOSITORY / "config/train/tiny.yaml").read_text(encoding="utf-8")
    assert find in text
    (tmp_path / "run.yaml").write_text(text.replace(find, replace), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        load_train_config(tmp_path / "run.yaml")


def test_training_on_a_base_leaves_the_base_alone_and_resumes_on_that_file_only(
    config: TrainConfig, dataset: CocoRgbdDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPDA_SAM_WEIGHTS", str(tmp_path))
    official = tmp_path / PUBLISHED["sam_vit_b"].file_name
    torch.manual_seed(0)
    sam = sam_model_registry["vit_b"]().state_dict()
    torch.save(sam, official)
    write_model(tmp_path / "model.yaml", "sam_vit_b", {"input_size": SIZE, "num_proposals": 6, "num_instances": 4})
    checkpoint = train(new_trainer(dataclasses.replace(config, steps=2, warmup_steps=1), dataset))
    network, info = load_checkpoint(checkpoint)
    assert info.base == ("sam_vit_b", file_sha256(official))
    weights = network.state_dict()
    for name in ("image_encoder.blocks.3.attn.qkv.weight", "image_encoder.neck.0.weight"):
        assert torch.equal(weights[name.replace("image_encoder.", "rgb_path.base.")], sam[name])
    assert bool(weights["rgb_path.base.blocks.3.attn.qkv.lora_up.weight"].any())
    assert not torch.equal(weights["decoder.mask_decoder.iou_token.weight"], sam["mask_decoder.iou_token.weight"])

    torch.save({key: tensor + 1e-3 for key, tensor in sam.items()}, official)
    resumed = new_trainer(dataclasses.replace(config, steps=2, warmup_steps=1), dataset)
    with pytest.raises(ValueError, match=r"resume\.pt: began on sam_vit_b with SHA-256 .* put the same file back"):
        resumed.resume()
