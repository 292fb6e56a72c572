"""The whole path as a picture: no time is lost or counted twice, stages come in the order that an image passes them."""

from __future__ import annotations

import pytest

from benchmarks.whole_path import PARTS, in_order
from spda_sam_core.config import load_model_config
from spda_sam_core.network.network import build_network

NODE_MS = {"decode": 0.1, "pair": 0.9, "depth": 1.5, "preprocess": 1.8, "postprocess": 2.1, "publish": 2.4, "all": 8.8}


def test_all_time_is_in_one_stage_or_another_in_the_order_of_the_path() -> None:
    part_ms = {"decoder_1": 7.0, "rgb_path": 20.0, "(forward itself)": 2.0, "/fused by the runtime": 1.5}
    stages = in_order(NODE_MS, part_ms)
    assert list(stages) == [
        "decode", "pair", "depth", "preprocess", "encoder (RGB path)", "decoder, pass 2", "between the parts",
        "postprocess", "publish",
    ]  # fmt: skip
    assert sum(stages.values()) == pytest.approx(sum(part_ms.values()) + NODE_MS["all"])


def test_every_part_of_the_network_has_a_title() -> None:
    network = build_network(load_model_config("tiny", class_names=("hull",)))
    assert {name for name, _ in network.named_children()} == set(PARTS) - {"decoder_1"}
