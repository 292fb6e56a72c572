"""What Linux says of a process. It imports nothing of weight: who measures its own memory imports it too."""

from __future__ import annotations

from pathlib import Path


def status_of(process: int | str) -> dict[str, str]:
    """The entries of /proc/<process>/status, "self" being the caller's, by their names; see proc_pid_status(5)."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def megabytes(entry: str) -> float:
    """An entry in kB, which are KiB, as 10^6 bytes."""
    return int(entry.split()[0]) * 1024 / 1e6
