"""Work on many files in several processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

import cv2

Job = TypeVar("Job")
Result = TypeVar("Result")


def in_processes(function: Callable[[Job], Result], jobs: Sequence[Job], workers: int) -> Iterator[Result]:
    """The results of `function` for each job, in order, as they come.

    Args:
        function: of a module, so that a new process can find it.
        jobs: what it is called with.
        workers: number of processes; with 1, or without jobs, none is started.

    Raises:
        ValueError: fewer than 1 worker.
        concurrent.futures.process.BrokenProcessPool: a process was killed.
        Exception: whatever `function` raises.
    """
    if workers < 1:
        raise ValueError(f"workers {workers} must be at least 1")
    if workers == 1 or not jobs:
        yield from map(function, jobs)
        return
    # spawn, not fork: a forked worker hangs in OpenCV where this process has used OpenCV's threads before
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, spawn, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        yield from pool.map(function, jobs, chunksize=4)
