"""Who learns how fast: layers of the encoder by their depth, biases and norms without decay."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from spda_sam_core.config import load_model_config
from spda_sam_core.network.network import build_network
from training.data.dataset import CocoRgbdDataset
from training.learning.losses import OneToManyHead
from training.learning.parameter_groups import parameter_groups
from training.learning.schedule import learning_rate
from training.learning.train_config import TrainConfig
from training.learning.trainer import Trainer


def rates_by_name(preset: str, layer_decay: float) -> dict[str, float]:
    with torch.device("meta"):  # shapes are enough
        model = build_network(load_model_config(preset, class_names=("anode", "object")))
        head = OneToManyHead(model)
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model, head, layer_decay)
    return {names.get(p, "one_to_many"): group.rate for group in groups for p in group.parameters}


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        (
            "sam_vit_b",
            {
                "rgb_path.base.blocks.0.attn.qkv.lora_down.weight": 0.8**12,
                "rgb_path.base.blocks.0.attn.qkv.lora_up.weight": 0.8**12,
                "rgb_path.base.blocks.11.attn.qkv.lora_up.weight": 0.8,
                "rgb_path.to4.0.weight": 1,  # ours, after the encoder
            },
        ),
        ("sam_vit_h", {"rgb_path.base.blocks.0.attn.qkv.lora_up.weight": 0.8**32}),
        (
            "mobile_sam",
            {
                # of 2 + 2 + 6 + 2 blocks the first two are convolutions, without anything to train
                "rgb_path.stages.1.blocks.0.attn.qkv.lora_up.weight": 0.8**10,
                "rgb_path.stages.3.blocks.1.attn.qkv.lora_up.weight": 0.8,
            },
        ),
        (
            "tiny",
            {
                "rgb_path.stem.0.0.weight": 0.8**4,
                "rgb_path.stage8.0.conv1.0.weight": 0.8**3,
                "rgb_path.down16.0.weight": 0.8**2,
                "rgb_path.attention.0.qkv.weight": 0.8,
            },
        ),
    ],
)
def test_earlier_layers_of_the_encoder_learn_more_slowly(preset: str, expected: dict[str, float]) -> None:
    rates = rates_by_name(preset, 0.8)
    assert {name: rates[name] for name in expected} == pytest.approx(expected)
    elsewhere = {rate for name, rate in rates.items() if not name.startswith("rgb_path.")}
    assert elsewhere == {1}
    assert set(rates_by_name(preset, 1.0).values()) == {1}


def test_all_that_is_trained_is_in_one_group_and_only_matrices_decay() -> None:
    with torch.device("meta"):
        model = build_network(load_model_config("mobile_sam", class_names=("anode", "object")))
        head = OneToManyHead(model)
    groups = parameter_groups(model, head, 0.8)
    grouped = [parameter for group in groups for parameter in group.parameters]
    trained = [p for p in (*model.parameters(), *head.parameters()) if p.requires_grad]
    assert len(grouped) == len(trained)
    assert set(grouped) == set(trained)
    assert all((parameter.ndim > 1) == group.decays for group in groups for parameter in group.parameters)


def test_a_step_is_made_with_the_rate_of_each_layer(config: TrainConfig, dataset: CocoRgbdDataset) -> None:
    trainer = Trainer(dataclasses.replace(config, layer_decay=0.5), dataset, dataset, torch.device("cpu"))
    trainer.run_step(next(trainer.batches(workers=0)))
    peak = learning_rate(0, peak=config.learning_rate, warmup_steps=config.warmup_steps, steps=config.steps)
    rates = {p: group["lr"] for group in trainer.optimiser.param_groups for p in group["params"]}
    parameters = dict(trainer.model.named_parameters())
    assert rates[parameters["rgb_path.stem.0.0.weight"]] == pytest.approx(peak / 16)
    assert rates[parameters["pyramid.lateral8.weight"]] == pytest.approx(peak)


def test_a_decay_of_layers_beyond_one_is_refused(config: TrainConfig) -> None:
    with pytest.raises(ValueError, match=r"layer_decay 1.5 must lie in \(0, 1\]"):
        dataclasses.replace(config, layer_decay=1.5)
