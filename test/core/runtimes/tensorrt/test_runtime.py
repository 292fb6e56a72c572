"""From graph to engine on a GPU: built, compared, kept, refused. A stand-in takes the GPU's place, nothing else's."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from engine_cases import FLAVOUR

from spda_sam_core.graph.onnx_file import GraphFile
from spda_sam_core.runtimes.backends import load_backend
from spda_sam_core.runtimes.onnx_runtime import OnnxRuntime
from spda_sam_core.runtimes.tensorrt import cache
from spda_sam_core.runtimes.tensorrt.cuda import Driver, Gpu
from spda_sam_core.runtimes.tensorrt.flavour import EngineError, Flavour, UnusableEngine, is_installed
from spda_sam_core.runtimes.tensorrt.runtime import keys, open_engine, refuse_unknown, run_each

GPU = Gpu(0, "RTX 4090", "8.9", "13.0")


class StandIn:
    """An engine that computes what ONNX Runtime does, or a little more."""

    inputs = ["image", "inverse_depth", "depth_valid", "estimate"]  # noqa: RUF012

    def __init__(self, graph: GraphFile, off: float = 0.0) -> None:
        self._session = OnnxRuntime(graph, num_threads=1)
        self.outputs = ["mask_logits", "class_logits", "predicted_iou", "boxes_xyxy", "seen_inverse_depth"]
        self.off, self.closed = off, False

    def run(self, feed):
        found = self._session.run(*(feed[name] for name in self.inputs))
        values = (
            found.mask_logits,
            found.class_logits,
            found.predicted_iou,
            found.predicted_iou,
            found.inverse_depth + self.off,
        )
        return dict(zip(self.outputs, values, strict=True))

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def graph(exported, tmp_path, monkeypatch) -> GraphFile:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return GraphFile.read(exported("float32"))


def test_an_engine_is_built_compared_and_found_again(graph, builds) -> None:
    compared = []

    def execute(_plan):
        compared.append(StandIn(graph))
        return compared[-1]

    for _ in range(2):
        open_engine(graph, FLAVOUR, GPU, execute)
    assert builds == [graph.path]
    own, _ = keys(graph, FLAVOUR, GPU)
    assert json.loads(own.path.with_suffix(".json").read_text())["verified"] is True


def test_an_engine_that_finds_something_else_is_refused_with_the_figures_and_deleted(graph, builds) -> None:
    wrong = StandIn(graph, off=0.3)
    with pytest.raises(
        EngineError,
        match=r"finds something else than PyTorch: .* differs by 0\.3, at most 0\.08 is rounding in float32",
    ):
        open_engine(graph, FLAVOUR, GPU, lambda _: wrong)
    assert wrong.closed
    own, _ = keys(graph, FLAVOUR, GPU)
    assert not own.path.exists()


def test_an_engine_that_gives_no_numbers_is_refused(graph, builds) -> None:
    with pytest.raises(EngineError, match="differs by nan"):
        open_engine(graph, FLAVOUR, GPU, lambda _: StandIn(graph, off=float("nan")))


def test_an_engine_built_without_its_gpu_is_compared_by_the_first_process_that_has_it(graph, builds) -> None:
    _, brought = keys(graph, FLAVOUR, GPU)
    entry = cache.Entry(brought, FLAVOUR)
    entry.build(graph.path, lambda *_: None, compute_capability="8.9")
    assert not entry.verified
    open_engine(graph, FLAVOUR, GPU, lambda _: StandIn(graph))
    assert entry.verified
    assert builds == [graph.path]  # nothing was built for the GPU itself


def test_a_wrong_or_unloadable_engine_from_elsewhere_is_replaced_by_one_of_this_machine(graph, builds, caplog) -> None:
    _, brought = keys(graph, FLAVOUR, GPU)
    entry = cache.Entry(brought, FLAVOUR)
    entry.build(graph.path, lambda *_: None, compute_capability="8.9")
    given = [StandIn(graph, off=0.3), StandIn(graph)]
    engine = open_engine(graph, FLAVOUR, GPU, lambda _: given.pop(0))
    assert engine.off == 0
    assert not entry.path.exists()
    assert f"engine {entry.path} is built again: " in caplog.text


def test_memory_that_runs_out_costs_no_engine(graph, builds) -> None:
    open_engine(graph, FLAVOUR, GPU, lambda _: StandIn(graph))

    def full(_plan):
        raise EngineError("CUDA's cuMemAlloc_v2 says 2: out of memory")

    with pytest.raises(EngineError, match="out of memory"):
        open_engine(graph, FLAVOUR, GPU, full)
    open_engine(graph, FLAVOUR, GPU, lambda _: StandIn(graph))
    assert builds == [graph.path]


def test_an_engine_that_does_not_load_is_built_again(graph, builds) -> None:
    open_engine(graph, FLAVOUR, GPU, lambda _: StandIn(graph))
    given = [UnusableEngine("loading an engine failed"), StandIn(graph)]

    def execute(_plan):
        first = given.pop(0)
        if isinstance(first, UnusableEngine):
            raise first
        return first

    open_engine(graph, FLAVOUR, GPU, execute)
    assert builds == [graph.path] * 2


def test_each_picture_of_a_batch_is_run_and_float16_comes_out_as_float32(graph) -> None:
    rng = np.random.default_rng(0)
    side = graph.info.input_size
    image = rng.integers(0, 256, (2, side, side, 3), np.uint8)
    depth = rng.random((2, 1, side, side), np.float32)
    arrays = (image, depth, np.ones_like(depth), np.zeros(2, np.float32))
    expected = OnnxRuntime(graph, num_threads=1).run(*arrays)
    engine = StandIn(graph)
    run = engine.run
    engine.run = lambda feed: {name: value.astype(np.float16) for name, value in run(feed).items()}
    found = run_each(engine, arrays)
    assert found.mask_logits.dtype == np.float32
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-2)


def test_without_a_driver_it_says_so_before_tensorrt_is_asked(tmp_path) -> None:
    with pytest.raises(
        EngineError, match=r"no NVIDIA driver \(.*no_such_library.*\): .* use backend 'auto' or 'onnxruntime'"
    ):
        Driver("no_such_library.so")


@pytest.mark.skipif(not is_installed(), reason="TensorRT is not installed")
def test_the_cpu_is_refused(graph) -> None:
    with pytest.raises(EngineError, match="device 'cpu': TensorRT needs an NVIDIA GPU"):
        load_backend("tensorrt", graph.path, device="cpu")


@pytest.mark.parametrize(("capability", "refused"), [("8.9", False), ("9.0", True), ("8.7", True), ("13.0", False)])
def test_a_gpu_that_tensorrt_for_rtx_does_not_know_is_refused_at_once(capability, refused) -> None:
    flavour = Flavour("tensorrt_rtx", "1.7.1.116", pytest.importorskip("tensorrt_rtx"))
    gpu = Gpu(0, "NVIDIA H200", capability, "13.0")
    if not refused:
        refuse_unknown(flavour, gpu)
        return
    with pytest.raises(
        EngineError, match=rf"8.9, 12.0, 12.1 and later ones, but NVIDIA H200 has {capability}: install"
    ):
        refuse_unknown(flavour, gpu)


def test_tensorrt_itself_has_no_list_of_gpus() -> None:
    refuse_unknown(Flavour("tensorrt", "10.3.0", SimpleNamespace()), Gpu(0, "NVIDIA H200", "9.0", "12.6"))
