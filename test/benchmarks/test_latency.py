"""Times beside other networks: rows, what a graph costs, memory and failures of single processes."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from benchmarks.contestant import SLOW_MS, Contestant, Entry, Failed
from benchmarks.latency import main, race
from benchmarks.onnx_cost import Cost, cost
from benchmarks.peer_graphs import YOLO, Peer, peer_graphs
from benchmarks.pictures import noise
from benchmarks.torch_calls import network_of
from spda_sam_core.config import load_model_config
from spda_sam_core.network.network import build_network
from spda_sam_core.weights.checkpoint import save_checkpoint
from training.measuring.agreement import proof_inputs


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    config = load_model_config(
        "tiny", class_names=("anode", "object"), changes={"input_size": 64, "num_proposals": 6, "num_instances": 4}
    )
    path = tmp_path_factory.mktemp("latency") / "small.safetensors"
    save_checkpoint(path, build_network(config), {})
    return path


def weights(name: str, *shape: int) -> TensorProto:
    return numpy_helper.from_array(np.ones(shape, np.float32), name)


def write_graph(path, nodes, initializers, shape=(1, 3, 8, 8), dtype=TensorProto.FLOAT) -> None:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("images", dtype, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        initializers,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def test_a_graph_costs_what_its_sums_have_terms(tmp_path) -> None:
    nodes = [
        helper.make_node(
            "Conv", ["images", "w1"], ["a"], strides=[2, 2], pads=[1, 1, 1, 1]
        ),  # 4x4x16 values of 27 terms
        helper.make_node("ConvTranspose", ["a", "w2"], ["b"], strides=[2, 2]),  # each of 4x4x16 values into 4x2x2
        helper.make_node("Reshape", ["b", "rows"], ["c"]),  # (4, 64)
        helper.make_node("MatMul", ["c", "w3"], ["d"]),  # 4x5 values of 64 terms
        helper.make_node("Gemm", ["d", "w4"], ["y"], transA=1),  # 5x7 values of 4 terms
    ]
    rows = numpy_helper.from_array(np.array([4, 64], np.int64), "rows")
    tensors = [weights("w1", 16, 3, 3, 3), weights("w2", 16, 4, 2, 2), rows, weights("w3", 64, 5), weights("w4", 4, 7)]
    write_graph(tmp_path / "g.onnx", nodes, tensors)
    macs = 4 * 4 * 16 * 27 + 4 * 4 * 16 * 4 * 2 * 2 + 4 * 5 * 64 + 5 * 7 * 4
    assert cost(tmp_path / "g.onnx") == Cost(macs / 1e9, (432 + 256 + 320 + 28) / 1e6)


def test_work_that_depends_on_the_picture_is_not_known(tmp_path) -> None:
    nodes = [helper.make_node("NonZero", ["images"], ["i"]), helper.make_node("Cast", ["i"], ["f"], to=1)]
    nodes.append(helper.make_node("MatMul", ["w", "f"], ["y"]))
    write_graph(tmp_path / "g.onnx", nodes, [weights("w", 2, 4)])
    assert cost(tmp_path / "g.onnx").gmacs is None


def test_an_input_that_may_have_any_size_is_refused_by_name(tmp_path) -> None:
    write_graph(tmp_path / "g.onnx", [helper.make_node("Relu", ["images"], ["y"])], [], shape=(1, 3, None, None))
    with pytest.raises(ValueError, match=r"input 'images' has shape \[1, 3, 0, 0\], .*: export it with fixed sizes"):
        noise(tmp_path / "g.onnx")


def test_the_network_without_depth_finds_what_the_whole_one_finds_where_there_is_none(checkpoint) -> None:
    whole, small = network_of(str(checkpoint)), network_of(str(checkpoint), depth=False)
    with torch.inference_mode():
        inputs = next(proof_inputs(whole, 1, 0))
        inputs |= {name: torch.zeros_like(inputs[name]) for name in ("inverse_depth", "depth_valid", "estimate")}
        a, b = whole(**inputs), small(**inputs)
    torch.testing.assert_close(b.mask_logits, a.mask_logits)
    torch.testing.assert_close(b.class_logits, a.class_logits)


def test_memory_is_that_of_the_network_s_own_process(tmp_path) -> None:
    """A process that this one forks, or spawns, would begin with this one's peak."""
    big = np.ones(150_000_000)  # 1.2 GB of this process
    peaks = {}
    for n in (1, 40_000_000):  # 160 MB of weights more
        path, feed = tmp_path / f"{n}.onnx", tmp_path / f"{n}.npz"
        write_graph(path, [helper.make_node("Add", ["images", "w"], ["y"])], [weights("w", n, 1)], shape=(1,))
        np.savez(feed, images=np.ones(1, np.float32))
        contestant = Contestant(Entry("g", "ONNX Runtime", str(path), feed=str(feed)), 1)
        peaks[n] = contestant.peak_mb()
        contestant.close()
    assert peaks[1] < big.nbytes / 1e6 / 2
    assert peaks[40_000_000] - peaks[1] > 150


