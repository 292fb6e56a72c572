"""Times that can be compared: of networks that take turns in one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

from tqdm import tqdm

Name = TypeVar("Name", bound=Hashable)


def median_ms(calls: Mapping[Name, Callable[[int], object]], rounds: int) -> dict[Name, float]:
    """Median milliseconds of one call, the calls taking turns, so that all see the same machine.

    Args:
        calls: what to time; each is given the number of the round, from 0, and waits for its device itself.
        rounds: how often each is called, 2 or more; round 0 warms up and does not count.

    Raises:
        ValueError: fewer than 2 rounds.
    """
    if rounds < 2:
        raise ValueError(f"{rounds} rounds: at least 2 are needed, the first one warms up")
    measured: dict[Name, list[float]] = {name: [] for name in calls}
    for i in tqdm(range(rounds), desc="timing", unit="round"):
        for name, call in calls.items():
            start = time.perf_counter()
            call(i)
            measured[name].append((time.perf_counter() - start) * 1e3)
    return {name: statistics.median(values[1:]) for name, values in measured.items()}
