"""Water of Jerlov's types: what differs from the usual water, and what does not."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from training.world.frame import Survey, render_sequence
from training.world.jerlov import JERLOV_KD, in_water
from training.world.water import random_water

SMALL = (64, 96)

# the share of light that is left after a metre, as printed for image synthesis (Li, Anwar and Porikli, 2020)
LEFT_AFTER_A_METRE = {"jerlov_5c": (0.67, 0.73, 0.67), "jerlov_9c": (0.55, 0.46, 0.29)}


@pytest.mark.parametrize("name", LEFT_AFTER_A_METRE)
def test_the_coefficients_agree_with_another_print_of_the_table(name: str) -> None:
    np.testing.assert_allclose(np.exp(-np.array(JERLOV_KD[name])), LEFT_AFTER_A_METRE[name], atol=0.021)


@pytest.mark.parametrize("name", JERLOV_KD)
def test_channels_are_dimmed_in_the_ratio_of_the_table_and_as_much_in_all_as_in_the_drawn_water(name: str) -> None:
    drawn = random_water(np.random.default_rng(4), 2.0)
    water = in_water(drawn, name)
    red, green, blue = JERLOV_KD[name]
    assert water.beta_d[0] / water.beta_d[1] == pytest.approx(red / green)
    assert water.beta_d[2] / water.beta_d[1] == pytest.approx(blue / green)
    assert water.beta_d.mean() == pytest.approx(drawn.beta_d.mean())
    np.testing.assert_allclose(water.beta_b / water.beta_d, drawn.beta_b / drawn.beta_d)
    assert water.veil.mean() == pytest.approx(drawn.veil.mean())
    same = ("sight_m", "gradient", "sun", "lamp", "caustics")
    assert [getattr(water, field) for field in same] == [getattr(drawn, field) for field in same]


def test_open_water_is_blue_far_out_green_at_the_coast_and_brown_in_the_harbour() -> None:
    drawn = random_water(np.random.default_rng(4), 2.0)
    brightest = {name: int(in_water(drawn, name).veil.argmax()) for name in JERLOV_KD}
    assert brightest == {"jerlov_i": 2, "jerlov_ib": 2, "jerlov_5c": 1, "jerlov_9c": 0}
    red, green, blue = in_water(drawn, "jerlov_9c").veil
    assert red > green > blue  # brown, not purple


@pytest.mark.parametrize("name", ["jerlov_i", "jerlov_ib", "jerlov_9c"])
def test_training_draws_no_water_of_this_ratio(name: str) -> None:
    rng = np.random.default_rng(0)
    drawn = np.log([random_water(rng, 2.0).beta_d for _ in range(3000)])
    wanted = np.log(JERLOV_KD[name])
    away = (drawn - drawn[:, 1:2] - (wanted - wanted[1]))[:, [0, 2]]
    assert np.hypot(*away.T).min() > np.log(1.15)


def test_another_water_changes_the_colours_of_a_frame_and_neither_labels_nor_depth() -> None:
    usual, other = (Survey(3, SMALL, water).frame(20) for water in ("usual", "jerlov_9c"))
    assert np.array_equal(usual.label, other.label)
    assert usual.class_ids == other.class_ids
    assert np.array_equal(usual.depth_m, other.depth_m, equal_nan=True)
    colours = [frame.rgb.reshape(-1, 3).mean(axis=0) for frame in (usual, other)]
    assert np.abs(colours[0] - colours[1]).max() > 10


def test_the_usual_water_is_that_of_a_rendered_sequence() -> None:
    frame = next(itertools.islice(render_sequence(3, 3, SMALL), 2, None))
    assert np.array_equal(frame.rgb, Survey(3, SMALL).frame(2).rgb)


def test_an_unknown_water_is_refused() -> None:
    with pytest.raises(ValueError, match="water 'mud': choose one of usual, jerlov_i, jerlov_ib, jerlov_5c, jerlov_9c"):
        Survey(3, SMALL, "mud")
