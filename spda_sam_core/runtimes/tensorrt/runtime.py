"""`TensorRt`: an exported network on an NVIDIA GPU; its engine is built at the first start, compared, and kept."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from spda_sam_core.graph.check_picture import compare
from spda_sam_core.graph.onnx_file import GraphFile
from spda_sam_core.runtimes.graph_runtime import GraphRuntime, each_image, output_names, stacked
from spda_sam_core.runtimes.runtime import RawOutput
from spda_sam_core.runtimes.tensorrt.cache import EngineKey, Entry
from spda_sam_core.runtimes.tensorrt.cuda import Driver, Gpu
from spda_sam_core.runtimes.tensorrt.execution import Execution
from spda_sam_core.runtimes.tensorrt.flavour import EngineError, Flavour, UnusableEngine, installed_flavour

ANY = "any"
"""GPU and driver of an engine that was built for a compute capability, without a GPU."""
_TOLD_EVERY_S = 10.0

_log = logging.getLogger(__name__)


class Executes(Protocol):
    """What `TensorRt` needs of an engine on a GPU; `Execution` is one."""

    inputs: list[str]
    outputs: list[str]

    def run(self, feed: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """One frame."""

    def close(self) -> None:
        """Give everything back."""


class TensorRt(GraphRuntime):
    """Runs an exported network.

    Args:
        graph: the network, in the precision that it shall have.
        device: "cuda", "cuda:<n>", or "auto" for the first GPU.
        num_threads: nothing of it runs on the CPU.

    Raises:
        EngineError: no TensorRT, no driver, no GPU, an engine that cannot be built, or one that finds something else
            than PyTorch did; the figures are in the message, and such an engine is deleted.
    """

    def __init__(self, graph: GraphFile, *, device: str = "cuda", num_threads: int = 0) -> None:
        del num_threads
        if device == "cpu":
            raise EngineError("device 'cpu': TensorRT needs an NVIDIA GPU; say 'cuda', or take another backend")
        flavour = installed_flavour()
        # before anything of TensorRT's that needs a GPU: without a driver some of its calls end the process
        driver = Driver()
        gpu = driver.gpu(int(device.partition(":")[2] or 0))
        refuse_unknown(flavour, gpu)
        backend = ("tensorrt", f"{flavour.name} {flavour.version}")
        about_gpu = {"gpu": f"{gpu.name}, compute capability {gpu.compute_capability}"}
        super().__init__(graph, f"cuda:{gpu.number}", backend, about_gpu)
        self._engine = open_engine(graph, flavour, gpu, lambda plan: Execution(flavour, plan, driver, gpu.number))

    def _run_each(self, arrays: Sequence[NDArray[Any]]) -> RawOutput:
        return run_each(self._engine, arrays)

    def close(self) -> None:
        """See `Runtime.close`."""
        self._engine.close()


def run_each(engine: Executes, arrays: Sequence[NDArray[Any]]) -> RawOutput:
    """Run the images of a batch one after another; the arrays are those of `Runtime.run`."""
    outputs = output_names(engine.outputs)
    found = [engine.run(feed) for feed in each_image(arrays, engine.inputs)]
    return stacked([[one[name].astype(np.float32, copy=False) for name in outputs] for one in found])


def refuse_unknown(flavour: Flavour, gpu: Gpu) -> None:
    """Refuse a GPU that TensorRT for RTX does not know, before half a minute of building: it says so after that only.

    Raises:
        EngineError: such a GPU.
    """
    known = getattr(flavour.module, "ComputeCapability", None)  # TensorRT itself has no such list
    if known is None:
        return
    listed = sorted(int(name[2:]) for name in dir(known) if name.startswith("SM"))
    asked = int(gpu.compute_capability.replace(".", ""))
    if asked not in listed and asked < listed[-1]:  # newer ones are served by code that it compiles on the spot
        able = ", ".join(f"{number / 10:.1f}" for number in listed)
        raise EngineError(
            f"{flavour.name} {flavour.version} runs on compute capability {able} and later ones, but "
            f"{gpu.name} has {gpu.compute_capability}: install TensorRT itself, or use backend torch"
        )


def open_engine(graph: GraphFile, flavour: Flavour, gpu: Gpu, execute: Callable[[bytes], Executes]) -> Executes:
    """The engine of a graph on a GPU: from the cache, or built now; compared with PyTorch once.

    Args:
        graph: the network.
        flavour: TensorRT.
        gpu: the GPU.
        execute: loads an engine.

    Raises:
        EngineError: it cannot be built, does not load, or finds something else.
    """
    own, brought = (Entry(key, flavour) for key in keys(graph, flavour, gpu))
    for entry in (own, brought):  # the second was built without a GPU, for any of its kind
        plan = entry.load()
        if plan is None:
            continue
        try:
            engine = execute(plan)
            _verify(engine, entry, graph)
        except UnusableEngine as error:  # memory that runs out is no fault of the engine
            _log.warning("engine %s is built again: %s", entry.path, error)
            entry.discard()
            continue
        return engine
    _log.info("building an engine for %s on %s, once: minutes on a Jetson", graph.path.name, gpu.name)
    engine = execute(own.build(graph.path, _Telling(graph.path.name)))
    _verify(engine, own, graph)
    return engine


def keys(graph: GraphFile, flavour: Flavour, gpu: Gpu) -> tuple[EngineKey, EngineKey]:
    """Of the engine built on this GPU, and of one that was built for its kind without it."""
    own = EngineKey(
        graph.sha256, flavour.name, flavour.version, gpu.compute_capability, gpu.name, gpu.driver, graph.precision
    )
    return own, key_without_gpu(graph, flavour, gpu.compute_capability)


def key_without_gpu(graph: GraphFile, flavour: Flavour, compute_capability: str) -> EngineKey:
    """Of an engine that is built for a kind of GPU where there is none."""
    return EngineKey(graph.sha256, flavour.name, flavour.version, compute_capability, ANY, ANY, graph.precision)


def _verify(engine: Executes, entry: Entry, graph: GraphFile) -> None:
    """Compare an engine with PyTorch, unless that was done; a wrong one is deleted.

    Compilers of transformers are wrong in silence: every new engine is suspect.
    """
    if entry.verified:
        return
    found = compare(graph, lambda *arrays: run_each(engine, arrays))
    if not found.is_rounding:
        engine.close()
        entry.discard()
        raise UnusableEngine(
            f"the engine of {graph.path.name} finds something else than PyTorch: {found}; it was deleted. Use float32, "
            "another version of TensorRT, or another backend"
        )
    entry.describe(verified=True)
    _log.info("engine %s agrees with PyTorch, difference %.3g", entry.path.name, found.difference)


class _Telling:
    """Tells the progress of a build in the log: each new top-level phase, and every ten seconds where it is."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._told_s = float("-inf")

    def __call__(self, phase: str, seconds: float) -> None:
        if phase.startswith("waiting") or seconds - self._told_s >= _TOLD_EVERY_S:
            self._told_s = seconds
            _log.info("engine of %s: %s, %.0f s", self._name, phase, seconds)
