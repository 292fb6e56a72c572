"""The same thing keeps its number: while the camera moves, scores flicker, classes change, and time goes on."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from spda_sam_core.results.instances import Instances, boxes_of_masks
from spda_sam_core.tracking.tracker import Tracker, TrackerSettings

SIZE_HW = (240, 320)
SECOND = 1_000_000_000
NAMES = ("anode", "valve", "growth")
Thing = tuple[int, int, int, int]


def found(things: Sequence[Thing], scores: Sequence[float] = (), classes: Sequence[int] = ()) -> Instances:
    """Boxes x0, y0, x1, y1; without scores each has 0.9, without classes each is an anode."""
    masks = np.zeros((len(things), *SIZE_HW), np.bool_)
    for mask, (x0, y0, x1, y1) in zip(masks, things, strict=True):
        mask[max(0, y0) : max(0, y1), max(0, x0) : max(0, x1)] = True
    given = np.array(scores or [0.9] * len(things), np.float32)
    ids = np.array(classes or [0] * len(things), np.int64)
    return Instances(masks, boxes_of_masks(masks), given, ids, NAMES)


def view(x: int = 0) -> np.ndarray:
    """A textured plate, seen from x pixels further to the right."""
    coarse = np.random.default_rng(0).integers(40, 200, (40, 200, 3)).astype(np.uint8)
    plate = cv2.resize(coarse, (1200, 240), interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(plate[:, 200 + x : 200 + x + SIZE_HW[1]])


def test_things_keep_their_numbers_while_the_camera_passes_them() -> None:
    """They move by more than their own size from frame to frame: without the camera's motion nothing overlaps."""
    tracker = Tracker()
    things = [(20 + 60 * k, 100, 44 + 60 * k, 124) for k in range(12)]
    numbers: dict[int, set[int]] = {}
    for i in range(8):
        x = 50 * i
        shown = [(k, (a - x, b, c - x, d)) for k, (a, b, c, d) in enumerate(things) if 0 < a - x < 290]
        tracked = tracker.update(found([box for _, box in shown]), view(x), i * SECOND // 5)
        for (k, _), number in zip(shown, tracked.ids.tolist(), strict=True):
            numbers.setdefault(k, set()).add(number)
        assert tracked.motion == ("moved" if i else "unknown")
    assert all(len(each) == 1 for each in numbers.values())
    assert len(set.union(*numbers.values())) == len(numbers)


def test_the_order_in_which_things_are_found_says_nothing() -> None:
    tracker = Tracker()
    a, b = (20, 20, 60, 60), (100, 20, 140, 60)
    first = tracker.update(found([a, b]), view(), 0).ids.tolist()
    assert tracker.update(found([b, a]), view(), SECOND // 5).ids.tolist() == first[::-1]


def test_a_low_score_goes_on_with_a_thing_but_does_not_begin_one() -> None:
    tracker = Tracker(TrackerSettings(begin_score=0.5, keep_score=0.2))
    a, b = (20, 20, 60, 60), (100, 20, 140, 60)
    (number,) = tracker.update(found([a]), view(), 0).ids.tolist()
    tracked = tracker.update(found([a, b], [0.3, 0.3]), view(), SECOND // 5)
    assert tracked.ids.tolist() == [number]
    assert tracked.instances.boxes_xyxy.tolist() == [list(a)]
    assert tracker.update(found([a], [0.19]), view(), 2 * SECOND // 5).ids.tolist() == []


def test_what_scores_high_chooses_before_what_scores_low() -> None:
    """A weak double that happens to overlap better does not take the number."""
    tracker = Tracker(TrackerSettings(begin_score=0.5, keep_score=0.1))
    (number,) = tracker.update(found([(20, 20, 60, 60)]), view(), 0).ids.tolist()
    tracked = tracker.update(found([(24, 20, 64, 60), (20, 20, 60, 60)], [0.9, 0.2]), view(), SECOND // 5)
    assert tracked.ids.tolist() == [number]
    assert tracked.instances.scores.tolist() == pytest.approx([0.9])


def test_a_class_may_change_but_one_of_its_own_comes_first() -> None:
    tracker = Tracker()
    box = (20, 20, 60, 60)
    (number,) = tracker.update(found([box], classes=[0]), view(), 0).ids.tolist()
    assert tracker.update(found([box], classes=[1]), view(), SECOND // 5).ids.tolist() == [number]
    near = (24, 20, 64, 60)
    both = tracker.update(found([box, near], [0.9, 0.8], classes=[2, 1]), view(), 2 * SECOND // 5)
    assert both.ids.tolist()[1] == number


def test_a_thing_that_was_not_found_is_remembered_by_seconds_of_stamps_and_carried_along() -> None:
    for pause_s, same in ((1.5, True), (2.5, False)):
        tracker = Tracker(TrackerSettings(lost_s=2.0))
        (number,) = tracker.update(found([(200, 100, 224, 124)]), view(0), 0).ids.tolist()
        for i in range(1, 4):
            tracker.update(found([]), view(50 * i), int(pause_s * SECOND * i / 4))
        (later,) = tracker.update(found([(0, 100, 24, 124)]), view(200), int(pause_s * SECOND)).ids.tolist()
        assert (later == number) is same


def test_a_hull_that_comes_into_view_stays_the_same_hull() -> None:
    tracker = Tracker()
    ids = []
    for i in range(5):  # its edge is at 280, 200, 120, ... : each view shows far more of it than the one before
        ids += tracker.update(found([(280 - 60 * i, 0, 320, 240)]), view(60 * i), i * SECOND // 5).ids.tolist()
    assert ids == [1] * 5


@pytest.mark.parametrize("why", ["time runs back", "another size", "reset"])
def test_a_new_beginning_gives_new_numbers_and_none_comes_back(why: str) -> None:
    tracker = Tracker()
    box = (20, 20, 60, 60)
    assert tracker.update(found([box, (100, 20, 140, 60)]), view(), 5 * SECOND).ids.tolist() == [1, 2]
    if why == "reset":
        tracker.reset()
    if why == "another size":
        masks = np.zeros((1, 120, 160), np.bool_)
        masks[0, 10:30, 10:30] = True
        small = Instances.of_labels(masks, np.zeros(1, np.int64), NAMES)
        assert tracker.update(small, np.ascontiguousarray(view()[::2, ::2]), 6 * SECOND).ids.tolist() == [3]
    else:
        stamp = SECOND if why == "time runs back" else 6 * SECOND
        assert tracker.update(found([box]), view(), stamp).ids.tolist() == [3]


def test_no_number_is_given_twice_in_a_frame() -> None:
    tracker = Tracker()
    tracker.update(found([(20, 20, 60, 60)]), view(), 0)
    ids = tracker.update(found([(20, 20, 60, 60), (22, 20, 62, 60), (20, 24, 60, 64)]), view(), SECOND // 5).ids
    assert sorted(ids.tolist()) == [1, 2, 3]
    assert ids.tolist()[0] == 1


def test_nothing_found_is_no_trouble_and_a_wrong_size_is_named() -> None:
    tracker = Tracker()
    for i in range(3):
        assert tracker.update(found([]), view(), i * SECOND).ids.tolist() == []
    with pytest.raises(ValueError, match=r"instances are of 240 x 320 pixels, the frame of \(120, 160\)"):
        tracker.update(found([]), np.zeros((120, 160, 3), np.uint8), 4 * SECOND)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"begin_score": 1.5}, "begin_score 1.5 must lie in 0..1"),
        ({"begin_score": 0.2, "keep_score": 0.3}, "keep_score 0.3 must be at most begin_score 0.2"),
        ({"lost_s": -1.0}, "lost_s -1.0 must be at least 0 seconds"),
    ],
)
def test_settings_that_cannot_be_are_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrackerSettings(**values)
