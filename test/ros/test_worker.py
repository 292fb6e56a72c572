"""The newest item wins, others are counted by reason, no exception ends the thread, and each mailbox has its turn."""

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
        self.worker = Worker("bench", after=after)
        self.mailbox = self.worker.mailbox(
            self.process,
            failed=self.errors.append,
            dropped=lambda reason: self.drops.update([reason]),
            minimum_interval_s=lambda: self.minimum_interval_s,
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
        yield from ()

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
    b.mailbox.submit(0)
    assert b.begun.acquire(timeout=DEADLINE_S)
    for item in range(1, 6):
        b.mailbox.submit(item)
    b.gate.release(2)
    b.wait_for(2)
    assert b.done == [0, 5]
    assert b.drops == {"busy": 4}


def test_submit_never_blocks(bench):
    b = bench(gated=True)
    began = time.monotonic()
    for item in range(1000):
        b.mailbox.submit(item)
    assert time.monotonic() - began < 1


def test_the_rate_limit_holds_and_the_freshest_passes(bench):
    b = bench(minimum_interval_s=0.2)
    end = time.monotonic() + 1.1
    count = 0
    while time.monotonic() < end:
        b.mailbox.submit(count)
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
    b.mailbox.submit(0)
    b.wait_for(1)
    b.mailbox.submit(1)
    b.minimum_interval_s = 0.0
    b.wait_for(2)
    assert b.done == [0, 1]


def test_an_exception_is_told_and_the_next_item_is_processed(bench):
    b = bench()
    error = RuntimeError("out of memory")
    b.mailbox.submit(error)
    assert b.begun.acquire(timeout=DEADLINE_S)
    b.mailbox.submit(1)
    b.wait_for(1)
    assert b.errors == [error]
    assert b.done == [1]


def test_stop_finishes_the_item_at_hand_and_counts_the_one_left_over(bench):
    b = bench(gated=True)
    b.mailbox.submit(0)
    assert b.begun.acquire(timeout=DEADLINE_S)
    b.mailbox.submit(1)
    assert not b.worker.stop(0.1)
    b.gate.release()
    assert b.worker.stop(DEADLINE_S)
    assert b.done == [0]
    b.mailbox.submit(2)
    assert b.drops == {"inactive": 2}


def test_what_waits_for_the_end_of_a_stopped_worker_is_called_then(bench):
    b = bench(gated=True)
    b.mailbox.submit(0)
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
    assert (b.mailbox.busy_s, b.worker.usual_s) == (0, 0)
    for item in range(3):
        b.mailbox.submit(item)
        assert b.begun.acquire(timeout=DEADLINE_S)
        time.sleep(0.05)
        assert b.mailbox.busy_s >= 0.05
        b.gate.release()
        b.wait_for(item + 1)
    assert 0.05 <= b.worker.usual_s < DEADLINE_S


def test_a_worker_begins_when_the_one_before_is_done(bench):
    first = bench(gated=True)
    first.mailbox.submit(0)
    assert first.begun.acquire(timeout=DEADLINE_S)
    assert not first.worker.stop(0.1)
    second = bench(after=first.worker)
    second.mailbox.submit(1)
    time.sleep(0.5)
    assert not second.done
    assert second.worker.busy_s >= 0.5
    first.gate.release()
    second.wait_for(1)


class Several:
    """A worker with mailboxes whose items take some milliseconds, or wait for an event."""

    def __init__(self, *names, minimum_interval_s=0.0):
        self.done, self.errors, self.drops = [], [], Counter()
        self.worker = Worker("bench")
        self.mailboxes = {
            name: self.worker.mailbox(
                lambda item, name=name: self.process(name, item),
                failed=self.errors.append,
                dropped=lambda reason, name=name: self.drops.update([(name, reason)]),
                minimum_interval_s=lambda: minimum_interval_s,
            )
            for name in names
        }
        self.worker.start()

    def process(self, name, item):
        if isinstance(item, Exception):
            raise item
        if isinstance(item, threading.Event):
            while not item.is_set():
                yield DEADLINE_S
        else:
            time.sleep(0.02)
        self.done.append((name, item))

    def wait_for(self, *expected):
        end = time.monotonic() + DEADLINE_S
        while not set(expected) <= set(self.done):
            assert time.monotonic() < end, f"{self.done} and not yet {expected}"
            time.sleep(0.005)


@pytest.fixture
def several():
    made = []

    def make(*names, **options):
        made.append(Several(*names, **options))
        return made[-1]

    yield make
    for each in made:
        each.worker.stop(DEADLINE_S)


def test_a_mailbox_that_is_filled_all_the_time_takes_no_turn_of_another(several):
    b = several("fast", "slow", "slower")
    end = time.monotonic() + 2
    count = 0
    while time.monotonic() < end:
        b.mailboxes["fast"].submit(count)
        if count % 20 == 0:
            b.mailboxes["slow"].submit(count)
        if count % 40 == 0:
            b.mailboxes["slower"].submit(count)
        count += 1
        time.sleep(0.005)
    assert b.worker.stop(DEADLINE_S)
    # all that the slow ones sent was processed, but for one that the end may have met in its slot
    for name in ("slow", "slower"):
        assert set(b.drops) & {(name, "busy"), (name, "rate")} == set()
    assert b.drops["fast", "busy"] > 0
    done = Counter(name for name, _ in b.done)
    assert all(done[name] + b.drops[name, "inactive"] == -(-count // n) for name, n in (("slow", 20), ("slower", 40)))
    assert done["fast"] > done["slow"]
    # never two of another one in a row while one of the slow ones waited
    order = [name for name, _ in b.done]
    assert all(order[i] == "fast" or order[i + 1] != order[i] for i in range(len(order) - 1))


def test_what_waits_for_something_of_its_own_holds_up_nobody_else(several):
    b = several("waiting", "other")
    came = threading.Event()
    b.mailboxes["waiting"].submit(came)
    for item in range(3):
        b.mailboxes["other"].submit(item)
        b.wait_for(("other", item))
    assert ("waiting", came) not in b.done
    assert b.mailboxes["waiting"].busy_s > b.mailboxes["other"].busy_s
    came.set()
    b.mailboxes["waiting"].wake()
    b.wait_for(("waiting", came))


def test_of_what_waits_the_next_one_is_kept_and_the_one_before_it_counted(several):
    b = several("waiting")
    came, later = threading.Event(), threading.Event()
    b.mailboxes["waiting"].submit(came)
    while not b.mailboxes["waiting"].busy_s:
        time.sleep(0.005)
    for item in (1, 2, later):
        b.mailboxes["waiting"].submit(item)
    later.set()
    came.set()
    b.mailboxes["waiting"].wake()
    b.wait_for(("waiting", came), ("waiting", later))
    assert b.done == [("waiting", came), ("waiting", later)]
    assert b.drops == {("waiting", "busy"): 2}


def test_one_that_fails_every_time_leaves_the_others_alone(several):
    b = several("broken", "sound")
    for item in range(3):
        b.mailboxes["broken"].submit(RuntimeError(str(item)))
        b.mailboxes["sound"].submit(item)
        b.wait_for(("sound", item))
    assert b.worker.stop(DEADLINE_S)
    assert len(b.errors) + b.drops["broken", "busy"] + b.drops["broken", "inactive"] == 3
    assert b.errors


def test_a_limit_of_rate_is_one_for_each_mailbox(several):
    b = several("one", "two", minimum_interval_s=60.0)
    for name in ("one", "two"):
        b.mailboxes[name].submit(0)
    b.wait_for(("one", 0), ("two", 0))
    for item in (1, 2):
        b.mailboxes["one"].submit(item)
    assert b.worker.stop(DEADLINE_S)
    assert b.drops == {("one", "rate"): 1, ("one", "inactive"): 1}
