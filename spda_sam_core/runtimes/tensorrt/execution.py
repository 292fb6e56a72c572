"""An engine on a GPU. All that needs one is here and in `cuda`; docs/tensorrt.md says what of it has run."""

from __future__ import annotations

import ctypes
import logging
import math
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spda_sam_core.runtimes.tensorrt.cuda import Driver
from spda_sam_core.runtimes.tensorrt.flavour import EngineError, Flavour, UnusableEngine
from spda_sam_core.runtimes.tensorrt.log import errors_become_exceptions, logger_of

_log = logging.getLogger(__name__)


class _Buffer(NamedTuple):
    """Memory of one input or output, allocated once.

    Attributes:
        host: array in pinned memory.
        pinned: its address.
        device: address on the GPU.
    """

    host: NDArray[Any]
    pinned: int
    device: int


class Execution:
    """Runs an engine of fixed shapes: memory and addresses stay the same, so that a CUDA graph can be launched.

    Copies and sums of a frame follow each other in one stream: `run` waits for its result, so there is no second frame
    to overlap with.

    Args:
        flavour: TensorRT that built the engine.
        plan: the engine.
        driver: of CUDA.
        device: index of the GPU.

    Raises:
        EngineError: the engine does not load here, or memory runs out.
    """

    def __init__(self, flavour: Flavour, plan: bytes, driver: Driver, device: int) -> None:
        self._driver, self._device = driver, device
        self._flavour = flavour
        self._lock = threading.Lock()  # a context serves one thread at a time
        trt = flavour.module
        self._gpu_context = driver.context(device)
        driver.enter(self._gpu_context)
        with errors_become_exceptions(flavour, "loading an engine"):
            self._runtime = trt.Runtime(logger_of(flavour))
            self._engine = self._runtime.deserialize_cuda_engine(plan)
            if self._engine is None:
                raise UnusableEngine("")
            self._context = self._engine.create_execution_context()
            if self._context is None:
                raise EngineError("no memory for its activations: close what else uses the GPU")
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        modes = {name: self._engine.get_tensor_mode(name) for name in names}
        self.inputs = [name for name in names if modes[name] == trt.TensorIOMode.INPUT]
        self.outputs = [name for name in names if modes[name] == trt.TensorIOMode.OUTPUT]
        self._stream = driver.stream()
        self._buffers = {name: self._allocate(name) for name in names}
        for name, buffer in self._buffers.items():
            if not self._context.set_tensor_address(name, buffer.device):
                raise EngineError(f"{flavour.name} refuses the address of '{name}'")
        self._enqueue()  # once before it can be recorded
        driver.wait(self._stream)
        self._graph = self._record()

    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run once and wait.

        Args:
            feed: an array for each of `inputs`, of its shape and type.

        Returns:
            A new array for each of `outputs`.

        Raises:
            EngineError: CUDA failed.
        """
        with self._lock:
            self._driver.enter(self._gpu_context)  # whatever thread this is
            for name in self.inputs:
                np.copyto(self._buffers[name].host, feed[name], casting="no")
            if self._graph:
                self._driver.launch(self._graph, self._stream)
            else:
                self._enqueue()
            self._driver.wait(self._stream)
            return {name: self._buffers[name].host.copy() for name in self.outputs}

    def close(self) -> None:
        """Give all memory back; not to be used after that."""
        with self._lock:
            self._driver.enter(self._gpu_context)
            del self._context, self._engine, self._runtime
            for buffer in self._buffers.values():
                self._driver.free(device=buffer.device, pinned=buffer.pinned)
            self._buffers.clear()
            self._driver.destroy(graph=self._graph, stream=self._stream)
            self._driver.leave(self._device)

    def _allocate(self, name: str) -> _Buffer:
        shape = tuple(self._engine.get_tensor_shape(name))
        try:
            kind = np.dtype(self._flavour.module.nptype(self._engine.get_tensor_dtype(name)))
        except TypeError as error:  # a type that NumPy lacks, such as bfloat16
            raise EngineError(f"'{name}' is of {self._engine.get_tensor_dtype(name)}, which NumPy lacks") from error
        if min(shape, default=0) < 0:
            raise EngineError(f"'{name}' has shape {shape}, not a fixed one: export it by spda-sam export")
        n_bytes = max(1, math.prod(shape) * kind.itemsize)
        pinned = self._driver.pinned_memory(n_bytes)
        memory = (ctypes.c_byte * n_bytes).from_address(pinned)
        host = np.frombuffer(memory, kind, math.prod(shape)).reshape(shape)
        host[...] = 0
        return _Buffer(host, pinned, self._driver.device_memory(n_bytes))

    def _enqueue(self) -> None:
        """Give the stream a whole frame: copies in, the engine, copies out."""
        for name in self.inputs:
            buffer = self._buffers[name]
            self._driver.to_device(buffer.device, buffer.pinned, buffer.host.nbytes, self._stream)
        with errors_become_exceptions(self._flavour, "running an engine"):
            if not self._context.execute_async_v3(self._stream):
                raise EngineError("")
        for name in self.outputs:
            buffer = self._buffers[name]
            self._driver.to_host(buffer.pinned, buffer.device, buffer.host.nbytes, self._stream)

    def _record(self) -> int:
        """A CUDA graph of a whole frame; 0 where this engine cannot be recorded."""
        try:
            self._driver.begin_capture(self._stream)
            try:
                self._enqueue()
            finally:
                graph = self._driver.end_capture(self._stream)
        except EngineError as error:
            _log.info("no CUDA graph, each operator is launched on its own: %s", error)
            return 0
        return graph
