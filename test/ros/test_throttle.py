"""Each kind of report waits for its own last one."""

from spda_sam_ros.throttle import Throttle


def test_a_kind_waits_for_itself_alone():
    now = [100.0]
    throttle = Throttle(5.0, lambda: now[0])
    assert [throttle.allows(kind) for kind in ("a", "a", "b", "a")] == [True, False, True, False]
    now[0] += 4.9
    assert not throttle.allows("a")
    now[0] += 0.2
    assert [throttle.allows(kind) for kind in ("a", "a", "b")] == [True, False, True]
