"""The graph of a checkpoint: exported once for each checkpoint, in the user's cache."""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import logging
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from spda_sam_core.graph.onnx_file import FORMAT
from spda_sam_core.runtimes.runtime import BackendError
from spda_sam_core.weights.files import appears_whole, cache_folder, file_sha256
from spda_sam_core.weights.find import find_checkpoint

_log = logging.getLogger(__name__)
_NEEDED = ("torch", "onnx", "onnxruntime")


def is_graph(path: Path) -> bool:
    """Whether this is an exported network, and no checkpoint of PyTorch's."""
    return path.suffix == ".onnx"


def graph_of(checkpoint: str | Path) -> Path:
    """The ONNX file of a checkpoint, exported now where it has not been yet; some 20 seconds, in another process.

    Args:
        checkpoint: a file, an ONNX file among them, or the name of a shipped one.

    Raises:
        BackendError: it cannot be exported here.
        CheckpointError: there is no such checkpoint.
    """
    path = find_checkpoint(checkpoint)
    if is_graph(path):
        return path
    target = cache_folder() / "graphs" / f"{path.stem}-{file_sha256(path)[:16]}-{_recipe()}.onnx"
    if target.is_file():
        return target
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise BackendError(
            f"{path} has to be exported first, for which {', '.join(missing)} is missing here: run 'spda-sam export "
            f"--checkpoint {path.name} --output {path.stem}.onnx' on another machine and give that file as checkpoint"
        )
    _log.info("exporting %s to %s, once", path, target)
    target.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "spda_sam_core.graph.cache", str(path), str(target)],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode:
        last = done.stdout.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        raise BackendError(f"{path} cannot be exported: {last[0]}")
    return target


def _recipe() -> str:
    """What of this package a graph depends on, as a short hash: another network makes another graph."""
    here = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256(FORMAT.encode())
    for path in sorted([*(here / "network").rglob("*.py"), *(here / "graph").glob("*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


def main(arguments: Sequence[str] | None = None) -> None:
    """Export a checkpoint, unproven: each runtime is checked when it is loaded."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("output", type=Path)
    options = parser.parse_args(arguments)
    from spda_sam_core.graph.export import describe, to_onnx  # here: the process that asks needs no torch
    from spda_sam_core.weights.checkpoint import load_checkpoint

    network, info = load_checkpoint(options.checkpoint)
    with appears_whole(options.output) as temporary:
        temporary.write_bytes(to_onnx(network, describe(network, info)))


if __name__ == "__main__":
    main()
