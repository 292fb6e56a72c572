"""bfloat16 only where the machine is fast in it, or where it is asked for."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from spda_sam_core.network.layers import separable_conv
from training.learning.precision import choose_precision, cpu_flags, keep_depthwise_float32, precision_of

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


def depthwise_and_rest() -> tuple[nn.Sequential, nn.Sequential, Tensor]:
    """A network with depth-wise and other convolutions, the same changed, and an input."""
    torch.manual_seed(0)
    plain = nn.Sequential(separable_conv(8, 8), nn.Conv2d(8, 4, 3, padding=1)).eval()
    changed = copy.deepcopy(plain)
    keep_depthwise_float32(changed)
    return plain, changed, torch.randn(2, 8, 12, 12)


def test_depthwise_convolutions_in_float32_change_nothing_without_autocast() -> None:
    plain, changed, x = depthwise_and_rest()
    assert torch.equal(plain(x), changed(x))
    assert [n for n, _ in plain.named_parameters()] == [n for n, _ in changed.named_parameters()]
    plain(x).sum().backward()
    changed(x).sum().backward()
    for one, other in zip(plain.parameters(), changed.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


def test_under_autocast_depthwise_convolutions_alone_compute_in_float32() -> None:
    plain, changed, x = depthwise_and_rest()
    seen: dict[str, tuple[torch.dtype, Tensor, Tensor]] = {}

    def keep(name: str):
        return lambda module, given, out: seen.update({name: (out.dtype, given[0], out)})

    for name, module in changed.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(keep(name))
    with torch.autocast("cpu", torch.bfloat16):
        assert plain[0][0](x).dtype is torch.bfloat16
        changed(x)
    kinds = {name: dtype for name, (dtype, _, _) in seen.items()}
    assert kinds == {"0.0": torch.float32, "0.2": torch.bfloat16, "1": torch.bfloat16}
    _, given, out = seen["0.0"]
    torch.testing.assert_close(out, plain[0][0](given.float()), rtol=0, atol=0)  # not rounded in between
