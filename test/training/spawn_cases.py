"""What a function gives in a process that is started as workers are; such a process cannot import a file of tests."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from training.data.dataset import CocoRgbdDataset
from training.data.label_store import LabelStore

SPAWN = multiprocessing.get_context("spawn")


def in_another_process(function: Callable[..., Any], *arguments: Any) -> Any:
    here, there = SPAWN.Pipe()
    process = SPAWN.Process(target=_answer, args=(there, function, *arguments))
    process.start()
    there.close()
    answer = here.recv()  # EOFError where that process has ended without one
    process.join()
    return answer


def _answer(answers: Connection, function: Callable[..., Any], *arguments: Any) -> None:
    answers.send(function(*arguments))


def seen(dataset: CocoRgbdDataset) -> list[tuple[str, tuple[int, int], Any, list[int]]]:
    """Name, size, masks and class ids of every picture."""
    every = [dataset.instances(i) for i in range(len(dataset))]
    return [(dataset.rgb_file(i).name, dataset.size_hw(i), masks, ids.tolist()) for i, (masks, ids) in enumerate(every)]


def own_kib(store: LabelStore, pictures: int) -> int:
    """Memory that this process has beside what it has mapped of files, once it has looked at so many pictures."""
    for i in range(pictures):
        store.annotations(i)
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Anonymous:"))
