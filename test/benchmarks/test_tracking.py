"""What the benchmark of tracking follows."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.tracking import follow, made_things, true_instances, without_hull
from training.measuring.tracking_metrics import NumberedFrame, tracking_score
from training.world.frame import Survey
from training.world.scene import HULL


def test_true_masks_of_a_survey_keep_their_numbers_and_the_hull_is_none_of_them() -> None:
    survey = Survey(5, (240, 320))
    frames = [survey.frame(3 * i) for i in range(8)]
    truth = []
    for frame in frames:
        instances, ids = true_instances(frame)
        assert HULL not in instances.class_ids
        assert len(set(ids.tolist())) == len(instances) == sum(name != HULL for name in frame.class_ids)
        truth.append(NumberedFrame(instances.masks, ids))
    found, times = follow(frames, lambda frame: without_hull(true_instances(frame)[0]))
    score = tracking_score(truth, found)
    assert score.det_a == pytest.approx(100)
    assert score.hota >= 90
    assert len(times) == len(frames)


def test_made_things_are_as_many_and_move_with_the_picture() -> None:
    first, second = made_things(20, (240, 320), 0), made_things(20, (240, 320), 5)
    assert len(first) == 20
    inner = first.boxes_xyxy[:, 0] >= 5
    assert inner.any()
    np.testing.assert_array_equal(second.boxes_xyxy[inner, 0], first.boxes_xyxy[inner, 0] - 5)
