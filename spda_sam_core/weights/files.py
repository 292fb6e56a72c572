"""Files of weights: written whole or not at all, and errors that say what is wrong with one. Without torch."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


class CheckpointError(RuntimeError):
    """A file of weights that cannot be used; the message has its path, what is wrong, and the fix."""


def cache_folder() -> Path:
    """Where files of ours lie that can be made or fetched again: XDG's cache folder of the user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spda_sam"


@contextmanager
def appears_whole(path: Path) -> Iterator[Path]:
    """Write a file so that it appears whole or not at all, even if the power fails.

    Args:
        path: the file; its folder must exist.

    Yields:
        Where to write instead. It becomes `path` unless an exception leaves the block.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Delete what processes that were killed inside `appears_whole` left in a folder."""
    for path in folder.glob(".*.*"):
        process = path.name.rpartition(".")[2]
        if process.isdigit() and not _is_alive(int(process)):
            path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # it is another user's, or no process id at all
        return True
    return True


def write_whole(path: Path, content: bytes) -> None:
    """Write a file at once; it appears whole or not at all."""
    with appears_whole(path) as temporary:
        temporary.write_bytes(content)


def read_header(path: Path) -> dict[str, str]:
    """The text entries of a safetensors file; reads no weights.

    Raises:
        CheckpointError: the file cannot be read, is not safetensors, or ends too early.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            start = file.read(1)
            if size < 10 or start != b"{":
                raise CheckpointError(
                    f"{path}: not a safetensors file ({size} bytes): give a file written by "
                    "training/train.py; pickled files (.pt, .pth) are no checkpoints of ours"
                )
            if 8 + length > size:
                raise CheckpointError(_truncated(path, size, 8 + length))
            header = json.loads(start + file.read(length - 1))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}): check its permissions") from error
    except ValueError as error:
        raise CheckpointError(f"{path}: damaged header ({error}): copy the file again") from error
    tensors = [value for key, value in header.items() if key != "__metadata__"]
    needed = 8 + length + max((tensor["data_offsets"][1] for tensor in tensors), default=0)
    if size < needed:
        raise CheckpointError(_truncated(path, size, needed))
    return dict(header.get("__metadata__", {}))


def write_header_entries(path: Path, entries: Mapping[str, str]) -> None:
    """Add or replace text entries of a safetensors file. Its weights keep every byte; the file changes whole or not.

    Raises:
        CheckpointError: as `read_header`.
    """
    read_header(path)  # refuses what is damaged
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        header["__metadata__"] = {**header.get("__metadata__", {}), **entries}
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % 8)  # weights begin at a multiple of eight bytes, as safetensors writes them
        with appears_whole(path) as temporary, temporary.open("wb") as new:
            new.write(len(text).to_bytes(8, "little") + text)
            shutil.copyfileobj(file, new)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _truncated(path: Path, size: int, needed: int) -> str:
    return f"{path}: truncated, {size} of {needed} bytes: copy or download the file again"
