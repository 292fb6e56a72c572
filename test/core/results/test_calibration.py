"""The map from raw to calibrated scores: exact where nothing is fitted, monotone, and itself again from a header."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from spda_sam_core.results.calibration import UNCALIBRATED, Calibration

RAW = np.linspace(0, 1, 1001, dtype=np.float32)


def test_uncalibrated_scores_stay_as_they_are() -> None:
    np.testing.assert_array_equal(UNCALIBRATED(RAW), RAW)


def test_logits_are_scaled_and_shifted() -> None:
    raw = RAW[1:-1].astype(np.float64)
    logits = 1.7 * np.log(raw / (1 - raw)) - 0.4
    np.testing.assert_allclose(Calibration(1.7, -0.4)(raw), 1 / (1 + np.exp(-logits)), rtol=1e-6)


@pytest.mark.parametrize("calibration", [Calibration(0.3, 2.0), Calibration(1.0, -3.0), Calibration(6.0, 4.0)])
def test_order_and_ends_stay_and_every_score_lies_in_0_to_1(calibration: Calibration) -> None:
    with np.errstate(divide="raise", invalid="raise", over="raise"):
        scores = calibration(RAW)
    assert scores.dtype == np.float32
    assert (scores[0], scores[-1]) == (0, 1)
    assert (np.diff(scores) >= 0).all()
    assert scores.min() >= 0
    assert scores.max() <= 1


def test_what_is_no_number_stays_none() -> None:
    assert np.isnan(Calibration(2.0, 1.0)(np.array([np.nan], np.float32))).all()


def test_it_survives_the_header_of_a_checkpoint() -> None:
    calibration = Calibration(1 / 3, -math.pi)
    assert Calibration.from_dict(json.loads(json.dumps(calibration.to_dict()))) == calibration
    assert Calibration.from_dict({}) == UNCALIBRATED


@pytest.mark.parametrize(("slope", "offset"), [(0.0, 0.0), (-1.0, 0.0), (math.nan, 0.0), (1.0, math.inf)])
def test_what_would_turn_the_order_or_is_no_number_is_refused(slope: float, offset: float) -> None:
    with pytest.raises(ValueError, match=r"calibration with slope .* and offset .*: the slope must be above 0"):
        Calibration(slope, offset)


@pytest.mark.parametrize("values", [{"slope": "steep"}, {"scale": 1.0}, [1.0, 0.0], {"offset": None}])
def test_a_header_that_says_something_else_is_refused(values: object) -> None:
    with pytest.raises(ValueError, match=r"calibration .*: expected \{'slope': above 0, 'offset': number\}"):
        Calibration.from_dict(values)  # type: ignore[arg-type]
