"""The comparison with YOLO: what its table says, that the network without depth is the same one, and the command."""

from __future__ import annotations

import importlib.util

import onnx
import pytest
import torch

from benchmarks.timing import times_ms
from benchmarks.yolo import YOLO, main, noise, table_rows, without_depth
from spda_sam_core.config import load_model_config
from spda_sam_core.network.network import SpdaSamNetwork, build_network
from spda_sam_core.weights.checkpoint import save_checkpoint
from training.export import to_onnx
from training.measuring.agreement import named_inputs


@pytest.fixture(scope="module")
def network() -> SpdaSamNetwork:
    torch.manual_seed(0)
    config = load_model_config(
        "tiny", class_names=("anode", "object"), changes={"input_size": 64, "num_proposals": 6, "num_instances": 4}
    )
    return build_network(config).eval()


def test_the_ratio_is_that_of_the_medians_and_its_quartiles_are_those_of_the_rounds() -> None:
    times = {YOLO: [10.0, 20.0, 30.0, 20.0, 20.0], "RGB-D": [5.0, 16.0, 30.0, 12.0, 8.0]}
    assert table_rows("ONNX Runtime", times) == [
        "| ONNX Runtime | YOLO11n-seg | 20.0 | 20.0 to 20.0 | 1.00 | 1.00 to 1.00 |",
        "| ONNX Runtime | RGB-D | 12.0 | 8.0 to 16.0 | 0.60 | 0.50 to 0.80 |",  # rounds: 0.5, 0.8, 1.0, 0.6, 0.4
    ]


def test_the_network_without_depth_finds_what_the_whole_one_finds_where_there_is_none(network) -> None:
    image, nothing = torch.randn(1, 3, 64, 64), torch.zeros(1, 1, 64, 64)
    with torch.inference_mode():
        whole, small = (n(**named_inputs(n, image, nothing, nothing)) for n in (network, without_depth(network)))
    torch.testing.assert_close(small.mask_logits, whole.mask_logits)
    torch.testing.assert_close(small.class_logits, whole.class_logits)


def test_an_input_that_may_have_any_size_is_refused_by_name() -> None:
    image = onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, [1, 3, None, None])
    graph = onnx.helper.make_graph([], "g", [image], [])
    with pytest.raises(ValueError, match=r"input 'images' has shape \[1, 3, 0, 0\], .*: export it with fixed sizes"):
        noise(onnx.helper.make_model(graph).SerializeToString())


def test_a_call_that_settles_a_turn_is_made_and_does_not_count() -> None:
    seen: list[tuple[str, int]] = []
    times = times_ms({name: lambda i, name=name: seen.append((name, i)) for name in "ab"}, 3, settle=True)
    assert seen == [(name, i) for i in range(3) for name in "aabb"]
    assert {name: len(values) for name, values in times.items()} == {"a": 2, "b": 2}


def test_the_command_prints_a_row_for_each_network_and_runtime(network, tmp_path, capsys) -> None:
    checkpoint, yolo = tmp_path / "small.safetensors", tmp_path / "yolo.onnx"
    save_checkpoint(checkpoint, network, {})
    yolo.write_bytes(to_onnx(without_depth(network)))
    main([str(yolo), "--checkpoint", str(checkpoint), "--threads", "1", "--rounds", "3"])
    printed = capsys.readouterr().out
    names = [line.split(" | ")[1] for line in printed.splitlines() if line.startswith("| ONNX Runtime")]
    assert names == [YOLO, "RGB-D", "RGB only"]
    assert ("OpenVINO is not installed" in printed) == (importlib.util.find_spec("openvino") is None)
