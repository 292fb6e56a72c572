"""`backend: auto`: the fastest of what is installed, measured once per machine and checkpoint, and remembered."""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from spda_sam_core.graph.cache import is_graph
from spda_sam_core.graph.check_picture import check_inputs
from spda_sam_core.runtimes.backends import BACKENDS, load_backend, version_of
from spda_sam_core.runtimes.runtime import BackendError, Runtime
from spda_sam_core.runtimes.tensorrt.cuda import has_gpu
from spda_sam_core.weights.files import cache_folder, file_sha256, write_whole
from spda_sam_core.weights.find import find_checkpoint

ROUNDS = 9
TIMEOUT_S = 600.0
"""After which a backend counts as hung."""
BUILDING_TIMEOUT_S = 7200.0
"""The same for TensorRT, which builds an engine first."""
_PROGRESS = "spda-sam is at: "
"""Before what the measuring process tells of its progress, such as minutes of building an engine."""

_log = logging.getLogger(__name__)


class Choice(NamedTuple):
    """What runs a network, and why.

    Attributes:
        runtime: loaded and checked.
        reason: one line for people.
    """

    runtime: Runtime
    reason: str


def load_chosen(
    checkpoint: str | Path, *, device: str = "auto", preset: str | None = None, num_threads: int = 0
) -> Choice:
    """Load a network into the fastest backend that gives the right answer.

    Arguments are those of `load_backend`. A backend that fails is named in the log, and the next one is taken.

    Raises:
        BackendError: none can run it, with what each said.
        CheckpointError: a file that is missing, damaged, or for something else.
        ValueError: a device that is not there.
    """
    path = find_checkpoint(checkpoint)
    names = candidates(path, device)
    problems: list[str] = []
    reason = "the only backend that is installed"
    if len(names) > 1:
        names, reason, problems = _by_speed(path, names, device, num_threads)
    for name in names:
        try:
            runtime = load_backend(name, checkpoint, device=device, preset=preset, num_threads=num_threads)
        except BackendError as error:
            _log.warning("backend %s is left out: %s", name, error)
            problems.append(f"{name}: {error}")
            continue
        return Choice(runtime, reason)
    raise BackendError(
        f"no backend can run {path}: {'; '.join(problems) or 'none is installed'}. Install one: pip install onnxruntime"
    )


def candidates(path: Path, device: str) -> list[str]:
    """The installed backends that may run a file on a device, PyTorch last."""
    kind = device.partition(":")[0]
    kinds = ({"cpu", "cuda"} if has_gpu() else {"cpu"}) if kind == "auto" else {kind}
    able = {name: backend for name, backend in BACKENDS.items() if kinds.intersection(backend.devices)}
    return [name for name, backend in able.items() if backend.installed and not (name == "torch" and is_graph(path))]


def _by_speed(path: Path, names: Sequence[str], device: str, threads: int) -> tuple[list[str], str, list[str]]:
    """The backends, fastest first, why, and what those said that failed; measured now, or remembered."""
    problems: list[str] = []
    record = cache_folder() / "backends" / f"{_key(path, names, device, threads)}.json"
    try:
        known = json.loads(record.read_text(encoding="utf-8"))
        times = {str(name): float(ms) for name, ms in known["ms"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # not measured yet, or a damaged record
        times = {}
    # what failed may have failed for a moment, as where memory ran out: it is tried again
    missing = [name for name in names if name not in times]
    if missing:
        _log.info("measuring %s for this machine and checkpoint", ", ".join(missing))
    for name in missing:
        answer = measure_apart(path, name, device, threads)
        if isinstance(answer, float):
            times[name] = answer
            record.parent.mkdir(parents=True, exist_ok=True)
            write_whole(record, json.dumps({"checkpoint": str(path), "ms": times}, indent=1).encode())
        else:
            _log.warning("backend %s is left out: %s", name, answer)
            problems.append(f"{name}: {answer}")
    ordered = sorted(times, key=lambda name: times[name])
    measured = ", ".join(f"{name} {times[name]:.0f} ms" for name in ordered)
    return ordered, f"fastest here: {measured} ({record})", problems


def measure_apart(path: Path, name: str, device: str, threads: int) -> float | str:
    """Median milliseconds of a backend, in a process of its own, which may crash; or what went wrong."""
    command = [sys.executable, "-m", "spda_sam_core.runtimes.choose", str(path), name, device, str(threads)]
    timeout_s = BUILDING_TIMEOUT_S if name == "tensorrt" else TIMEOUT_S
    began, last = time.monotonic(), ""
    # a file, not a second pipe: whoever reads one to its end waits for ever for a child that fills the other
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as stdout:
        process = subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True, errors="replace")
        assert process.stderr is not None, "opened as a pipe"
        hung = threading.Timer(timeout_s, process.kill)
        hung.start()
        try:
            with process:
                for line in process.stderr:
                    if line.startswith(_PROGRESS):
                        _log.info("%s", line[len(_PROGRESS) :].strip())
                    last = line.strip() or last
        finally:
            hung.cancel()
        stdout.seek(0)
        printed = stdout.read().splitlines()
    try:
        return float(printed[-1])
    except (IndexError, ValueError):
        if time.monotonic() - began >= timeout_s:
            return f"gave no answer within {timeout_s:g} s"
        return last or f"its process ended with exit code {process.returncode}"


def _key(path: Path, names: Sequence[str], device: str, threads: int) -> str:
    """Of all that a measurement depends on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    modules = [module for name in names for module in BACKENDS[name].package.split(" or ")]
    versions = {module: version_of(module) for module in (*modules, "spda_sam_core")}
    facts = [file_sha256(path), versions, device, threads, cores, platform.machine(), _cpu(), has_gpu()]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return "".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))}))


def _tell_progress() -> None:
    """Send to stderr what the core logs; not its warnings, which whoever loads the backend in the end hears himself."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(_PROGRESS + "%(message)s"))
    handler.addFilter(lambda record: record.levelno == logging.INFO)
    core = logging.getLogger("spda_sam_core")
    core.addHandler(handler)
    core.setLevel(logging.INFO)
    core.propagate = False


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the median milliseconds of a network in a backend, or fail with one line."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("backend")
    parser.add_argument("device")
    parser.add_argument("threads", type=int)
    options = parser.parse_args(arguments)
    _tell_progress()
    try:
        runtime = load_backend(options.backend, options.checkpoint, device=options.device, num_threads=options.threads)
        inputs = list(check_inputs(runtime.info.input_size).values())
        times = []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            runtime.run(*inputs)  # type: ignore[arg-type]  # in the order of the arguments
            times.append((time.perf_counter() - start) * 1e3)
    except (BackendError, ValueError, RuntimeError) as error:
        parser.exit(1, f"{' '.join(str(error).split())}\n")
    print(statistics.median(times[1:]))


if __name__ == "__main__":
    main()
