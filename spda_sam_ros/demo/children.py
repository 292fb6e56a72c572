"""Child processes that never outlive their parent. No ROS in here."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class ChildSpec:
    """A process to start.

    Attributes:
        name: what messages call it.
        command: program and arguments.
        log: file for its output; None lets it write to the terminal.
    """

    name: str
    command: Sequence[str]
    log: Path | None = None


class ChildDied(RuntimeError):
    """A child ended which should have run on; the message has its exit code and the end of its log."""


class Children:
    """Starts processes on entry and ends all of them on exit.

    Each child leads a process group of its own, so that Ctrl-C reaches only the parent, which then ends the
    children in order. On Linux they are killed even if the parent is killed.

    Args:
        specs: what to start, in order.
        environment: environment of all of them.
        grace_s: time from SIGINT to SIGKILL.
    """

    def __init__(self, specs: Sequence[ChildSpec], *, environment: Mapping[str, str], grace_s: float = 10.0) -> None:
        self._specs = specs
        self._environment = environment
        self._grace_s = grace_s
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Children:
        try:
            for spec in self._specs:
                self._start(spec)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _start(self, spec: ChildSpec) -> None:
        if spec.log is not None:
            spec.log.parent.mkdir(parents=True, exist_ok=True)
        output = None if spec.log is None else spec.log.open("wb")
        try:
            self._processes[spec.name] = subprocess.Popen(
                spec.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=None if output is None else subprocess.STDOUT,
                env=dict(self._environment),
                start_new_session=True,
                preexec_fn=_become_a_child,
            )
        finally:
            if output is not None:
                output.close()

    def _stop(self) -> None:
        running = [p for p in self._processes.values() if p.poll() is None]
        for process in running:
            process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + self._grace_s
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def wait_for(self, name: str) -> int:
        """Wait until the named child ends.

        Returns:
            Its exit code.

        Raises:
            ChildDied: another child ended before.
        """
        while (code := self._processes[name].poll()) is None:
            for spec in self._specs:
                other = self._processes[spec.name].poll()
                if spec.name != name and other is not None:
                    raise ChildDied(f"{spec.name} ended with exit code {other}.{self.log_tail(spec.name)}")
            time.sleep(0.1)
        return code

    def log_tail(self, name: str, lines: int = 20) -> str:
        """Return the end of a child's log as an indented block, or "" where it writes to the terminal."""
        spec = next(s for s in self._specs if s.name == name)
        if spec.log is None:
            return ""
        text = spec.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
        return f" The end of {spec.log}:\n" + "\n".join(f"    {line}" for line in text or ["(empty)"])


def _become_a_child() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # what a shell starts in the background ignores it, and so would we
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
