"""NVIDIA's driver through ctypes: what one engine needs of it. No torch, no CUDA toolkit, no package.

Functions and their meanings: CUDA Driver API, docs.nvidia.com/cuda/cuda-driver-api.
"""

from __future__ import annotations

import ctypes
from ctypes import byref, c_char_p, c_int, c_size_t, c_uint, c_void_p
from typing import NamedTuple

from spda_sam_core.runtimes.tensorrt.flavour import EngineError

LIBRARY = "libcuda.so.1"
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*
_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING
_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
_NAME_BYTES = 256


class Gpu(NamedTuple):
    """What an engine is built for.

    Attributes:
        number: of the device.
        name: such as "Orin (nvgpu)".
        compute_capability: such as "8.7".
        driver: version of CUDA that the driver offers, such as "12.6".
    """

    number: int
    name: str
    compute_capability: str
    driver: str


class Driver:
    """The driver, initialised.

    Raises:
        EngineError: there is none, or no GPU.
    """

    def __init__(self, library: str = LIBRARY) -> None:
        try:
            self._cuda = ctypes.CDLL(library)
        except OSError as error:
            raise EngineError(
                f"no NVIDIA driver ({error}): TensorRT needs an NVIDIA GPU; use backend 'auto' or 'onnxruntime' here"
            ) from error
        self.call("cuInit", c_uint(0))

    def call(self, function: str, *arguments: object) -> None:
        """Call the driver.

        Raises:
            EngineError: with its own name for what went wrong.
        """
        try:
            status = getattr(self._cuda, function)(*arguments)
        except AttributeError as error:
            raise EngineError(f"this NVIDIA driver has no {function}: CUDA 11.4 or newer is needed") from error
        if status:
            text = c_char_p()
            self._cuda.cuGetErrorString(c_int(status), byref(text))
            said = text.value.decode() if text.value else "unknown error"
            raise EngineError(f"CUDA's {function} says {status}: {said}")

    def gpu(self, index: int) -> Gpu:
        """The GPU of this index.

        Raises:
            EngineError: there is none.
        """
        count, version = c_int(), c_int()
        self.call("cuDeviceGetCount", byref(count))
        if index >= count.value:
            raise EngineError(f"device 'cuda:{index}' is not there, GPUs found: {count.value}: use a lower number")
        self.call("cuDriverGetVersion", byref(version))
        device, major, minor = c_int(), c_int(), c_int()
        self.call("cuDeviceGet", byref(device), c_int(index))
        name = ctypes.create_string_buffer(_NAME_BYTES)
        self.call("cuDeviceGetName", name, c_int(_NAME_BYTES), device)
        for value, attribute in ((major, _MAJOR), (minor, _MINOR)):
            self.call("cuDeviceGetAttribute", byref(value), c_int(attribute), device)
        driver = f"{version.value // 1000}.{version.value % 1000 // 10}"
        return Gpu(index, name.value.decode(), f"{major.value}.{minor.value}", driver)

    def context(self, index: int) -> int:
        """The GPU's primary context, which all libraries of a process share, kept until `leave`."""
        device, context = c_int(), c_void_p()
        self.call("cuDeviceGet", byref(device), c_int(index))
        self.call("cuDevicePrimaryCtxRetain", byref(context), device)
        return context.value or 0

    def enter(self, context: int) -> None:
        """Make a context that of the calling thread."""
        self.call("cuCtxSetCurrent", c_void_p(context))

    def leave(self, index: int) -> None:
        """Give the primary context of a GPU back."""
        device = c_int()
        self.call("cuDeviceGet", byref(device), c_int(index))
        self.call("cuDevicePrimaryCtxRelease_v2", device)

    def device_memory(self, n_bytes: int) -> int:
        """Address of new memory on the GPU."""
        address = c_void_p()
        self.call("cuMemAlloc_v2", byref(address), c_size_t(n_bytes))
        return address.value or 0

    def pinned_memory(self, n_bytes: int) -> int:
        """Address of new memory of the host that the GPU copies from and to without help."""
        address = c_void_p()
        self.call("cuMemHostAlloc", byref(address), c_size_t(n_bytes), c_uint(0))
        return address.value or 0

    def free(self, *, device: int = 0, pinned: int = 0) -> None:
        """Give memory back."""
        if device:
            self.call("cuMemFree_v2", c_void_p(device))
        if pinned:
            self.call("cuMemFreeHost", c_void_p(pinned))

    def stream(self) -> int:
        """A new stream that does not wait for the default one."""
        handle = c_void_p()
        self.call("cuStreamCreate", byref(handle), c_uint(_NON_BLOCKING))
        return handle.value or 0

    def to_device(self, device: int, pinned: int, n_bytes: int, stream: int) -> None:
        """Copy in a stream, and return at once."""
        self.call("cuMemcpyHtoDAsync_v2", c_void_p(device), c_void_p(pinned), c_size_t(n_bytes), c_void_p(stream))

    def to_host(self, pinned: int, device: int, n_bytes: int, stream: int) -> None:
        """Copy in a stream, and return at once."""
        self.call("cuMemcpyDtoHAsync_v2", c_void_p(pinned), c_void_p(device), c_size_t(n_bytes), c_void_p(stream))

    def wait(self, stream: int) -> None:
        """Wait until all work of a stream is done."""
        self.call("cuStreamSynchronize", c_void_p(stream))

    def begin_capture(self, stream: int) -> None:
        """Record what the stream is given from now on, in place of doing it."""
        self.call("cuStreamBeginCapture_v2", c_void_p(stream), c_int(_THREAD_LOCAL))

    def end_capture(self, stream: int) -> int:
        """The record, ready to be launched."""
        graph, executable = c_void_p(), c_void_p()
        self.call("cuStreamEndCapture", c_void_p(stream), byref(graph))
        # the last argument of the function of CUDA 12 and later; older ones take a log buffer, which is not used
        self.call("cuGraphInstantiateWithFlags", byref(executable), graph, ctypes.c_ulonglong(0))
        self.call("cuGraphDestroy", graph)
        return executable.value or 0

    def destroy(self, *, graph: int = 0, stream: int = 0) -> None:
        """End what `end_capture` and `stream` made."""
        if graph:
            self.call("cuGraphExecDestroy", c_void_p(graph))
        if stream:
            self.call("cuStreamDestroy_v2", c_void_p(stream))

    def launch(self, executable: int, stream: int) -> None:
        """Do what a record holds."""
        self.call("cuGraphLaunch", c_void_p(executable), c_void_p(stream))


def has_gpu() -> bool:
    """Whether there is an NVIDIA GPU with its driver."""
    try:
        Driver().gpu(0)
    except EngineError:
        return False
    return True
