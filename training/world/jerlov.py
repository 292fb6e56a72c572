"""Water of Jerlov's optical types, for measuring what water costs that training has not seen.

Jerlov, "Marine Optics", 2nd edition, Elsevier 1976, table XXVII: diffuse attenuation of downward irradiance, Kd, by
water type and wavelength, read from two independent transcriptions that agree. Types I to III are oceanic, clearest
first; types 1C to 9C are coastal. Image synthesis uses the same table as the share of light left after a metre,
exp(-Kd) (Li, Anwar and Porikli, "Underwater scene prior inspired deep underwater image and video enhancement", Pattern
Recognition 98, 2020); its figures differ by up to 0.02, and by 0.06 for red in types I and IB.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from training.world.water import Water

JERLOV_KD: Mapping[str, tuple[float, float, float]] = {
    "jerlov_i": (0.235, 0.043, 0.018),
    "jerlov_ib": (0.245, 0.054, 0.033),
    "jerlov_5c": (0.40, 0.31, 0.43),
    "jerlov_9c": (0.60, 0.78, 1.23),
}
"""Kd in 1/m at 600, 525 and 475 nm, which stand for red, green and blue."""

USUAL = "usual"
"""The water of the training pictures, as `training.world.water.random_water` draws it."""

WATERS = (USUAL, *JERLOV_KD)


def in_water(drawn: Water, name: str) -> Water:
    """The same state of the water, but of another type: only colours differ, so that pictures can be paired.

    A type sets how attenuation and open water divide among the channels. How much of either there is stays as drawn:
    attenuation beta_d and the veil keep their mean over the channels, backscatter builds up in the same proportion
    beta_b / beta_d, and light, caustics and sight stay. As measured, 2 m of type I leave 92 % of green light, 2 m of
    type 9C 21 %: a model that fails there may fail for want of light.

    The veil follows B_inf = b E / beta (Akkaynak and Treibitz, CVPR 2018). Simplified, and our choice: scattering b
    has no colour, beta is Kd, and daylight E has come down one optical depth, E = exp(-Kd / mean Kd).

    Args:
        drawn: what `training.world.water.random_water` gave.
        name: one of `WATERS`; "usual" gives `drawn` itself.

    Raises:
        ValueError: no such water.
    """
    if name not in WATERS:
        raise ValueError(f"water '{name}': choose one of {', '.join(WATERS)}")
    if name == USUAL:
        return drawn
    relative = np.array(JERLOV_KD[name]) / np.mean(JERLOV_KD[name])
    colour = np.exp(-relative) / relative
    beta_d = relative * drawn.beta_d.mean()
    return dataclasses.replace(
        drawn,
        beta_d=beta_d,
        beta_b=beta_d * drawn.beta_b / drawn.beta_d,
        veil=colour * (drawn.veil.mean() / colour.mean()),
    )
