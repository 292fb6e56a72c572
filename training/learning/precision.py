"""What a run computes in: bfloat16 where the machine is fast in it, else float32.

Measured: on a CPU without instructions for it, bfloat16 takes 5 to 140 times as long as float32.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

Precision = Literal["auto", "float32", "bfloat16"]
_CPU_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
"""Either makes bfloat16 fast, as Linux names them in /proc/cpuinfo."""


def precision_of(wanted: Precision, device: torch.device) -> torch.dtype:
    """What this machine computes in on a device; "auto" asks the machine."""
    if device.type == "cuda":
        # not torch.cuda.is_bf16_supported: it counts GPUs that emulate bfloat16, slower than float32
        return choose_precision(wanted, "cuda", gpu_has_it=torch.cuda.get_device_capability(device) >= (8, 0))
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="utf-8", errors="replace") if wanted == "auto" and cpuinfo.is_file() else ""
    return choose_precision(wanted, device.type, cpu_flags=cpu_flags(text))


def choose_precision(
    wanted: Precision, device_type: str, *, cpu_flags: Collection[str] = (), gpu_has_it: bool = False
) -> torch.dtype:
    """The type to compute in under autocast; weights are float32 in any case.

    Args:
        wanted: a type, or "auto" for bfloat16 where it is fast.
        device_type: "cpu" or "cuda".
        cpu_flags: what the CPU can do.
        gpu_has_it: whether the GPU computes in bfloat16.

    Returns:
        torch.float32 or torch.bfloat16.
    """
    fast = gpu_has_it if device_type == "cuda" else not _CPU_FLAGS.isdisjoint(cpu_flags)
    return torch.bfloat16 if wanted == "bfloat16" or (wanted == "auto" and fast) else torch.float32


def cpu_flags(cpuinfo: str) -> frozenset[str]:
    """Flags of the first CPU in the text of /proc/cpuinfo; none where it lists none, as on ARM."""
    found = re.search(r"^flags\s*:(.*)$", cpuinfo, re.MULTILINE)
    return frozenset(found[1].split()) if found else frozenset()


def keep_depthwise_float32(model: nn.Module) -> None:
    """Let depth-wise convolutions compute in float32 under autocast on a CPU: oneDNN learns 4 times slower in bfloat16.

    Measured for 5x5 kernels in channels-last, backward, on one core with AMX: 118 against 31 ms. Changes `model` for
    as long as it lives; its weights and its results in float32 stay the same.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.groups > 1:
            module.forward = partial(_in_float32, module.forward)  # type: ignore[method-assign]


def _in_float32(forward: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        return forward(x.float())
