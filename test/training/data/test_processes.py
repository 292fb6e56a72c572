"""Results come in the order of the jobs, however many processes work on them."""

from __future__ import annotations

import math
import os
from concurrent.futures.process import BrokenProcessPool

import pytest

from training.data.processes import in_processes


@pytest.mark.parametrize("workers", [1, 2])
def test_results_keep_the_order_of_the_jobs(workers: int) -> None:
    assert list(in_processes(math.factorial, range(30), workers)) == [math.factorial(i) for i in range(30)]


@pytest.mark.parametrize("workers", [1, 2])
def test_what_fails_in_a_process_fails_here(workers: int) -> None:
    with pytest.raises(ValueError, match="factorial"):
        list(in_processes(math.factorial, [3, -1], workers))


def test_at_least_one_worker_is_needed() -> None:
    with pytest.raises(ValueError, match="workers 0 must be at least 1"):
        list(in_processes(math.factorial, [3], 0))


def test_a_process_that_is_killed_is_an_error_and_no_wait_without_end() -> None:
    with pytest.raises(BrokenProcessPool):
        list(in_processes(os._exit, [1] * 20, 2))
