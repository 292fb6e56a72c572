"""The backends: what each needs, where it runs, and one of them loaded and checked."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any, NamedTuple

from spda_sam_core.graph.cache import graph_of, is_graph
from spda_sam_core.graph.check_picture import compare
from spda_sam_core.graph.onnx_file import GraphFile
from spda_sam_core.runtimes.runtime import BackendError, Runtime
from spda_sam_core.runtimes.tensorrt.cuda import has_gpu
from spda_sam_core.weights.files import CheckpointError
from spda_sam_core.weights.find import find_checkpoint

_log = logging.getLogger(__name__)


class Backend(NamedTuple):
    """One way to run a network.

    Attributes:
        package: that must be installed; "a or b": one of them.
        runtime: class of the runtime, as "module:class"; made of a graph, but for PyTorch's.
        devices: where it runs: "cpu", "cuda".
        install: how to get the package.
    """

    package: str
    runtime: str
    devices: tuple[str, ...]
    install: str

    @property
    def installed(self) -> bool:
        """Whether its package is there; it may still fail to load."""
        return any(importlib.util.find_spec(name) is not None for name in self.package.split(" or "))


BACKENDS = {
    "tensorrt": Backend(
        "tensorrt or tensorrt_rtx",
        "spda_sam_core.runtimes.tensorrt.runtime:TensorRt",
        ("cuda",),
        "a Jetson has it with JetPack; for an RTX card: pip install tensorrt-rtx-cu13",
    ),
    "onnxruntime": Backend(
        "onnxruntime", "spda_sam_core.runtimes.onnx_runtime:OnnxRuntime", ("cpu", "cuda"), "pip install onnxruntime"
    ),
    "openvino": Backend("openvino", "spda_sam_core.runtimes.openvino:OpenVino", ("cpu",), "pip install openvino"),
    "torch": Backend("torch", "spda_sam_core.runtimes.torch_runtime:TorchRuntime", ("cpu", "cuda"), "see pytorch.org"),
}
"""By the name that users give."""


def load_backend(
    name: str, checkpoint: str | Path, *, device: str = "cpu", preset: str | None = None, num_threads: int = 0
) -> Runtime:
    """Load a network into a backend, and compare what it finds in the check picture with what PyTorch found.

    Args:
        name: one of `BACKENDS`.
        checkpoint: a file, an exported ONNX file among them, or the name of a shipped checkpoint.
        device: "cpu", "cuda", "cuda:<n>", or "auto": CUDA where the backend has it.
        preset: refuse a network of another preset.
        num_threads: CPU threads; 0 leaves it to the backend.

    Raises:
        BackendError: an unknown backend, one that is not installed or fails to load, or one that finds something else.
        CheckpointError: a file that is missing, damaged, or for something else.
        ValueError: a device that is not there.
    """
    backend = find_backend(name)
    if not backend.installed:
        raise BackendError(f"backend '{name}' needs the package {backend.package}: {backend.install}")
    path = find_checkpoint(checkpoint)
    if name == "torch":
        if is_graph(path):
            raise BackendError(
                f"{path} is an exported graph, which PyTorch cannot run: take backend 'auto' or 'onnxruntime', or "
                "give the .safetensors file"
            )
        loaded: Runtime = _load(backend)(checkpoint, device=device, preset=preset, num_threads=num_threads)
        return loaded
    graph = GraphFile.read(graph_of(checkpoint))
    if preset is not None and graph.info.preset != preset:
        raise CheckpointError(
            f"{path}: is for preset '{graph.info.preset}', but '{preset}' was asked for: give another file"
        )
    if graph.info.terms:
        _log.warning("%s may be used on these terms only: %s", path.name, "; ".join(graph.info.terms))
    runtime: Runtime = _load(backend)(graph, device=_device(device, backend), num_threads=num_threads)
    check(runtime, graph)
    return runtime


def version_of(module: str) -> str:
    """The version of the distribution that brings a module, which may have another name; empty where none does."""
    names = _distributions().get(module, ())
    return ", ".join(sorted({version(name) for name in names}))


@functools.cache
def _distributions() -> Mapping[str, Sequence[str]]:
    """Of each module the distributions that bring it; finding them reads the metadata of all that is installed."""
    return packages_distributions()


def find_backend(name: str) -> Backend:
    """The backend of this name.

    Raises:
        BackendError: there is none.
    """
    if name not in BACKENDS:
        raise BackendError(f"unknown backend '{name}': use 'auto', {', '.join(map(repr, BACKENDS))}")
    return BACKENDS[name]


def check(runtime: Runtime, graph: GraphFile) -> None:
    """Refuse a runtime that finds something else in the check picture than PyTorch did when the graph was made.

    Raises:
        BackendError: with the figures.
    """
    found = compare(graph, runtime.run)
    if not found.is_rounding:
        name = runtime.facts().get("backend", type(runtime).__name__)
        raise BackendError(
            f"{name} computes something else than PyTorch from {graph.path.name}: {found}. Take another backend or "
            "version"
        )


def _load(backend: Backend) -> Callable[..., Any]:
    module, _, name = backend.runtime.partition(":")
    try:
        loaded = getattr(importlib.import_module(module), name)
    except (ImportError, OSError) as error:  # a library of its own that is missing
        raise BackendError(f"{backend.package} is installed and does not load ({error}): install it again") from error
    make: Callable[..., Any] = getattr(loaded, "load", loaded)
    return make


def _device(asked: str, backend: Backend) -> str:
    """For "auto" the GPU, where there is one that the backend can use."""
    if asked != "auto":
        return asked
    if "cpu" not in backend.devices:
        return "cuda"
    return "cuda" if "cuda" in backend.devices and has_gpu() and _onnx_runtime_has_cuda() else "cpu"


def _onnx_runtime_has_cuda() -> bool:
    import onnxruntime  # the only backend of graphs that has both

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()
