"""Contradictions in a model configuration are refused with the value and its limit."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from network_cases import CLASSES

from spda_sam_core.config import load_model_config

TINY = load_model_config("tiny", class_names=CLASSES)
SAM = load_model_config("sam_vit_b", class_names=CLASSES)
MOBILE = load_model_config("mobile_sam", class_names=CLASSES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_size": 400}, "input_size 400 must be a multiple of 32, such as 384 or 512"),
        ({"input_size": 0}, "input_size 0 must be a multiple of 32"),
        ({"class_names": ("a", "a")}, r"class_names \('a', 'a'\) must be distinct, and at least one"),
        ({"class_names": ()}, r"class_names \(\) must be distinct, and at least one"),
        ({"width": 104}, "width 104 must be a multiple of 16"),
        ({"width": 48, "attention_heads": 16}, "width 48 must be a multiple of 32"),
        ({"num_proposals": 0}, r"num_proposals 0 must lie in 1\.\.3024, the places that propose"),
        ({"num_proposals": 3025}, r"num_proposals 3025 must lie in 1\.\.3024"),
        ({"num_instances": 0}, r"num_instances 0 must lie in 1\.\.20, num_proposals"),
        ({"num_instances": 21}, r"num_instances 21 must lie in 1\.\.20, num_proposals"),
        ({"prompt_tokens": 0}, "prompt_tokens 0 and spatial_points 2 must be at least 1"),
        ({"spatial_points": 0}, "prompt_tokens 4 and spatial_points 0 must be at least 1"),
        (
            {"depth_widths": (16, 32, 64)},
            r"depth_widths \(16, 32, 64\) and encoder_widths \(24, 40, 112, 320\): give one entry per stride",
        ),
        ({"lora_rank": 4}, "lora_rank 4 needs a SAM base: efficientnet_lite0 is trained whole"),
        (
            {"encoder": "efficientnet_lite2"},
            r"encoder_widths \(24, 40, 112, 320\) must be \(24, 48, 120, 352\), as in efficientnet_lite2",
        ),
    ],
)
def test_of_an_encoder_that_is_trained(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **change)


@pytest.mark.parametrize(
    ("config", "change", "message"),
    [
        (SAM, {"width": 128}, "width 128 must be 256, as in the weights of sam_vit_b"),
        (SAM, {"attention_heads": 4}, "attention_heads 4 must be 8, as in the weights of sam_vit_b"),
        (MOBILE, {"mlp_width": 512}, "mlp_width 512 must be 2048, as in the weights of mobile_sam"),
        (SAM, {"encoder_widths": (48, 96, 128)}, r"encoder_widths \(48, 96, 128\) must be \(48, 96, 256\)"),
        (MOBILE, {"encoder_widths": (48, 96, 256)}, r"encoder_widths \(48, 96, 256\) must be \(64, 128, 256\)"),
        (SAM, {"lora_rank": -1}, "lora_rank -1 must be at least 0"),
    ],
)
def test_of_a_frozen_base(config: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(config, **change)


@pytest.mark.parametrize(
    ("config", "change"),
    [
        (TINY, {"input_size": 32, "num_proposals": 21, "num_instances": 21}),
        (TINY, {"num_proposals": 3024}),
        (TINY, {"encoder": "efficientnet_lite1"}),
        (SAM, {"encoder_widths": (32, 64, 256), "lora_rank": 0}),  # taps of a plain ViT are ours to choose
    ],
)
def test_the_limits_themselves_are_taken(config: Any, change: dict[str, Any]) -> None:
    assert {name: getattr(dataclasses.replace(config, **change), name) for name in change} == change


def test_missing_preset_names_the_file() -> None:
    with pytest.raises(FileNotFoundError, match=r"config/model/huge\.yaml: no such model configuration"):
        load_model_config("huge", class_names=CLASSES)


def test_class_names_are_those_of_the_data_alone() -> None:
    assert TINY.class_names == CLASSES
    with pytest.raises(ValueError, match=r"tiny\.yaml: class_names are those of the data: leave them out"):
        load_model_config("tiny", class_names=CLASSES, changes={"class_names": ("other",)})


def test_changes_go_before_what_the_preset_says() -> None:
    assert load_model_config("tiny", class_names=CLASSES, changes={"input_size": 512}).input_size == 512
