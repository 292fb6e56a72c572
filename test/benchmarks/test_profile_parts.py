"""The profile of the network's parts: which node counts where, and which runs count."""

from __future__ import annotations

import pytest
import torch

from benchmarks.profile_parts import FORWARD, UNNAMED, main, milliseconds, part_of
from spda_sam_core.config import load_model_config
from spda_sam_core.network.network import build_network
from spda_sam_core.weights.checkpoint import save_checkpoint


@pytest.mark.parametrize(
    ("node", "part"),
    [
        ("/rgb_path/stage8/stage8.0/Conv", "rgb_path"),
        ("/decoder_1/keep/MatMul", "decoder_1"),
        ("/TopK", FORWARD),
        ("/MatMul/MatMulAddFusion", FORWARD),
        ("SkipLayerNormalization_token_20", UNNAMED),
    ],
)
def test_a_node_counts_for_the_part_that_it_was_traced_in(node, part) -> None:
    assert part_of(node, ["rgb_path", "decoder"]) == part


def test_the_first_run_does_not_count_and_of_the_others_the_median_does() -> None:
    def event(name: str, start: int, duration: int, category: str = "Node") -> dict[str, object]:
        return {"name": name, "cat": category, "ts": start, "dur": duration}

    events = [event("model_run", start, 9000, "Session") for start in (0, 10_000, 20_000, 30_000)]
    for start, a in zip((0, 10_000, 20_000, 30_000), (8000, 1000, 4000, 2000), strict=True):
        events += [event("a_kernel_time", start + 1, a), event("a_fence_before", start + 1, 500)]
        events += [event("b_kernel_time", start + 2, 1500), event("b_kernel_time", start + 3, 1500)]
    times = milliseconds(events, lambda e: e["name"][0])
    assert list(times.items()) == [("b", 3.0), ("a", 2.0)]


def test_the_command_lists_the_parts_of_the_network(tmp_path, capsys) -> None:
    torch.manual_seed(0)
    config = load_model_config(
        "tiny", class_names=("anode", "object"), changes={"input_size": 64, "num_proposals": 6, "num_instances": 4}
    )
    checkpoint = tmp_path / "small.safetensors"
    save_checkpoint(checkpoint, build_network(config), {})
    main(["--checkpoint", str(checkpoint), "--threads", "1", "--rounds", "2"])
    rows = [line.split(" | ")[0].strip("| ") for line in capsys.readouterr().out.split("\n\n")[0].splitlines()]
    assert {"rgb_path", "depth_path", "fusion", "pyramid", "proposal_head", "decoder", "decoder_1"} <= set(rows)
