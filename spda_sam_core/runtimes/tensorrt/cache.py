"""Engines on disk. An engine fits one graph, one version of TensorRT and one GPU; whatever differs is another file.

Beside each engine, `.json` tells people what it is, and whether a GPU has compared it. Engines hold code: only what
this program wrote into the user's own folder is ever loaded.
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from spda_sam_core.runtimes.tensorrt.build import RECIPE, build_apart
from spda_sam_core.runtimes.tensorrt.flavour import Flavour
from spda_sam_core.weights.files import cache_folder, file_sha256, remove_unfinished, write_whole

_MAGIC, _SIZE, _VERSION = slice(0, 4), slice(16, 24), slice(24, 28)
_HEADER_BYTES = 28

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineKey:
    """All that an engine depends on.

    Attributes:
        graph_sha256: of the ONNX file, weights included.
        flavour: module of TensorRT.
        version: its full version.
        compute_capability: of the GPU, such as "8.7".
        gpu: name of the GPU; "any" of an engine that was built without one.
        driver: version of CUDA that the driver offers; "any" of such an engine.
        precision: of the graph.
        recipe: see `build.RECIPE`.
    """

    graph_sha256: str
    flavour: str
    version: str
    compute_capability: str
    gpu: str
    driver: str
    precision: str
    recipe: int = RECIPE

    @property
    def path(self) -> Path:
        """Where the engine is kept."""
        digest = hashlib.sha256(json.dumps(dataclasses.asdict(self), sort_keys=True).encode()).hexdigest()
        return (
            cache_folder()
            / "engines"
            / f"{self.flavour}-sm{self.compute_capability.replace('.', '')}-{digest[:20]}.plan"
        )


class Entry:
    """An engine that may be on disk.

    Args:
        key: what it depends on.
        flavour: TensorRT that reads it.
    """

    def __init__(self, key: EngineKey, flavour: Flavour) -> None:
        self.key, self.path = key, key.path
        self._flavour = flavour

    @property
    def sidecar(self) -> Path:
        """What it is, for people and for us."""
        return self.path.with_suffix(".json")

    @property
    def verified(self) -> bool:
        """Whether a GPU found in the check picture, with these very bytes, what PyTorch had found."""
        try:
            said = json.loads(self.sidecar.read_text(encoding="utf-8"))
            return bool(said["verified"]) and said["sha256"] == file_sha256(self.path)
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def load(self) -> bytes | None:
        """The engine; None, said in one line of the log, where it is missing, cut off, or of another version."""
        try:
            plan = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            _log.warning("engine %s cannot be read (%s): it is built again", self.path, error.strerror)
            return None
        problem = header_problem(plan, self._flavour)
        if problem:
            _log.warning("engine %s %s: it is built again", self.path, problem)
            return None
        return plan

    def describe(self, *, verified: bool) -> None:
        """Write the sidecar of an engine that is there."""
        said = {**dataclasses.asdict(self.key), "sha256": file_sha256(self.path), "verified": verified}
        write_whole(self.sidecar, (json.dumps(said, indent=1) + "\n").encode())

    def discard(self) -> None:
        """Delete an engine that proved wrong."""
        self.path.unlink(missing_ok=True)
        self.sidecar.unlink(missing_ok=True)

    def build(
        self, graph: Path, progress: Callable[[str, float], None], *, compute_capability: str | None = None
    ) -> bytes:
        """The engine, built now unless another process does or has: then it is waited for.

        Args:
            graph: the ONNX file.
            progress: told phase and seconds.
            compute_capability: see `build.build_plan`.

        Raises:
            EngineError: it cannot be built.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with locked(self.path.with_suffix(".lock"), lambda process: progress(f"waiting for process {process}", 0.0)):
            plan = self.load()  # somebody else may have built it meanwhile
            if plan is None:
                remove_unfinished(self.path.parent)
                build_apart(graph, self.path, compute_capability=compute_capability, progress=progress)
                self.describe(verified=False)
                plan = self.path.read_bytes()
        return plan


def header_problem(plan: bytes, flavour: Flavour) -> str:
    """What is wrong with the first bytes of an engine; empty where nothing is.

    They hold "vtrt" or "ftrt", from byte 16 the size and from byte 24 major, minor, patch and build of TensorRT's
    version: the layout that NVIDIA's trtexec reads for `--getPlanVersionOnly`.
    """
    if len(plan) < _HEADER_BYTES or plan[_MAGIC][1:] != b"trt":
        return "is no engine, or its beginning is damaged"
    size = int.from_bytes(plan[_SIZE], "little")
    if flavour.name == "tensorrt_rtx" and len(plan) < size:
        return f"is cut off, {len(plan)} of {size} bytes"
    expected = flavour.version_bytes
    found = plan[_VERSION][: len(expected)]
    if found != expected:
        return f"is of version {'.'.join(map(str, found))}, here is {flavour.name} {flavour.version}"
    return ""


@contextmanager
def locked(path: Path, waiting: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of a file against other processes; it ends with the process that holds it, however that ends.

    Args:
        path: the file; it is never deleted, for that would let two processes hold it.
        waiting: is told the number of the process that holds it, once, before this one waits.
    """
    with path.open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            waiting(file.read().strip() or "unknown")
            fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield
