"""Growth of time and memory: what varies, what the ratios are to, and the command."""

from __future__ import annotations

import pytest
import torch

from benchmarks.scaling import Point, main, points, table
from spda_sam_core.config import load_model_config
from spda_sam_core.network.network import build_network
from spda_sam_core.weights.checkpoint import save_checkpoint


def test_all_of_k_are_drawn_in_both_passes_and_one_thing_varies_at_a_time() -> None:
    assert points([1, 10], [256], 2) == [
        Point("K", 1, {"num_proposals": 1, "num_instances": 1}, 2),
        Point("K", 10, {"num_proposals": 10, "num_instances": 10}, 2),
        Point("input", 256, {"input_size": 256}, 2),
        Point("threads", 1, {}, 1),
        Point("threads", 2, {}, 2),
    ]


def test_ratios_are_to_the_first_of_the_same_axis() -> None:
    rows = table(points([10, 100], [], 1), [(20.0, 100.0), (50.0, 200.0), (30.0, 90.0)]).splitlines()
    assert rows[2:] == [
        "| K | 10 | 20.0 | 1.00 | 100 MB |",
        "| K | 100 | 50.0 | 2.50 | 200 MB |",
        "| threads | 1 | 30.0 | 1.00 | 90 MB |",
    ]


@pytest.mark.slow
def test_the_command_measures_a_network_that_fits_other_k_and_sizes(tmp_path, capsys) -> None:
    torch.manual_seed(0)
    config = load_model_config(
        "tiny", class_names=("anode",), changes={"input_size": 64, "num_proposals": 6, "num_instances": 4}
    )
    save_checkpoint(tmp_path / "small.safetensors", build_network(config), {})
    options = f"--checkpoint {tmp_path / 'small.safetensors'} --k 2 4 --sizes 96 --threads 1 --rounds 1"
    main([*options.split(), "--plot", str(tmp_path / "scaling.png")])
    names = [line.split(" | ")[:2] for line in capsys.readouterr().out.splitlines()[2:]]
    assert names == [["| K", "2"], ["| K", "4"], ["| input", "96"], ["| threads", "1"]]
    assert (tmp_path / "scaling.png").stat().st_size > 5000
