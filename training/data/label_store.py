"""Labels of many pictures in one file without a name, which all processes map instead of each holding its own copy."""

from __future__ import annotations

import mmap
import os
import pickle
import tempfile
from collections.abc import Iterable
from multiprocessing.reduction import DupFd
from typing import Any

import numpy as np


class LabelStore:
    """What is known of each picture, on disk, read when asked for.

    A process that gets it by `spawn` gets the open file, and with it the pages that this one has in memory. The file
    has no name: it is gone with the last process, however that ends.

    Args:
        entries: of each picture its record and its annotations; whatever pickle takes.

    Raises:
        OSError: the folder for temporary files (TMPDIR) is full.
    """

    def __init__(self, entries: Iterable[tuple[dict[str, Any], list[dict[str, Any]]]]) -> None:
        ends = [0]
        with tempfile.TemporaryFile(prefix="labels_") as file:
            for part in (part for entry in entries for part in entry):
                ends.append(ends[-1] + file.write(pickle.dumps(part, pickle.HIGHEST_PROTOCOL)))
            file.flush()
            self._map(os.dup(file.fileno()), np.array(ends, np.int64))

    def _map(self, descriptor: int, ends: np.ndarray) -> None:
        self._descriptor, self._ends = descriptor, ends
        # a file without bytes cannot be mapped
        self._bytes = mmap.mmap(descriptor, int(ends[-1]), access=mmap.ACCESS_READ) if ends[-1] else b""

    def record(self, index: int) -> dict[str, Any]:
        """The record of picture `index`; changing it changes nothing here."""
        return self._part(2 * index)

    def annotations(self, index: int) -> list[dict[str, Any]]:
        """The annotations of picture `index`; changing them changes nothing here."""
        return self._part(2 * index + 1)

    def _part(self, number: int) -> Any:
        return pickle.loads(self._bytes[int(self._ends[number]) : int(self._ends[number + 1])])

    def __getstate__(self) -> dict[str, Any]:
        return {"file": DupFd(self._descriptor), "ends": self._ends}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._map(state["file"].detach(), state["ends"])

    def __del__(self) -> None:
        descriptor = getattr(self, "_descriptor", None)  # none where the disk was full
        if descriptor is not None:
            os.close(descriptor)
