"""A network on a CUDA GPU in float16, all of its kernels for one image launched together as a CUDA graph."""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn

from spda_sam_core.network.network import SpdaSamNetwork, SpdaSamOutput
from spda_sam_core.runtimes.runtime import RawOutput

_log = logging.getLogger(__name__)
_RUNS_BEFORE_RECORDING = 3
"""Libraries choose their kernels and take their memory in the first runs, which a record cannot hold."""


class CudaNetwork:
    """Calls a network under autocast; launching its thousand small kernels one by one takes longer than they do.

    Args:
        network: on a CUDA GPU, in evaluation mode. Changed for good: see `in_half`.
    """

    def __init__(self, network: SpdaSamNetwork) -> None:
        self._network = in_half(network)
        self._record: _Record | None = None
        self._records = True

    @property
    def is_recorded(self) -> bool:
        """Whether a CUDA graph is launched for a single image; known after the first one."""
        return self._record is not None

    @torch.inference_mode()
    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Run, and wait for the result.

        Args:
            inputs: of `SpdaSamNetwork.forward`, on the CPU.

        Returns:
            What `RawOutput` holds, float32 on the CPU.
        """
        if self._records and self._record is None and inputs[0].shape[0] == 1:
            try:
                self._record = _Record(self._network, inputs)
            except RuntimeError as error:  # an operator that cannot be recorded
                _log.warning("no CUDA graph, each operator is launched on its own: %s", str(error).splitlines()[0])
                self._records = False
        if self._record is not None and inputs[0].shape[0] == 1:
            return self._record.run(inputs)
        device = next(self._network.parameters()).device
        return tuple(x.cpu() for x in run_in_half(self._network, *(x.to(device) for x in inputs)))


class _Record:
    """A CUDA graph of one image, with the memory that it reads and writes.

    Args:
        network: of `in_half`.
        inputs: as those of `CudaNetwork.__call__`, one image.

    Raises:
        RuntimeError: an operator cannot be recorded, or memory runs out.
    """

    def __init__(self, network: SpdaSamNetwork, inputs: tuple[Tensor, ...]) -> None:
        device = next(network.parameters()).device
        self._pinned = [x.pin_memory() for x in inputs]  # the GPU copies from there without help
        self._given = [x.to(device) for x in inputs]
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(self._stream):
            for _ in range(_RUNS_BEFORE_RECORDING):
                run_in_half(network, *self._given)
            self._graph = torch.cuda.CUDAGraph()
            # what other threads of the process do on the GPU is none of the record's business
            with torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"):
                self._found = run_in_half(network, *self._given)
        self._host = [torch.empty(x.shape, dtype=x.dtype, pin_memory=True) for x in self._found]

    def run(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        with torch.cuda.stream(self._stream):
            for given, pinned, x in zip(self._given, self._pinned, inputs, strict=True):
                pinned.copy_(x)
                given.copy_(pinned, non_blocking=True)
            self._graph.replay()
            for host, found in zip(self._host, self._found, strict=True):
                host.copy_(found, non_blocking=True)
        self._stream.synchronize()
        return tuple(x.clone() for x in self._host)


def in_half(network: SpdaSamNetwork) -> SpdaSamNetwork:
    """Keep in float16 the weights that autocast would cast for each image; the network can be trained no more."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            module.half()
    return network.to(memory_format=torch.channels_last)


def run_in_half(network: SpdaSamNetwork, *inputs: Tensor) -> tuple[Tensor, ...]:
    """What `RawOutput` holds, float32, on the network's device."""
    # no cache of cast weights: it would be emptied between recording and launching
    with torch.autocast(inputs[0].device.type, dtype=torch.float16, cache_enabled=False):
        found = network(*inputs)
    return candidates_of(found)


def candidates_of(found: SpdaSamOutput) -> tuple[Tensor, ...]:
    """What `RawOutput` holds of the network's output, in its order, float32, on the network's device."""
    return tuple(getattr(found, name).float() for name in RawOutput._fields)
