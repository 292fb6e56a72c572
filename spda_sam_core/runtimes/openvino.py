"""OpenVINO on the CPU, in float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from spda_sam_core.graph.onnx_file import GraphFile
from spda_sam_core.runtimes.graph_runtime import INPUTS, GraphRuntime, each_image, output_names, stacked
from spda_sam_core.runtimes.runtime import BackendError, RawOutput


class OpenVino(GraphRuntime):
    """Runs an exported network.

    Args:
        graph: the network.
        device: "cpu"; nothing else is tried.
        num_threads: CPU threads; 0 leaves it to OpenVINO.

    Raises:
        BackendError: the file cannot be loaded, or another device.
    """

    def __init__(self, graph: GraphFile, *, device: str = "cpu", num_threads: int = 0) -> None:
        if device != "cpu":
            raise BackendError(f"device '{device}': OpenVINO is used on the CPU only: say 'cpu', or another backend")
        super().__init__(graph, device, ("openvino", openvino.__version__), {"threads": str(num_threads or "all")})
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

    def _run_each(self, arrays: Sequence[NDArray[Any]]) -> RawOutput:
        found = []
        for feed in each_image(arrays, self._read):
            self._request.infer(dict(feed), share_inputs=True)
            # copied: the request writes its next results into the same memory
            found.append([np.array(self._request.get_tensor(name).data) for name in self._outputs])
        return stacked(found)

    def close(self) -> None:
        """See `Runtime.close`."""
        del self._request, self._model
