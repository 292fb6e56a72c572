"""One network in a process of its own, so that its memory is its own, which runs whenever it is told to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np

from benchmarks.processes import megabytes, status_of

SLOW_MS = 5000.0
"""What takes longer is not run once before each time that counts."""
RuntimeName = Literal["PyTorch", "ONNX Runtime", "OpenVINO"]


class Entry(NamedTuple):
    """What a process shall load.

    Attributes:
        name: of the network.
        runtime: what runs it.
        source: an ONNX file; for PyTorch a function of this package's that makes the call, as "module:function".
        arguments: of that function, after the number of threads.
        feed: NPZ file of what an ONNX graph reads.
    """

    name: str
    runtime: RuntimeName
    source: str
    arguments: tuple[Any, ...] = ()
    feed: str = ""


class Failed(RuntimeError):
    """A network that a runtime cannot load or run; the message is what it said."""


class Contestant:
    """A running process. It is no fork or spawn of this one, which would bring this one's imports along.

    Args:
        entry: what it loads.
        threads: of its runtime.

    Attributes:
        entry: as given.
        first_ms: milliseconds of its first run.

    Raises:
        Failed: it cannot be loaded, or run once.
    """

    def __init__(self, entry: Entry, threads: int) -> None:
        self.entry = entry
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.contestant", json.dumps([entry, threads])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            self.first_ms = self._answer()
        except Failed:
            self.close()
            raise

    def run(self) -> float:
        """Milliseconds of a run, after one that does not count: caches and threads are its own again by then.

        What takes more than `SLOW_MS` is not run twice: it does not notice.

        Raises:
            Failed: it cannot.
        """
        return self._ask("run")

    def peak_mb(self) -> float:
        """The most memory that its process has had resident so far, in MB of 10^6 bytes, interpreter included.

        Raises:
            Failed: it is gone.
        """
        return self._ask("peak")

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def _ask(self, what: str) -> float:
        assert self._process.stdin is not None, "opened as a pipe"
        try:
            self._process.stdin.write(f"{what}\n")
            self._process.stdin.flush()
        except BrokenPipeError:  # it was killed while it waited, as where memory runs out
            raise Failed(f"its process ended with exit code {self._process.wait()}") from None
        return self._answer()

    def _answer(self) -> float:
        assert self._process.stdout is not None, "opened as a pipe"
        line = self._process.stdout.readline()
        if not line:
            raise Failed(f"its process ended with exit code {self._process.wait()}")
        answer = json.loads(line)
        if isinstance(answer, str):
            raise Failed(answer)
        return float(answer)


def _serve(entry: Entry, threads: int) -> None:
    """Load an entry and answer each line of input with a number, or with text where that fails."""
    pipe = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a runtime prints is no answer

    def answer(value: float | str) -> None:
        pipe.write(json.dumps(value) + "\n")
        pipe.flush()

    try:
        call = _load(entry, threads)
        first_ms = _milliseconds(call)
        answer(first_ms)
        for request in sys.stdin:
            if request.strip() == "peak":
                # getrusage's peak would begin with that of the process that started this one
                answer(megabytes(status_of("self")["VmHWM"]))
            else:
                if first_ms < SLOW_MS:
                    call()
                answer(_milliseconds(call))
    except Exception:
        answer(traceback.format_exc(limit=-1).strip())


def _milliseconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


def _load(entry: Entry, threads: int) -> Callable[[], object]:
    """A call that runs it once. What is not needed is not imported: memory is measured."""
    if entry.runtime == "PyTorch":
        module, _, function = entry.source.partition(":")
        make = getattr(__import__(module, fromlist=[function]), function)
        call: Callable[[], object] = make(threads, *entry.arguments)
        return call
    with np.load(entry.feed) as stored:
        feed = dict(stored)
    if entry.runtime == "ONNX Runtime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(entry.source, options, providers=["CPUExecutionProvider"])
        read = {known.name: feed[known.name] for known in session.get_inputs()}
        return lambda: session.run(None, read)
    import openvino

    core = openvino.Core()
    # float32, as the others compute; left to itself, it takes bfloat16 where the machine has it
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(entry.source, "CPU", settings)
    inputs = {known.get_any_name(): feed[known.get_any_name()] for known in compiled.inputs}
    return lambda: compiled(inputs)


if __name__ == "__main__":
    _entry, _threads = json.loads(sys.argv[1])
    _serve(Entry(*_entry), _threads)
