"""Who learns how fast: the encoder more slowly, its layers by their depth; biases and norms do not decay."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext

import pytest
import torch

from spda_sam_core.config import load_model_config
from spda_sam_core.network.network import SpdaSamNetwork, build_network
from training.data.dataset import CocoRgbdDataset
from training.learning.losses import OneToManyHead
from training.learning.parameter_groups import parameter_groups
from training.learning.train_config import TrainConfig
from training.learning.trainer import Trainer


def with_head(preset: str) -> tuple[SpdaSamNetwork, OneToManyHead]:
    model_config = load_model_config(preset, class_names=("anode", "object"))
    # shapes are enough, and a large base takes long to fill; EfficientNet-Lite folds numbers as it is made
    with nullcontext() if preset == "tiny" else torch.device("meta"):
        model = build_network(model_config)
        return model, OneToManyHead(model)


def rates_by_name(preset: str, encoder_rate: float, layer_decay: float) -> dict[str, float]:
    model, head = with_head(preset)
    names = {parameter: name for name, parameter in model.named_parameters()}
    parameters = (*model.parameters(), *head.parameters())
    groups = parameter_groups(parameters, model.rgb_path, encoder_rate=encoder_rate, layer_decay=layer_decay)
    return {names.get(p, "one_to_many"): group.rate for group in groups for p in group.parameters}


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        (
            "sam_vit_b",
            {
                "rgb_path.base.blocks.0.attn.qkv.lora_down.weight": 0.8**11,
                "rgb_path.base.blocks.0.attn.qkv.lora_up.weight": 0.8**11,
                "rgb_path.base.blocks.11.attn.qkv.lora_up.weight": 1,  # the last layer
                "rgb_path.to4.0.weight": 1,  # after the layers
            },
        ),
        ("sam_vit_h", {"rgb_path.base.blocks.0.attn.qkv.lora_up.weight": 0.8**31}),
        (
            "mobile_sam",
            {
                # of 2 + 2 + 6 + 2 blocks the first two are convolutions, without anything to train
                "rgb_path.stages.1.blocks.0.attn.qkv.lora_up.weight": 0.8**9,
                "rgb_path.stages.3.blocks.1.attn.qkv.lora_up.weight": 1,
            },
        ),
        (
            "tiny",
            {
                # of 7 stages the first two are frozen
                "rgb_path.base.blocks.2.0.conv_pw.weight": 0.8**4,
                "rgb_path.base.blocks.5.3.conv_dw.weight": 0.8,
                "rgb_path.base.blocks.6.0.conv_pwl.weight": 1,
            },
        ),
    ],
)
def test_the_encoder_learns_more_slowly_and_its_earlier_layers_most_slowly(
    preset: str, expected: dict[str, float]
) -> None:
    rates = rates_by_name(preset, 0.3, 0.8)
    assert {name: rates[name] for name in expected} == pytest.approx({k: 0.3 * v for k, v in expected.items()})
    elsewhere = {rate for name, rate in rates.items() if not name.startswith("rgb_path.")}
    assert elsewhere == {1}
    even = rates_by_name(preset, 0.3, 1.0)
    assert {even[name] for name in expected} == {0.3}
    assert set(rates_by_name(preset, 1.0, 1.0).values()) == {1}


@pytest.mark.parametrize("preset", ["tiny", "mobile_sam"])
def test_all_that_is_trained_is_in_one_group_and_only_matrices_decay(preset: str) -> None:
    model, head = with_head(preset)
    parameters = (*model.parameters(), *head.parameters())
    groups = parameter_groups(parameters, model.rgb_path, encoder_rate=0.3, layer_decay=0.8)
    grouped = [parameter for group in groups for parameter in group.parameters]
    trained = [p for p in parameters if p.requires_grad]
    assert len(grouped) == len(trained)
    assert set(grouped) == set(trained)
    assert all((parameter.ndim > 1) == group.decays for group in groups for parameter in group.parameters)


def test_a_step_is_made_with_the_rate_of_each_layer(config: TrainConfig, dataset: CocoRgbdDataset) -> None:
    trainer = Trainer(
        dataclasses.replace(config, encoder_rate=0.3, layer_decay=0.5), dataset, dataset, torch.device("cpu")
    )
    trainer.run_step(next(trainer.batches(workers=0)))
    peak = config.learning_rate / config.warmup_steps  # of the first step
    rates = {p: group["lr"] for group in trainer.optimiser.param_groups for p in group["params"]}
    parameters = dict(trainer.model.named_parameters())
    assert rates[parameters["rgb_path.base.blocks.2.0.conv_pw.weight"]] == pytest.approx(peak * 0.3 / 16)
    assert rates[parameters["rgb_path.base.blocks.6.0.conv_pw.weight"]] == pytest.approx(peak * 0.3)
    assert rates[parameters["pyramid.lateral8.weight"]] == pytest.approx(peak)


@pytest.mark.parametrize(("name", "value"), [("layer_decay", 1.5), ("encoder_rate", 0.0)])
def test_rates_outside_their_range_are_refused(config: TrainConfig, name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"{name} {value} must lie in \(0, 1\]"):
        dataclasses.replace(config, **{name: value})
