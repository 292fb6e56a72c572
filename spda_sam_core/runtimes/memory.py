"""Memory that is freed and needed again with the next frame: kept, where glibc would give it back each time.

Giving it back makes the kernel clear every page anew. In PyTorch, which allocates each activation, that costs up to as
much as the network itself.
"""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_KEPT_BYTES = 1 << 30


def keep_freed_memory() -> None:
    """Keep up to 1 GiB of freed memory in this process; call it before threads begin. Nothing without glibc.

    All threads share one arena: those of later threads are given back whenever they are empty, whatever the
    thresholds say, and the node segments in a thread of its own.
    """
    glibc = _glibc()
    if glibc is not None:
        for option, value in ((_M_TRIM_THRESHOLD, _KEPT_BYTES), (_M_MMAP_THRESHOLD, _KEPT_BYTES), (_M_ARENA_MAX, 1)):
            glibc.mallopt(option, value)


def give_back_freed_memory() -> None:
    """Give all freed memory back to the system, as after an unusually large frame. Nothing without glibc."""
    glibc = _glibc()
    if glibc is not None:
        glibc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None
