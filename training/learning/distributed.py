"""One training in several processes, as torchrun starts them: who this one is, and what all of them must agree on.

In a process that torchrun did not start there is one process: it is the first, and waits for nobody.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed

from spda_sam_core.runtimes.torch_runtime import check_device

_PATIENCE = timedelta(days=1)
"""How long a process waits for another: rendering and validation on the first one take their time. When a process dies,
torchrun ends the others at once."""


def process_count() -> int:
    """W, how many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def process_index() -> int:
    """Which of the W this one is, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def is_first() -> bool:
    """Whether this is the process that writes files, shows progress and validates."""
    return process_index() == 0


@contextmanager
def joined_processes(device: str) -> Iterator[torch.device]:
    """Be one of the processes that torchrun started, if it did.

    Args:
        device: "cpu", "cuda" or "cuda:<n>".

    Yields:
        Where this process computes: of "cuda" under torchrun the GPU with its number on this machine.

    Raises:
        ValueError: what `check_device` raises; or one GPU is named for several processes.
    """
    if "LOCAL_RANK" not in os.environ:
        yield check_device(device)
        return
    if device.startswith("cuda:"):
        raise ValueError(f"device '{device}' under torchrun: use 'cuda', each process then takes a GPU of its own")
    own = check_device(f"cuda:{os.environ['LOCAL_RANK']}" if device == "cuda" else device)
    if own.type == "cuda":
        torch.cuda.set_device(own)
    # gloo beside nccl, for what lies on the CPU: a GPU that waits for a validation has no operation that times out
    distributed.init_process_group("cpu:gloo,cuda:nccl" if own.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield own
    finally:
        distributed.destroy_process_group()


def wait_for_all() -> None:
    """Return when every process has come here."""
    if process_count() > 1:
        distributed.all_reduce(torch.zeros(1))


def first_decides(value: bool) -> bool:
    """What the first process says, in all of them: their clocks differ."""
    if process_count() == 1:
        return value
    said = torch.tensor([value], dtype=torch.int32)
    distributed.broadcast(said, src=0)
    return bool(said)


@contextmanager
def one_after_another() -> Iterator[None]:
    """The first process alone, then one on each other machine, then the rest: who comes later finds files made."""
    turn = 0 if is_first() else 1 if os.environ["LOCAL_RANK"] == "0" else 2
    for _ in range(turn):
        wait_for_all()
    yield
    for _ in range(2 - turn):
        wait_for_all()


def gather(own: Tensor) -> Tensor:
    """The tensors (...) of all processes as (W, ...), in their order; gradients flow back to each.

    Args:
        own: of the same shape and type in every process.
    """
    return own[None] if process_count() == 1 else _Gather.apply(own)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        rows = [torch.empty_like(own, memory_format=torch.contiguous_format) for _ in range(process_count())]
        distributed.all_gather(rows, own.contiguous())
        return torch.stack(rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # every process reads every row, so the gradient of a row is the sum over all who read it
        summed = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(summed)
        return summed[process_index()]


def share_of_batch(batch_size: int, accumulate: int) -> list[int]:
    """Which pictures of a batch this process computes, micro-batch by micro-batch.

    A micro-batch holds the same pictures however many processes share it.

    Args:
        batch_size: pictures in the batches of a step, over all processes.
        accumulate: number of micro-batches.

    Raises:
        ValueError: the pictures cannot be shared evenly.
    """
    count = process_count()
    own, left = divmod(batch_size, accumulate * count)
    if left:
        raise ValueError(
            f"batch_size {batch_size} cannot be shared evenly by {count} processes with accumulate {accumulate}: "
            f"make it a multiple of {accumulate * count}"
        )
    first = [micro * own * count + process_index() * own for micro in range(accumulate)]
    return [start + i for start in first for i in range(own)]


def normaliser(own: Tensor) -> Tensor:
    """What the part of this process is divided by where a loss is per unit of something in the batch.

    Args:
        own: how much of it there is in the pictures of this process, a number.

    Returns:
        How much there is in those of all W processes, at least 1, divided by W.
    """
    return gather(own).sum(dim=0).clamp(min=1) / process_count()
