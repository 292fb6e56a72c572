"""Which depth an image gets, how long it waits for it, and what a clock that jumps back does."""

import threading
import time
from types import SimpleNamespace

import pytest
from builtin_interfaces.msg import Time
from std_msgs.msg import Header
from steps import done

from spda_sam_core.messages.fields import stamp_to_ns
from spda_sam_ros.pairing import STREAM_TIMEOUT_S, DepthPairing, NoDepth, PairingClosed

MS = 1_000_000
DEADLINE_S = 60.0


def depth(stamp_ms):
    stamp = Time(sec=stamp_ms // 1000, nanosec=stamp_ms % 1000 * MS)
    return SimpleNamespace(header=Header(stamp=stamp))


class FakeClock:
    now_s = 100.0

    def __call__(self):
        return self.now_s


def ignore():
    pass


def find(pairing, stamp_ms, slop_s=0.0, deadline_s=0.0):
    return done(pairing.find(stamp_ms * MS, slop_s=slop_s, deadline_s=deadline_s))


def why_not(pairing, stamp_ms, **options):
    with pytest.raises(NoDepth) as error:
        find(pairing, stamp_ms, **options)
    return error.value


def filled(stamps_ms, image_period_ms=100, clock=None):
    pairing = DepthPairing(ignore) if clock is None else DepthPairing(ignore, clock)
    for i in range(5):
        pairing.add_image(i * image_period_ms * MS)
    for stamp_ms in stamps_ms:
        pairing.add_depth(depth(stamp_ms))
    return pairing


def test_stamps_keep_their_nanoseconds():
    assert stamp_to_ns(Time(sec=1_700_000_000, nanosec=123_456_789)) == 1_700_000_000_123_456_789


def test_the_nearest_depth_is_taken_and_its_skew_told():
    paired = find(filled([900, 960, 1030]), 1000)
    assert stamp_to_ns(paired.message.header.stamp) == 1030 * MS
    assert paired.skew_s == pytest.approx(0.030)
    assert find(filled([900, 975, 1030]), 1000).skew_s == pytest.approx(-0.025)


@pytest.mark.parametrize(("period_ms", "skew_ms", "pairs"), [(100, 50, True), (100, 51, False), (20, 11, False)])
def test_by_default_the_slop_is_half_the_image_period(period_ms, skew_ms, pairs):
    pairing = filled([1000 + skew_ms], image_period_ms=period_ms)
    if pairs:
        assert find(pairing, 1000).skew_s == pytest.approx(skew_ms / 1e3)
    else:
        assert why_not(pairing, 1000).reason == "unpaired"


def test_a_lost_image_does_not_widen_the_slop():
    pairing = DepthPairing(ignore)
    for stamp_ms in (0, 100, 200, 900, 1000, 1100):
        pairing.add_image(stamp_ms * MS)
    pairing.add_depth(depth(1160))
    assert why_not(pairing, 1100).reason == "unpaired"


@pytest.mark.parametrize("stamp_ms", [0, 1000])
def test_of_depths_equally_near_the_last_to_come_is_taken(stamp_ms):
    pairing = filled([])
    messages = [depth(stamp_ms) for _ in range(8)]
    for message in messages:
        pairing.add_depth(message)
    assert find(pairing, stamp_ms).message is messages[-1]
    assert stamp_to_ns(find(filled([960, 1040]), 1000).message.header.stamp) == 1040 * MS


def test_nobody_waits_once_it_is_closed():
    pairing = filled([900])
    threading.Timer(0.1, pairing.close).start()
    with pytest.raises(PairingClosed):
        find(pairing, 1000, deadline_s=time.monotonic() + DEADLINE_S)
    with pytest.raises(PairingClosed):
        find(pairing, 900)


def test_a_given_slop_counts():
    pairing = filled([1030])
    assert find(pairing, 1000, slop_s=0.03).skew_s == pytest.approx(0.03)
    error = why_not(pairing, 1000, slop_s=0.029)
    assert error.reason == "unpaired"
    assert "+0.030 s from the image, beyond 0.029 s" in str(error)
    assert "depth_slop_s" in str(error)


def test_an_image_waits_for_depth_which_comes_late():
    pairing = filled([900])
    threading.Timer(0.15, lambda: pairing.add_depth(depth(1000))).start()
    began = time.monotonic()
    assert find(pairing, 1000, deadline_s=began + 5).skew_s == 0
    assert 0.1 < time.monotonic() - began < 2


def test_depth_that_comes_and_an_end_are_told_to_whoever_waits():
    told = []
    pairing = DepthPairing(lambda: told.append(True))
    pairing.add_depth(depth(900))
    waiting = pairing.find(1000 * MS, slop_s=0.0, deadline_s=time.monotonic() + DEADLINE_S)
    assert 0 < next(waiting) <= DEADLINE_S
    pairing.add_depth(depth(1000))
    with pytest.raises(StopIteration) as end:
        next(waiting)
    assert end.value.value.skew_s == 0
    pairing.close()
    assert len(told) == 3


def test_it_waits_no_longer_than_told():
    pairing = filled([900])
    began = time.monotonic()
    assert why_not(pairing, 1000, deadline_s=began + 0.2).reason == "unpaired"
    assert 0.15 < time.monotonic() - began < 1.5


@pytest.mark.parametrize(
    ("stamps_ms", "reason"),
    [
        ([], "absent"),  # no stream
        ([900, 1100], "unpaired"),  # depth is past this image already: lost
        ([5_000_000], "unpaired"),  # a clock ahead
        ([-5_000_000], "unpaired"),  # a clock behind: it would wait for every frame
    ],
)
def test_it_does_not_wait_for_what_cannot_come(stamps_ms, reason):
    image_ms = 6_000_000 if stamps_ms == [-5_000_000] else 1000
    pairing = filled([abs(stamp_ms) for stamp_ms in stamps_ms])
    began = time.monotonic()
    assert why_not(pairing, image_ms, deadline_s=began + 5).reason == reason
    assert time.monotonic() - began < 1


def test_a_stream_which_stopped_is_absent():
    clock = FakeClock()
    pairing = filled([900], clock=clock)
    clock.now_s += STREAM_TIMEOUT_S + 0.1
    assert why_not(pairing, 950, deadline_s=clock.now_s + 5).reason == "absent"


def test_depth_is_bounded_in_number():
    pairing = filled(range(0, 10_000, 10))
    assert why_not(pairing, 9000).reason == "unpaired"
    assert find(pairing, 9990).skew_s == 0


def test_images_that_run_backwards_are_told_and_forget_depth_of_the_earlier_run():
    pairing = filled([50_000, 50_100])
    assert not pairing.add_image(50_100 * MS)
    assert pairing.add_image(40_000 * MS)
    pairing.add_depth(depth(40_010))
    assert find(pairing, 40_000).skew_s == pytest.approx(0.01)
    assert why_not(pairing, 50_100).reason == "unpaired"


def test_depth_which_runs_backwards_first_is_kept_for_its_image():
    pairing = filled([50_000])
    pairing.add_image(50_000 * MS)
    assert pairing.add_depth(depth(10_000))
    assert pairing.add_image(10_000 * MS)
    assert find(pairing, 10_000).skew_s == 0


def test_equal_stamps_are_no_jump():
    pairing = filled([])
    assert not pairing.add_image(1000 * MS)
    assert not pairing.add_image(1000 * MS)
    assert not pairing.add_depth(depth(1000))
    assert not pairing.add_depth(depth(1000))


def test_a_depth_that_comes_late_is_put_in_its_place_and_throws_none_away():
    pairing = filled([900, 1000, 1100])
    assert not pairing.add_depth(depth(1050))
    assert find(pairing, 1040).skew_s == pytest.approx(0.010)
    assert find(pairing, 905).skew_s == pytest.approx(-0.005)
    assert find(pairing, 1100).skew_s == 0


def test_a_bag_that_starts_again_throws_the_depths_of_before_away():
    pairing = filled([9000, 9100])
    assert pairing.add_depth(depth(100))
    assert why_not(pairing, 9100).reason == "unpaired"


def test_slow_images_are_not_paired_with_what_was_seen_long_before():
    pairing = filled([3600], image_period_ms=1000)
    assert why_not(pairing, 4000).reason == "unpaired"
    pairing.add_depth(depth(3950))
    assert find(pairing, 4000).skew_s == pytest.approx(-0.050)
