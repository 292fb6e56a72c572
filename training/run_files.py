"""Files of a training run: written whole or not at all, and marked with the code that wrote them."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from pathlib import Path
from typing import Any

import torch

from spda_sam_core.files import appears_whole


def save_run(path: Path, config: Any, state: dict[str, Any]) -> None:
    """Write what `load_run` gives back; a kill at any moment leaves the old file or the new one.

    Args:
        path: the file.
        config: the run's dataclass.
        state: tensors, numbers and state dicts.
    """
    with appears_whole(path) as temporary:
        torch.save({**state, "config": json.dumps(dataclasses.asdict(config))}, temporary)


def load_run(path: Path, config: Any, device: torch.device) -> dict[str, Any]:
    """Read what `save_run` wrote for the same configuration.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it was made with another configuration.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: nothing to resume: start without --resume")
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    now, then = json.loads(json.dumps(dataclasses.asdict(config))), json.loads(state["config"])
    changed = [f"{key} {then.get(key)} -> {now[key]}" for key in now if then.get(key) != now[key]]
    if changed:
        raise ValueError(
            f"{path}: configuration changed ({', '.join(changed)}): undo that, or start anew without --resume"
        )
    return state


def current_commit() -> str:
    """Commit of this repository, "" outside one."""
    done = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False, cwd=Path(__file__).parent
    )
    return done.stdout.strip() if done.returncode == 0 else ""
