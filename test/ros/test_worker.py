"""The newest item wins, every other is counted by reason, and no exception ends the thread."""

import threading
import time
from collections import Counter

import pytest

from spda_sam_ros.worker import Worker

DEADLINE_S = 10.0


class Bench:
    """A worker whose items take as long as the test wants."""

    def __init__(self, minimum_interval_s=0.0, gated=False, after=None):
        self.minimum_interval_s = minimum_interval_s
        self.done, self.started_s, self.errors, self.drops = [], [], [], Counter()
        self.begun = threading.Semaphore(0)
        self.gate = threading.Semaphore(0)
        self.gated = gated
        self.worker = Worker(
            self.process,
            failed=self.errors.append,
            dropped=lambda reason: self.drops.update([reason]),
            minimum_interval_s=lambda: self.minimum_interval_s,
            after=after,
        )
        self.worker.start()

    def process(self, item):
        self.started_s.append(time.monotonic())
        self.begun.release()
        if self.gated:
            assert self.gate.acquire(timeout=DEADLINE_S)
        if isinstance(item, Exception):
            raise item
        self.done.append(item)

    def wait_for(self, count):
        end = time.monotonic() + DEADLINE_S
        while len(self.done) < count:
            assert time.monotonic() < end, f"{len(self.done)} of {count} items done"
            time.sleep(0.005)


@pytest.fixture
def bench():
    benches = []

    def make(**options):
        benches.append(Bench(**options))
        return benches[-1]

    yield make
    for made in benches:
        made.gated = False
        made.gate.release(100)
        made.worker.stop(DEADLINE_S)


def test_while_one_is_processed_only_the_newest_is_kept(bench):
    b = bench(gated=True)
    b.worker.submit(0)
    assert b.begun.acquire(timeout=DEADLINE_S)
    for item in range(1, 6):
        b.worker.submit(item)
    b.gate.release(2)
    b.wait_for(2)
    assert b.done == [0, 5]
    assert b.drops == {"busy": 4}


def test_submit_never_blocks(bench):
    b = bench(gated=True)
    began = time.monotonic()
    for item in range(1000):
        b.worker.submit(item)
    assert time.monotonic() - began < 1


def test_the_rate_limit_holds_and_the_freshest_passes(bench):
    b = bench(minimum_interval_s=0.2)
    end = time.monotonic() + 1.1
    count = 0
    while time.monotonic() < end:
        b.worker.submit(count)
        count += 1
        time.sleep(0.02)
    # at most one at 0, 0.2, 0.4, 0.6, 0.8, 1.0
    assert 3 <= len(b.done) <= 6
    assert min(later - sooner for sooner, later in zip(b.started_s, b.started_s[1:], strict=False)) >= 0.199
    assert set(b.drops) == {"rate"}
    b.worker.stop(DEADLINE_S)
    assert len(b.done) + sum(b.drops.values()) == count


def test_lifting_the_limit_ends_the_wait(bench):
    b = bench(minimum_interval_s=60.0)
    b.worker.submit(0)
    b.wait_for(1)
    b.worker.submit(1)
    b.minimum_interval_s = 0.0
    b.wait_for(2)
    assert b.done == [0, 1]


def test_an_exception_is_told_and_the_next_item_is_processed(bench):
    b = bench()
    error = RuntimeError("out of memory")
    b.worker.submit(error)
    assert b.begun.acquire(timeout=DEADLINE_S)
    b.worker.submit(1)
    b.wait_for(1)
    assert b.errors == [error]
    assert b.done == [1]


def test_stop_finishes_the_item_at_hand_and_counts_the_one_left_over(bench):
    b = bench(gated=True)
    b.worker.submit(0)
    assert b.begun.acquire(timeout=DEADLINE_S)
    b.worker.submit(1)
    assert not b.worker.stop(0.1)
    b.gate.release()
    assert b.worker.stop(DEADLINE_S)
    assert b.done == [0]
    b.worker.submit(2)
    assert b.drops == {"inactive": 2}


def test_what_waits_for_the_end_of_a_stopped_worker_is_called_then(bench):
    b = bench(gated=True)
    b.worker.submit(0)
    assert b.begun.acquire(timeout=DEADLINE_S)
    assert not b.worker.stop(0.1)
    called = threading.Event()
    b.worker.when_done(called.set)
    assert not called.is_set()
    b.gate.release()
    assert called.wait(DEADLINE_S)
    again = threading.Event()
    b.worker.when_done(again.set)
    assert again.is_set()


def test_it_is_known_for_how_long_an_item_is_at_hand(bench):
    b = bench(gated=True)
    assert (b.worker.busy_s, b.worker.usual_s) == (0, 0)
    for item in range(3):
        b.worker.submit(item)
        assert b.begun.acquire(timeout=DEADLINE_S)
        time.sleep(0.05)
        assert b.worker.busy_s >= 0.05
        b.gate.release()
        b.wait_for(item + 1)
    assert 0.05 <= b.worker.usual_s < DEADLINE_S


def test_a_worker_begins_when_the_one_before_is_done(bench):
    first = bench(gated=True)
    first.worker.submit(0)
    assert first.begun.acquire(timeout=DEADLINE_S)
    assert not first.worker.stop(0.1)
    second = bench(after=first.worker)
    second.worker.submit(1)
    time.sleep(0.5)
    assert not second.done
    assert second.worker.busy_s >= 0.5
    first.gate.release()
    second.wait_for(1)
