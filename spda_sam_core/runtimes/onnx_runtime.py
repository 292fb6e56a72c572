"""ONNX Runtime, on the CPU or on CUDA."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnxruntime
from numpy.typing import NDArray

from spda_sam_core.graph.onnx_file import GraphFile
from spda_sam_core.runtimes.graph_runtime import GraphRuntime, each_image, output_names, stacked
from spda_sam_core.runtimes.runtime import BackendError, RawOutput

_WARNINGS_LEFT_OUT = 3


class OnnxRuntime(GraphRuntime):
    """Runs an exported network.

    Args:
        graph: the network.
        device: "cpu", "cuda" or "cuda:<n>".
        num_threads: CPU threads of each operator; 0 leaves it to ONNX Runtime.

    Raises:
        BackendError: the file cannot be loaded, or not run where it was asked to: ONNX Runtime would go on elsewhere.
    """

    def __init__(self, graph: GraphFile, *, device: str = "cpu", num_threads: int = 0) -> None:
        backend = ("onnxruntime", onnxruntime.__version__)
        super().__init__(graph, device, backend, {"threads": str(num_threads or "all")})
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.log_severity_level = _WARNINGS_LEFT_OUT
        providers: list[str | tuple[str, dict[str, str]]] = ["CPUExecutionProvider"]
        if device != "cpu":
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": device.partition(":")[2] or "0"}))
        wanted = "CPUExecutionProvider" if device == "cpu" else "CUDAExecutionProvider"
        if wanted not in onnxruntime.get_available_providers():
            raise BackendError(
                f"ONNX Runtime {onnxruntime.__version__} has no {wanted}, only "
                f"{onnxruntime.get_available_providers()}: install onnxruntime-gpu, or use device 'cpu'"
            )
        try:
            self._session = onnxruntime.InferenceSession(graph.path, options, providers=providers)
        except Exception as error:  # its own classes have no common base but Exception
            raise BackendError(f"ONNX Runtime cannot load {graph.path}: {' '.join(str(error).split())}") from error
        if (used := self._session.get_providers()[0]) != wanted:
            raise BackendError(
                f"ONNX Runtime runs {graph.path} in {used} in place of {wanted}: its CUDA libraries do not load; see "
                "its messages above, or use device 'cpu'"
            )
        self._read = [entry.name for entry in self._session.get_inputs()]
        self._outputs = output_names([entry.name for entry in self._session.get_outputs()])

    def _run_each(self, arrays: Sequence[NDArray[Any]]) -> RawOutput:
        feeds = each_image(arrays, self._read)
        return stacked([self._session.run(self._outputs, dict(feed)) for feed in feeds])

    def close(self) -> None:
        """See `Runtime.close`."""
        del self._session
