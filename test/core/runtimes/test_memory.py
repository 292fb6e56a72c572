"""Memory that is freed and needed again, in the thread of a worker, as the node uses it."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys

import pytest

FRAMES = """
import resource, threading
import numpy as np
from spda_sam_core.runtimes import memory

def resident_mb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20

def frame(megabytes):
    for each in [np.ones(megabytes << 17, np.float64) for _ in range(8)]:
        each += 1

def work():
    frame(6)
    frame(6)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        frame(6)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    frame(40)
    large = resident_mb()
    memory.give_back_freed_memory()
    print(large - resident_mb())

memory.keep_freed_memory()
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


def run() -> tuple[float, float]:
    """Page faults of ten frames of 48 MB, and megabytes given back after one of 320 MB."""
    command = [sys.executable, "-c", FRAMES]
    environment = {"NUMPY_MADVISE_HUGEPAGE": "0", "OMP_NUM_THREADS": "1", "PYTHONPATH": ":".join(sys.path)}
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert result.returncode == 0, result.stderr
    faults, given_back = result.stdout.split()
    return float(faults), float(given_back)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what glibc does with freed memory")
def test_frames_find_the_memory_of_the_last_and_a_large_one_leaves_none_behind() -> None:
    faults, given_back = run()
    # where each frame clears its pages anew, it is all of them
    assert faults < 0.05 * 10 * 48 * 2**20 / resource.getpagesize()
    assert given_back > 250
