"""ONNX Runtime, on the CPU or on CUDA."""

from __future__ import annotations

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from spda_sam_core.graph.onnx_file import GraphFile
from spda_sam_core.runtimes.graph_runtime import each_image, output_names, stacked
from spda_sam_core.runtimes.runtime import BackendError, NetworkInfo, RawOutput

_WARNINGS_LEFT_OUT = 3


class OnnxRuntime:
    """Runs an exported network.

    Args:
        graph: the network.
        device: "cpu", "cuda" or "cuda:<n>".
        num_threads: CPU threads of each operator; 0 leaves it to ONNX Runtime.

    Raises:
        BackendError: the file cannot be loaded, or not run where it was asked to: ONNX Runtime would go on elsewhere.
    """

    def __init__(self, graph: GraphFile, *, device: str = "cpu", num_threads: int = 0) -> None:
        self.info: NetworkInfo = graph.info
        self.device = device
        self._precision = graph.precision
        self._threads = num_threads
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

    def run(
        self,
        image: NDArray[np.uint8],
        inverse_depth: NDArray[np.float32],
        depth_valid: NDArray[np.float32],
        estimate: NDArray[np.float32],
    ) -> RawOutput:
        """See `Runtime.run`."""
        feeds = each_image((image, inverse_depth, depth_valid, estimate), self._read)
        return stacked([self._session.run(self._outputs, dict(feed)) for feed in feeds])

    def facts(self) -> dict[str, str]:
        """See `Runtime.facts`."""
        return {
            "backend": "onnxruntime",
            "backend_version": onnxruntime.__version__,
            "device": self.device,
            "precision": self._precision,
            "threads": str(self._threads or "all"),
        }

    def close(self) -> None:
        """See `Runtime.close`."""
        del self._session
