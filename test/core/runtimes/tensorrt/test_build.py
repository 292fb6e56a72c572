"""Building engines with the real TensorRT for RTX, which needs no GPU for it, and what its failures say."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from spda_sam_core.runtimes.tensorrt import build
from spda_sam_core.runtimes.tensorrt.build import build_apart, build_plan
from spda_sam_core.runtimes.tensorrt.cache import header_problem
from spda_sam_core.runtimes.tensorrt.flavour import EngineError, Flavour, installed_flavour

trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx-cu13 is for x86-64 only")


def graph_of(*nodes: onnx.NodeProto, weights: dict[str, np.ndarray] | None = None) -> bytes:
    """A graph from `x` (1, 8, 16, 16) to `y`."""
    tensors = [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 8, 16, 16))
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(list(nodes), "g", [x], [y], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def small_graph() -> bytes:
    weights = {"w": np.ones((4, 8, 3, 3), np.float32), "s": np.float32(2)}
    nodes = [helper.make_node("Conv", ["x", "w"], ["a"], name="first"), helper.make_node("Mul", ["a", "s"], ["y"])]
    return graph_of(*nodes, weights=weights)


@pytest.fixture(scope="module")
def flavour() -> Flavour:
    return installed_flavour()


def quiet(*_: object) -> None:
    """Progress that nobody listens to."""


def test_an_engine_is_of_the_installed_version_and_phases_are_told(flavour) -> None:
    told: list[tuple[str, float]] = []
    plan = build_plan(flavour, small_graph(), "8.9", lambda *progress: told.append(progress))
    assert header_problem(plan, flavour) == ""
    phases = [phase for phase, _ in told]
    assert phases[0] == "reading the graph"
    assert "Building engine" in phases
    assert [seconds for _, seconds in told] == sorted(seconds for _, seconds in told)


@pytest.mark.parametrize(
    ("graph", "said"),
    [
        (b"", "the graph is an empty file"),
        (b"\x00nonsense", "building an engine failed"),
        (
            graph_of(
                helper.make_node("NonZero", ["x"], ["n"], name="where"), helper.make_node("Cast", ["n"], ["y"], to=1)
            ),
            r"NonZero 'where': .*",
        ),
        (
            graph_of(
                helper.make_node("Reshape", ["x", "flat"], ["f"]),
                helper.make_node("Tile", ["f", "twice"], ["t"]),
                helper.make_node("TopK", ["t", "k"], ["y", "i"], name="best"),
                weights={
                    "flat": np.array([1, -1], np.int64),
                    "twice": np.array([1, 4], np.int64),
                    "k": np.array([5000], np.int64),
                },
            ),
            r"building an engine failed: .*3840",  # only the log says it
        ),
    ],
)
def test_what_cannot_be_built_is_told_by_operator_and_node_or_in_tensorrt_s_words(flavour, graph, said) -> None:
    with pytest.raises(EngineError, match=said):
        build_plan(flavour, graph, "8.9", quiet)


def test_an_unknown_kind_of_gpu_is_refused_with_those_that_are_known(flavour) -> None:
    with pytest.raises(EngineError, match=r"compute capability 8.7 \(SM87\) is none of SM120, .*SM89"):
        build_plan(flavour, small_graph(), "8.7", quiet)


def test_errors_of_one_build_are_not_those_of_the_next(flavour) -> None:
    with pytest.raises(EngineError):
        build_plan(flavour, b"\x00nonsense", "8.9", quiet)
    with pytest.raises(EngineError) as second:
        build_plan(flavour, small_graph(), "1.0", quiet)
    assert "ModelImporter" not in str(second.value)


def test_another_process_builds_the_same_and_tells_its_phases(flavour, tmp_path) -> None:
    (tmp_path / "g.onnx").write_bytes(small_graph())
    told: list[str] = []
    build_apart(
        tmp_path / "g.onnx", tmp_path / "g.plan", compute_capability="8.9", progress=lambda phase, _: told.append(phase)
    )
    assert header_problem((tmp_path / "g.plan").read_bytes(), flavour) == ""
    assert told[0] == "reading the graph"
    assert len(told) > 3


def test_what_the_other_process_says_comes_back_and_no_file_is_left(tmp_path) -> None:
    (tmp_path / "g.onnx").write_bytes(b"\x00nonsense")
    with pytest.raises(EngineError, match="building an engine failed"):
        build_apart(tmp_path / "g.onnx", tmp_path / "g.plan", compute_capability="8.9")
    assert list(tmp_path.iterdir()) == [tmp_path / "g.onnx"]


def test_a_builder_that_crashes_is_an_error_of_ours(tmp_path, monkeypatch) -> None:
    dying = tmp_path / "dying"
    dying.write_text(f"#!{sys.executable}\nimport os\nos.kill(os.getpid(), {int(signal.SIGSEGV)})\n")
    dying.chmod(0o755)
    monkeypatch.setattr(build.sys, "executable", str(dying))
    with pytest.raises(
        EngineError, match=f"the building process died of signal {int(signal.SIGSEGV)}: it said nothing"
    ):
        build_apart(tmp_path / "g.onnx", tmp_path / "g.plan")


def test_a_builder_that_says_very_much_is_heard_to_its_end(tmp_path, monkeypatch) -> None:
    talking = tmp_path / "talking"
    talking.write_text(f"#!{sys.executable}\nimport sys\nsys.stderr.write('x' * 500_000 + '\\nat last')\nsys.exit(1)\n")
    talking.chmod(0o755)
    monkeypatch.setattr(build.sys, "executable", str(talking))
    with pytest.raises(EngineError, match=r"^at last$"):
        build_apart(tmp_path / "g.onnx", tmp_path / "g.plan")


def test_the_network_itself_is_built(flavour, tmp_path, exported) -> None:
    graph: Path = exported("float32")
    build_apart(graph, tmp_path / "g.plan", compute_capability="8.9")
    assert header_problem((tmp_path / "g.plan").read_bytes(), flavour) == ""
    assert (tmp_path / "g.plan").stat().st_size > os.path.getsize(graph) / 2


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_the_network_is_built_in_every_precision(flavour, precision, tmp_path, exported) -> None:
    build_apart(exported(precision), tmp_path / "g.plan", compute_capability="8.9")
    assert header_problem((tmp_path / "g.plan").read_bytes(), flavour) == ""
