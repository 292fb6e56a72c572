"""The learning rate of a step: rise, constant, fall."""

from __future__ import annotations

import pytest

from training.learning.schedule import check_schedule, learning_rate


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 0.01),  # a tenth of the rise
        (4, 0.05),
        (9, 0.1),
        (10, 0.1),
        (79, 0.1),
        (80, 0.1 * 20 / 21),  # the first of the 20 steps of the fall
        (90, 0.1 * 10 / 21),
        (99, 0.1 / 21),  # the last step of the run still learns
        (100, 0.0),
    ],
)
def test_it_rises_stays_and_falls_to_zero(step: int, expected: float) -> None:
    rate = learning_rate(step, peak=0.1, warmup_steps=10, decay_steps=20, steps=100)
    assert rate == pytest.approx(expected)


def test_a_run_may_do_without_rise_and_fall() -> None:
    rates = [learning_rate(step, peak=0.1, warmup_steps=0, decay_steps=0, steps=5) for step in range(5)]
    assert rates == pytest.approx([0.1] * 5)


def test_the_length_of_a_run_does_not_change_its_steps_before_the_fall() -> None:
    short, long = (
        [learning_rate(step, peak=0.1, warmup_steps=10, decay_steps=20, steps=steps) for step in range(80)]
        for steps in (100, 1000)
    )
    assert short == long


@pytest.mark.parametrize(("warmup", "decay"), [(60, 50), (-1, 10), (10, -1)])
def test_what_does_not_fit_into_the_run_is_refused(warmup: int, decay: int) -> None:
    with pytest.raises(ValueError, match=f"warmup_steps {warmup} and decay_steps {decay} must fit into steps 100"):
        check_schedule(0.1, warmup, decay, 100)


def test_a_rate_that_does_not_learn_is_refused() -> None:
    with pytest.raises(ValueError, match=r"learning_rate 0 must be above 0"):
        check_schedule(0, 10, 10, 100)
