"""What stands in for engines where nothing runs them."""

from __future__ import annotations

from spda_sam_core.runtimes.tensorrt.flavour import Flavour

FLAVOUR = Flavour("tensorrt_rtx", "1.7.1.116", None)


def plan(version: tuple[int, ...] = (1, 7, 1, 116), size: int = 100) -> bytes:
    """Bytes with the header of an engine."""
    return b"vtrt" + bytes(12) + size.to_bytes(8, "little") + bytes(version) + bytes(size - 28)
