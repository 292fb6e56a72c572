"""The map from raw to calibrated scores: exact where nothing is fitted, monotone, and itself again from a header."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from spda_sam_core.results.calibration import UNCALIBRATED, Calibration

RAW = np.linspace(0, 1, 1001, dtype=np.float32)
FIRST = np.zeros(1001, np.int64)


def test_uncalibrated_scores_stay_as_they_are() -> None:
    np.testing.assert_array_equal(UNCALIBRATED(RAW, FIRST + 7), RAW)


def test_logits_are_scaled_and_shifted() -> None:
    raw = RAW[1:-1].astype(np.float64)
    logits = 1.7 * np.log(raw / (1 - raw)) - 0.4
    scores = Calibration((1.7,), (-0.4,))(raw, FIRST[1:-1])
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-logits)), rtol=1e-6)


def test_each_class_has_its_map_or_all_have_one() -> None:
    raw, class_ids = np.array([0.5, 0.5, 0.5, 0.8]), np.array([2, 0, 1, 2])
    each = Calibration((1.0, 1.0, 2.0), (0.0, math.log(3), math.log(1 / 4)))
    assert each(raw, class_ids).tolist() == pytest.approx([1 / 5, 1 / 2, 3 / 4, 16 / 4 / (16 / 4 + 1)])
    one = Calibration((1.0,), (math.log(3),))
    assert one(raw[:3], class_ids[:3]).tolist() == pytest.approx([3 / 4] * 3)
    assert len(each(np.zeros(0), np.zeros(0, np.int64))) == 0


@pytest.mark.parametrize(("slope", "offset"), [(0.3, 2.0), (1.0, -3.0), (6.0, 4.0)])
def test_order_and_ends_stay_and_every_score_lies_in_0_to_1(slope: float, offset: float) -> None:
    with np.errstate(divide="raise", invalid="raise", over="raise"):
        scores = Calibration((slope,), (offset,))(RAW, FIRST)
    assert scores.dtype == np.float32
    assert (scores[0], scores[-1]) == (0, 1)
    assert (np.diff(scores) >= 0).all()
    assert scores.min() >= 0
    assert scores.max() <= 1


def test_what_is_no_number_stays_none() -> None:
    assert np.isnan(Calibration((2.0,), (1.0,))(np.array([np.nan], np.float32), np.array([0]))).all()


def test_it_survives_the_header_of_a_checkpoint() -> None:
    calibration = Calibration((1 / 3, 2.0), (-math.pi, 0.1))
    assert Calibration.from_dict(json.loads(json.dumps(calibration.to_dict()))) == calibration
    assert Calibration.from_dict({}) == UNCALIBRATED


@pytest.mark.parametrize(("slope", "offset"), [(0.0, 0.0), (-1.0, 0.0), (math.nan, 0.0), (1.0, math.inf)])
def test_what_would_turn_the_order_or_is_no_number_is_refused(slope: float, offset: float) -> None:
    with pytest.raises(ValueError, match=r"calibration with slope .* and offset .*: the slope must be above 0"):
        Calibration((1.0, slope), (0.0, offset))


def test_as_many_offsets_as_slopes_and_as_many_maps_as_classes_or_one() -> None:
    for slopes, offsets in (((1.0,), (0.0, 0.0)), ((), ())):
        with pytest.raises(ValueError, match=rf"{len(slopes)} slopes and {len(offsets)} offsets: give one of each"):
            Calibration(slopes, offsets)
    three = Calibration((1.0,) * 3, (0.0,) * 3)
    three.check_classes(3)
    UNCALIBRATED.check_classes(3)
    with pytest.raises(ValueError, match="maps for 3 classes, but there are 4"):
        three.check_classes(4)


@pytest.mark.parametrize("values", [{"slopes": ["steep"]}, {"scales": [1.0]}, [1.0, 0.0], {"offsets": None}])
def test_a_header_that_says_something_else_is_refused(values: object) -> None:
    with pytest.raises(ValueError, match=r"calibration .*: expected \{'slopes': numbers above 0, 'offsets': numbers\}"):
        Calibration.from_dict(values)  # type: ignore[arg-type]
