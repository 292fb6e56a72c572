"""bfloat16 only where the machine is fast in it, or where it is asked for."""

from __future__ import annotations

import pytest
import torch

from training.learning.precision import choose_precision, cpu_flags, precision_of

AVX2 = "processor\t: 0\nflags\t\t: fpu avx avx2 fma\nbugs\t\t: none\n\nprocessor\t: 1\nflags\t\t: fpu avx512_bf16\n"
COOPER_LAKE = "processor\t: 0\nmodel name\t: x\nflags\t\t: fpu avx512f avx512_bf16 avx2\n"
SAPPHIRE_RAPIDS = "flags\t\t: fpu amx_bf16 amx_tile\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd bf16\n"


@pytest.mark.parametrize(
    ("wanted", "device_type", "cpuinfo", "gpu_has_it", "expected"),
    [
        ("auto", "cpu", AVX2, False, torch.float32),
        ("auto", "cpu", AVX2, True, torch.float32),
        ("auto", "cpu", COOPER_LAKE, False, torch.bfloat16),
        ("auto", "cpu", SAPPHIRE_RAPIDS, False, torch.bfloat16),
        ("auto", "cpu", ARM, False, torch.float32),
        ("auto", "cpu", "", False, torch.float32),
        ("auto", "cuda", COOPER_LAKE, False, torch.float32),
        ("auto", "cuda", AVX2, True, torch.bfloat16),
        ("float32", "cpu", COOPER_LAKE, False, torch.float32),
        ("float32", "cuda", "", True, torch.float32),
        ("bfloat16", "cpu", AVX2, False, torch.bfloat16),
        ("bfloat16", "cuda", "", False, torch.bfloat16),
    ],
)
def test_precision_follows_the_wish_and_then_the_machine(wanted, device_type, cpuinfo, gpu_has_it, expected) -> None:
    assert choose_precision(wanted, device_type, cpu_flags=cpu_flags(cpuinfo), gpu_has_it=gpu_has_it) is expected


def test_this_machine_is_asked_only_for_auto() -> None:
    cpu = torch.device("cpu")
    assert precision_of("float32", cpu) is torch.float32
    assert precision_of("bfloat16", cpu) is torch.bfloat16
    assert precision_of("auto", cpu) in (torch.float32, torch.bfloat16)
