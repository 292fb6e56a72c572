"""Files of a training run: written whole or not at all, and marked with the code that wrote them."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from spda_sam_core.weights.files import appears_whole, remove_unfinished


def enter_folder(resume_path: Path, steps_done: int) -> None:
    """Before a run takes its next step: make sure that it loses no other run, and tidy up after killed processes.

    Args:
        resume_path: where the run will write what it can be resumed from.
        steps_done: 0 for a run that is new.

    Raises:
        FileExistsError: the run is new, and the folder holds one that it would write over.
    """
    if steps_done == 0 and resume_path.exists():
        raise FileExistsError(
            f"{resume_path}: an earlier run is in this folder, and would be lost: go on with it by --resume, choose "
            f"another output, or delete {resume_path.parent}"
        )
    remove_unfinished(resume_path.parent)


def save_run(path: Path, config: Any, state: dict[str, Any]) -> None:
    """Write what `load_run` gives back; a kill at any moment leaves the old file or the new one.

    Args:
        path: the file.
        config: the run's dataclass.
        state: tensors, numbers and state dicts.
    """
    with appears_whole(path) as temporary:
        torch.save({**state, "config": json.dumps(dataclasses.asdict(config))}, temporary)


def load_run(
    path: Path, config: Any, device: torch.device, *, may_change: Collection[str]
) -> tuple[dict[str, Any], list[str]]:
    """Read what `save_run` wrote for the same configuration, but for some fields.

    A field that the configuration did not have when the file was written counts as its default.

    Args:
        path: the file.
        config: the run's dataclass as it is now.
        device: where tensors shall be.
        may_change: names of the fields that may differ.

    Returns:
        The state, and the fields that differ, as "steps 100 -> 200".

    Raises:
        FileNotFoundError: there is none.
        ValueError: it was made with a configuration that differs in other fields.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: nothing to resume: start without --resume, or bring the folder of the earlier run here"
        )
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    now = json.loads(json.dumps(dataclasses.asdict(config)))
    defaults = {f.name: f.default for f in dataclasses.fields(config) if f.default is not dataclasses.MISSING}
    then = {**defaults, **json.loads(state["config"])}
    changed = {key: f"{key} {then.get(key)} -> {now[key]}" for key in now if then.get(key) != now[key]}
    refused = [text for key, text in changed.items() if key not in may_change]
    if refused:
        raise ValueError(
            f"{path}: configuration changed ({', '.join(refused)}): undo that, or start anew without --resume; "
            f"only {', '.join(sorted(may_change))} may change"
        )
    return state, list(changed.values())


def current_commit() -> str:
    """Commit of this repository, "" outside one."""
    done = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False, cwd=Path(__file__).parent
    )
    return done.stdout.strip() if done.returncode == 0 else ""
