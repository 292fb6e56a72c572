"""OpenVINO on the CPU, in float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from spda_sam_core.graph.onnx_file import GraphFile
from spda_sam_core.runtimes.graph_runtime import INPUTS, each_image, output_names, stacked
from spda_sam_core.runtimes.runtime import BackendError, NetworkInfo, RawOutput


class OpenVino:
    """Runs an exported network.

    Args:
        graph: the network.
        device: "cpu"; nothing else is tried.
        num_threads: CPU threads; 0 leaves it to OpenVINO.

    Raises:
        BackendError: the file cannot be loaded, or another device.
    """

    device = "cpu"

    def __init__(self, graph: GraphFile, *, device: str = "cpu", num_threads: int = 0) -> None:
        if device != "cpu":
            raise BackendError(f"device '{device}': OpenVINO is used on the CPU only: say 'cpu', or another backend")
        self.info: NetworkInfo = graph.info
        self._precision = graph.precision
        self._threads = num_threads
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            # left to itself it takes bfloat16 where the CPU has it, and finds other things than PyTorch does
            "INFERENCE_PRECISION_HINT": "f32",
        }
        if num_threads:
            settings["INFERENCE_NUM_THREADS"] = num_threads
        core = openvino.Core()
        try:
            self._model = core.compile_model(core.read_model(graph.path), "CPU", settings)
        except RuntimeError as error:
            raise BackendError(f"OpenVINO cannot load {graph.path}: {' '.join(str(error).split())[:400]}") from error
        self._request = self._model.create_infer_request()
        # in float16 an input has the name of what it is cast to as well
        self._read = [name for entry in self._model.inputs for name in entry.names if name in INPUTS]
        known = [name for entry in self._model.outputs for name in entry.names]
        self._outputs = output_names(known)

    def run(
        self,
        image: NDArray[np.uint8],
        inverse_depth: NDArray[np.float32],
        depth_valid: NDArray[np.float32],
        estimate: NDArray[np.float32],
    ) -> RawOutput:
        """See `Runtime.run`."""
        found = []
        for feed in each_image((image, inverse_depth, depth_valid, estimate), self._read):
            self._request.infer(dict(feed), share_inputs=True)
            # copied: the request writes its next results into the same memory
            found.append([np.array(self._request.get_tensor(name).data) for name in self._outputs])
        return stacked(found)

    def facts(self) -> dict[str, str]:
        """See `Runtime.facts`."""
        return {
            "backend": "openvino",
            "backend_version": openvino.__version__,
            "device": self.device,
            "precision": self._precision,
            "threads": str(self._threads or "all"),
        }

    def close(self) -> None:
        """See `Runtime.close`."""
        del self._request, self._model
