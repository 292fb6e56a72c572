"""Build an engine of a graph. A process of its own does it: builders were seen to crash, and take minutes on a Jetson.

Networks are strongly typed: precision is that of the file. Nothing here needs a GPU where TensorRT for RTX builds for a
named compute capability.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import logging
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from spda_sam_core.runtimes.tensorrt.flavour import EngineError, Flavour, installed_flavour
from spda_sam_core.runtimes.tensorrt.log import errors_become_exceptions, logger_of
from spda_sam_core.weights.files import write_whole

RECIPE = 1
"""Counted up whenever what `build_plan` asks of TensorRT changes: engines of another recipe are built again."""
WORKSPACE_BYTES = 1 << 30
"""Scratch memory of layers; TensorRT's default, all memory, starves a Jetson, which shares it with the CPU."""

_PR_SET_PDEATHSIG = 1  # linux/prctl.h

Progress = Callable[[str, float], None]
"""Is told the phase and the seconds since the beginning."""


def build_plan(flavour: Flavour, graph: bytes, compute_capability: str | None, progress: Progress) -> bytes:
    """Build an engine in this process.

    Args:
        flavour: TensorRT to build with.
        graph: an ONNX file of `spda-sam export`.
        compute_capability: "8.9": for such a GPU, which need not be here (TensorRT for RTX only); None: for that here.
        progress: told of each phase.

    Returns:
        The serialised engine.

    Raises:
        EngineError: with the operator and node that cannot be built, or whatever TensorRT says.
    """
    trt, logger = flavour.module, logger_of(flavour)
    if not graph:
        raise EngineError("the graph is an empty file")  # parse would find it good
    start = time.monotonic()
    with errors_become_exceptions(flavour, "building an engine"):
        builder = trt.Builder(logger)
        flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        network = builder.create_network(flags)  # held: the parser does not keep it alive
        parser = trt.OnnxParser(network, logger)
        progress("reading the graph", 0.0)
        if not parser.parse(graph) or not network.num_outputs:
            raise EngineError(_parser_errors(parser) or "no outputs are in the graph")
        config = builder.create_builder_config()
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
        if compute_capability is not None:
            _build_for(trt, config, compute_capability)
        monitor = _monitor(trt, lambda phase: progress(phase, time.monotonic() - start))
        config.progress_monitor = monitor
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise EngineError("")
        return bytes(plan)


def _build_for(trt: Any, config: Any, compute_capability: str) -> None:
    known = getattr(trt, "ComputeCapability", None)
    if known is None:
        raise EngineError(
            f"{trt.__name__} builds for the GPU of this machine only: leave out compute capability {compute_capability}"
        )
    name = f"SM{compute_capability.replace('.', '')}"
    if not hasattr(known, name):
        offered = sorted(n for n in dir(known) if n.startswith("SM"))
        raise EngineError(f"compute capability {compute_capability} ({name}) is none of {', '.join(offered)}")
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(known, name), 0)


def _parser_errors(parser: Any) -> str:
    """Operator, node and reason of each error; the reason alone may be "false"."""
    found = []
    for i in range(parser.num_errors):
        error = parser.get_error(i)
        where = " ".join(filter(None, (error.node_operator(), f"'{error.node_name()}'" if error.node_name() else "")))
        found.append(f"{where or 'graph'}: {error.desc()} ({error.func()}, {error.code()})")
    return "; ".join(found)


def _monitor(trt: Any, tell: Callable[[str], None]) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # the module has no types
        """Tells phases; a percentage would lie, one step takes nearly all of the time."""

        def __init__(self) -> None:
            super().__init__()

        def phase_start(self, name: str, parent: str | None, _steps: int) -> None:
            tell(name if parent is None else f"{parent}: {name}")

        def step_complete(self, _name: str, _step: int) -> bool:
            return True

        def phase_finish(self, _name: str) -> None:
            pass

    return Monitor()


def build_apart(
    graph: Path, output: Path, *, compute_capability: str | None = None, progress: Progress = lambda *_: None
) -> None:
    """Build an engine in another process, and write it whole.

    Args:
        graph: the ONNX file.
        output: the engine.
        compute_capability: see `build_plan`.
        progress: see `build_plan`.

    Raises:
        EngineError: what that process said, or that it died.
    """
    command = [sys.executable, "-m", "spda_sam_core.runtimes.tensorrt.build", str(graph), str(output)]
    if compute_capability is not None:
        command += ["--compute-capability", compute_capability]
    # a file, not a second pipe: whoever reads one to its end waits for ever for a child that fills the other
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as stderr:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
        assert process.stdout is not None, "opened as a pipe"
        try:
            with process:
                for line in process.stdout:
                    try:
                        told = json.loads(line)
                        progress(str(told["phase"]), float(told["seconds"]))
                    except (ValueError, KeyError, TypeError):  # TensorRT prints some lines past its logger
                        continue
        except BaseException:
            process.kill()
            raise
        stderr.seek(0)
        said = stderr.read().strip()
    if process.returncode:
        last = said.splitlines()[-1] if said else "it said nothing"
        died = f"the building process died of signal {-process.returncode}" if process.returncode < 0 else ""
        raise EngineError(": ".join(filter(None, (died, last))))


def _end_with_parent() -> None:
    """Let this process be killed when the one that started it ends: who took over its lock would build beside it."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main(arguments: Sequence[str] | None = None) -> None:
    """Build an engine; phases go to stdout as JSON, an error as one line to stderr."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("graph", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--compute-capability")
    options = parser.parse_args(arguments)
    _end_with_parent()
    logging.disable(logging.CRITICAL)  # errors come back as text of the exception

    def tell(phase: str, seconds: float) -> None:
        print(json.dumps({"phase": phase, "seconds": round(seconds, 1)}), flush=True)

    try:
        plan = build_plan(installed_flavour(), options.graph.read_bytes(), options.compute_capability, tell)
        write_whole(options.output, plan)
    except (EngineError, OSError) as error:
        parser.exit(1, f"{' '.join(str(error).split())}\n")


if __name__ == "__main__":
    main()
