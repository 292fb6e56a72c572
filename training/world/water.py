"""Light and water: the revised underwater image formation model and what a camera adds.

Akkaynak and Treibitz, "A Revised Underwater Image Formation Model", CVPR 2018:
    I = J exp(-beta_d z) + B_inf (1 - exp(-beta_b z))        per colour channel
with separate coefficients for the direct signal (beta_d) and for backscatter (beta_b), z in metres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from training.world.textures import varied

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]

# A table instead of exp(): the same on every CPU, which vectorised exp() is not to the last bit.
_EXP_STEP = 1.0 / 1024
_EXP_TABLE = np.array([math.exp(-i * _EXP_STEP) for i in range(16 * 1024)], dtype=np.float32)
_GAMMA_TABLE = np.array([round(255 * math.sqrt(i / 4095)) for i in range(4096)], dtype=np.uint8)

# (relative attenuation r, g, b), colour of the open water (linear r, g, b): open ocean to harbour
_WATER_TYPES = (
    ((3.2, 1.0, 0.8), (0.010, 0.085, 0.22)),
    ((3.0, 0.9, 0.9), (0.012, 0.15, 0.21)),
    ((2.8, 0.8, 1.0), (0.015, 0.24, 0.22)),
    ((2.0, 0.8, 1.2), (0.05, 0.26, 0.15)),
    ((1.5, 0.9, 1.4), (0.13, 0.25, 0.13)),
    ((1.2, 1.0, 1.6), (0.20, 0.19, 0.11)),
    ((1.3, 1.0, 1.0), (0.12, 0.17, 0.19)),
)


@dataclass(frozen=True)
class Water:
    """Optical state of the water.

    Attributes:
        beta_d: (3,) attenuation of the direct signal, 1/m.
        beta_b: (3,) build-up of backscatter, 1/m.
        veil: (3,) linear colour B_inf of open water.
        sight_m: range beyond which nothing is seen and depth is unknown.
        gradient: how much brighter open water is upwards than downwards.
        sun: strength of daylight, 0..1.
        lamp: strength of the robot's lamp.
        caustics: contrast of caustics, 0 for none.
    """

    beta_d: FloatArray
    beta_b: FloatArray
    veil: FloatArray
    sight_m: float
    gradient: float
    sun: float
    lamp: float
    caustics: float


def exp_negative(x: NDArray[np.floating]) -> Float32Array:
    """exp(-x) for x >= 0 from a table with steps of 1/1024, float32."""
    index = np.minimum((x * (1 / _EXP_STEP) + 0.5).astype(np.int32), len(_EXP_TABLE) - 1)
    return _EXP_TABLE[index]


def random_water(rng: np.random.Generator, distance_m: float) -> Water:
    """Water whose turbidity leaves things at `distance_m` visible."""
    ratio, veil = _WATER_TYPES[int(rng.integers(len(_WATER_TYPES)))]
    optical_depth = 0.12 + 0.75 * rng.random() ** 1.3
    scale = optical_depth / distance_m
    beta_d = np.array(ratio) * scale * rng.uniform(0.85, 1.15, size=3)
    beta_b = beta_d * rng.uniform(0.5, 1.1, size=3) * np.array([0.7, 1.0, 1.0])
    brightness = float(rng.uniform(0.15, 1.3))
    dark = rng.random() < 0.3
    return Water(
        beta_d=beta_d,
        beta_b=beta_b,
        veil=varied(rng, np.array(veil), 0.35) * brightness * (0.3 if dark else 1.0),
        sight_m=float(3.2 / beta_d.min()),
        gradient=float(rng.uniform(0.0, 0.75)),
        sun=float(rng.uniform(0.0, 0.15) if dark else rng.uniform(0.4, 1.0)),
        lamp=float(rng.uniform(0.8, 1.6) if dark else rng.uniform(0.0, 0.9)),
        caustics=float(0.0 if dark or rng.random() < 0.5 else rng.uniform(0.2, 0.9)),
    )


def attenuate(
    radiance: Float32Array, range_m: Float32Array, water: Water, veil_gain: Float32Array | float = 1.0
) -> Float32Array:
    """Apply the image formation model.

    Args:
        radiance: (N, 3) float32 linear light J without water.
        range_m: (N,) way through the water, metres; inf for open water.
        water: coefficients.
        veil_gain: (N,) factor on B_inf: water is brighter towards the surface.

    Returns:
        (N, 3) float32 linear light I at the camera.
    """
    result = np.empty_like(radiance)
    finite = np.minimum(range_m, np.float32(1e4))
    for channel in range(3):
        direct = exp_negative(finite * np.float32(water.beta_d[channel]))
        scattered = 1 - exp_negative(finite * np.float32(water.beta_b[channel]))
        result[:, channel] = radiance[:, channel] * direct + np.float32(water.veil[channel]) * veil_gain * scattered
    return result


@dataclass(frozen=True)
class Camera:
    """How the camera renders light: gains, white balance, blur, noise, vignetting."""

    white_balance: float
    exposure: float
    blur_sigma: float
    noise: float
    vignette: float
    snow: int


def random_camera(rng: np.random.Generator) -> Camera:
    """A camera of random quality."""
    return Camera(
        white_balance=float(rng.uniform(0.0, 0.75)),
        exposure=float(rng.uniform(0.55, 1.0)),
        blur_sigma=float(0.4 + 1.1 * rng.random() ** 3),
        noise=float(0.4 + 5.0 * rng.random() ** 2),
        vignette=float(rng.uniform(0.0, 0.55)),
        snow=int(350 * rng.random() ** 3),
    )


def _add_snow(rng: np.random.Generator, light: Float32Array, count: int, veil: FloatArray) -> None:
    """Marine snow: blurred specks lit by the lamp, bigger ones fainter; drawn in place."""
    height, width = light.shape[:2]
    layer = np.zeros((height, width), np.uint8)
    for _ in range(count):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        radius = int(rng.random() ** 6 * 0.012 * width)
        cv2.circle(layer, (x, y), radius, int(rng.integers(30, 170) / (1 + 0.5 * radius)), -1)
    layer = cv2.GaussianBlur(layer, (0, 0), 0.0018 * width)
    tone = (0.5 * np.ones(3) + 1.5 * veil).astype(np.float32)
    light += layer[..., None].astype(np.float32) * (tone / np.float32(255))


def develop(rng: np.random.Generator, light: Float32Array, camera: Camera, veil: FloatArray) -> NDArray[np.uint8]:
    """Turn linear light into an 8-bit picture.

    Args:
        rng: source of snow and noise.
        light: (H, W, 3) float32 linear light.
        camera: camera parameters.
        veil: (3,) colour of the open water, which tints the snow.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    height, width = light.shape[:2]
    sample = light[::6, ::6].reshape(-1, 3).astype(np.float64)
    mean = sample.mean(axis=0)
    balance = np.clip(mean.mean() / np.maximum(mean, 1e-4), 0.5, 6.0)
    gain = 1 + camera.white_balance * (balance - 1)
    bright = float(np.sort((sample * gain).max(axis=1))[int(0.96 * len(sample))])
    light = light.copy()
    _add_snow(rng, light, camera.snow, veil)
    light *= (gain * camera.exposure / max(bright, 1e-3)).astype(np.float32)
    y = (np.arange(height, dtype=np.float32) / height - np.float32(0.5))[:, None]
    x = (np.arange(width, dtype=np.float32) / width - np.float32(0.5))[None, :]
    light *= (1 - np.float32(camera.vignette) * 2 * (x * x + y * y))[..., None]
    picture = _GAMMA_TABLE[(np.clip(light, 0, 1) * 4095 + np.float32(0.5)).astype(np.int32)]
    picture = cv2.GaussianBlur(picture, (0, 0), camera.blur_sigma)
    # the sum of four bytes is nearly Gaussian, cheap, and exact everywhere
    raw = np.frombuffer(rng.bytes(picture.size * 4), np.uint8).reshape(4, *picture.shape)
    noise = (raw.astype(np.int16).sum(axis=0, dtype=np.int16) - 510).astype(np.float32) / np.float32(147.8)
    result: NDArray[np.uint8] = np.clip(picture + noise * np.float32(camera.noise) + np.float32(0.5), 0, 255).astype(
        np.uint8
    )
    return result