def test_what_cannot_be_loaded_is_left_out_with_the_reason_and_the_others_run(tmp_path, capsys) -> None:
    write_graph(tmp_path / "good.onnx", [helper.make_node("Relu", ["images"], ["y"])], [])
    (tmp_path / "bad.onnx").write_bytes(b"no graph")
    np.savez(tmp_path / "feed.npz", images=np.ones((1, 3, 8, 8), np.float32))
    entries = [
        Entry(name, "ONNX Runtime", str(tmp_path / f"{name}.onnx"), feed=str(tmp_path / "feed.npz"))
        for name in ("bad", "good")
    ]
    with pytest.raises(Failed, match="bad"):
        Contestant(entries[0], 1)
    costs = {name: Cost(None, 0.0) for name in ("bad", "good")}
    (row,) = race(entries, costs, rounds=2, threads=1)
    assert (row.name, row.times) == ("good", None)
    assert 0 < row.ms_p50 <= row.ms_p95
    assert "bad in ONNX Runtime is left out: " in capsys.readouterr().out


def test_what_is_killed_while_it_waits_is_left_out_and_slow_ones_run_before_the_others(
    tmp_path, capsys, monkeypatch
) -> None:
    write_graph(tmp_path / "good.onnx", [helper.make_node("Relu", ["images"], ["y"])], [])
    np.savez(tmp_path / "feed.npz", images=np.ones((1, 3, 8, 8), np.float32))
    names = ["slow", "killed", "good"]
    entries = [
        Entry(name, "ONNX Runtime", str(tmp_path / "good.onnx"), feed=str(tmp_path / "feed.npz")) for name in names
    ]
    order: list[str] = []

    class Watched(Contestant):
        def __init__(self, entry: Entry, threads: int) -> None:
            super().__init__(entry, threads)
            if entry.name == "slow":
                self.first_ms = SLOW_MS
            if entry.name == "killed":
                self._process.kill()
                self._process.wait()

        def run(self) -> float:
            order.append(self.entry.name)
            return super().run()

    monkeypatch.setattr("benchmarks.latency.Contestant", Watched)
    rows = race(entries, {name: Cost(None, 0.0) for name in names}, rounds=5, threads=1)
    assert [row.name for row in rows] == ["slow", "good"]
    assert order == ["slow"] * 3 + ["killed"] + ["good"] * 5
    assert "killed in ONNX Runtime is left out: its process ended with exit code -9" in capsys.readouterr().out


def test_a_peer_that_cannot_be_made_is_an_error_with_its_last_words(tmp_path, monkeypatch) -> None:
    broken = Peer(YOLO, (), "raise SystemExit('no such network')")
    monkeypatch.setattr("benchmarks.peer_graphs.PEERS", {"x": broken})
    with pytest.raises(RuntimeError, match=r"the export of YOLO11n-seg failed in .*:\nno such network"):
        peer_graphs(tmp_path, ["x"])


def test_the_command_writes_a_row_for_each_network_and_runtime(checkpoint, tmp_path, capsys) -> None:
    convolution = helper.make_node("Conv", ["images", "w"], ["y"])
    write_graph(tmp_path / "yolo11n-seg.onnx", [convolution], [weights("w", 16, 3, 3, 3)], shape=(1, 3, 64, 64))
    out, picture = tmp_path / "rows.json", tmp_path / "rows.png"
    options = (
        f"--quick --checkpoint {checkpoint} --peers {tmp_path} --threads 1 --rounds 2 --json {out} --plot {picture}"
    )
    main(options.split())
    rows = json.loads(out.read_text())["rows"]
    found = {(row["name"], row["runtime"]) for row in rows}
    assert {("SPDA-SAM, RGB-D", "ONNX Runtime"), ("SPDA-SAM, RGB only", "PyTorch"), (YOLO, "ONNX Runtime")} <= found
    assert all(row["ms_p50"] > 0 and row["gmacs"] > 0 and row["params_m"] > 0 and row["peak_mb"] > 20 for row in rows)
    assert [row["times"] for row in rows if row["name"] == YOLO] == [1.0] * sum(row["name"] == YOLO for row in rows)
    assert "| ONNX Runtime | YOLO11n-seg |" in capsys.readouterr().out
    assert picture.stat().st_size > 5000
