"""One picture of the underwater world, with exact instance masks and metric depth.

Picture i of seed s depends on (s, i), the size and the kind of scene alone. Map: `stills`, `clutter` and `sequence`
think up a `scene`, `shade` casts rays and lights it, `water` adds water and lens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from training.world.clutter import clutter_scene
from training.world.jerlov import USUAL, in_water
from training.world.scene import HULL, Pose, Scene
from training.world.sequence import hull_survey
from training.world.shade import Shot, World
from training.world.stills import random_scene
from training.world.water import develop

MINIMUM_VISIBLE_PX = 100
"""Instances with fewer visible pixels carry no label."""


@dataclass(frozen=True)
class RenderedFrame:
    """One rendered picture and its ground truth.

    Attributes:
        rgb: (H, W, 3) uint8.
        depth_m: (H, W) float32 depth along the optical axis in metres (REP-118); NaN is unknown.
        label: (H, W) uint16; 0 is none, k is the instance of class `class_ids[k - 1]`.
        class_ids: class of each label, 0-based index into `training.world.scene.CLASS_NAMES`.
        instance_ids: which thing of the scene each label is, from 1; the same in all frames of a survey.
        camera_matrix: (3, 3) float64 pinhole matrix in pixels.
    """

    rgb: NDArray[np.uint8]
    depth_m: NDArray[np.float32]
    label: NDArray[np.uint16]
    class_ids: tuple[int, ...]
    instance_ids: tuple[int, ...]
    camera_matrix: NDArray[np.float64]


def _generator(seed: int, index: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, index))))


def _visible_labels(shot: Shot, scene: Scene) -> tuple[NDArray[np.uint16], tuple[int, ...]]:
    """Number the instances that can be seen from 1; slivers of decals go back to the hull, others to none.

    Returns:
        The label image, and the number that each label has in the scene.
    """
    count = len(scene.class_ids)
    pixels = np.bincount(shot.instance.reshape(-1), minlength=count + 1)
    becomes = np.arange(count + 1)
    for decal in scene.decals:
        if pixels[decal.instance] < MINIMUM_VISIBLE_PX:
            becomes[decal.instance] = 1
    instance = becomes[shot.instance]
    pixels = np.bincount(instance.reshape(-1), minlength=count + 1)
    kept = [k for k in range(1, count + 1) if pixels[k] >= MINIMUM_VISIBLE_PX]
    number = np.zeros(count + 1, np.uint16)
    number[kept] = np.arange(1, len(kept) + 1)
    return number[instance], tuple(kept)


def _expose(
    world: World, pose: Pose, matrix: NDArray[np.float64], size_hw: tuple[int, int], rng: np.random.Generator
) -> RenderedFrame:
    shot = world.shoot(pose, matrix, size_hw)
    label, instance_ids = _visible_labels(shot, world.scene)
    class_ids = tuple(world.scene.class_ids[k - 1] for k in instance_ids)
    rgb = develop(rng, shot.light, world.scene.optics, world.scene.water.veil)
    return RenderedFrame(rgb, shot.depth_m, label, class_ids, instance_ids, matrix.copy())


def render_image(
    seed: int, index: int, size_hw: tuple[int, int] = (384, 512), *, clutter: bool = False
) -> RenderedFrame:
    """Render picture `index` of the world with this seed.

    Args:
        seed: seed of the data set, >= 0.
        index: number of the picture, >= 0.
        size_hw: picture height and width in pixels.
        clutter: a scene of `training.world.clutter` in place of one of `training.world.stills`.

    Returns:
        The picture with labels, depth and camera matrix.

    Raises:
        ValueError: a negative seed or index, or a size below 32 pixels.
    """
    if seed < 0 or index < 0:
        raise ValueError(f"seed {seed} and index {index} must be >= 0")
    if min(size_hw) < 32:
        raise ValueError(f"size_hw {size_hw} is too small: render at least 32 x 32 pixels")
    attempt = 0
    while True:
        rng = _generator(seed, index * 64 + attempt)
        scene, pose, matrix = clutter_scene(rng, size_hw) if clutter else random_scene(rng, size_hw)
        if scene.pieces or scene.hull is not None:
            frame = _expose(World(scene), pose, matrix, size_hw, rng)
            # a picture should show something; eight tries practically always suffice
            if any(k != HULL for k in frame.class_ids) or attempt == 7:
                return frame
        attempt += 1


class Survey:
    """A camera that moves along one hull: `frame` renders any moment of it.

    Attributes:
        hull: the plate.
        pose: of the camera, from the number of a frame.
    """

    def __init__(self, seed: int, size_hw: tuple[int, int], water: str = USUAL) -> None:
        """Think up the hull and paint it.

        Args:
            seed: seed of the hull, its water and the camera's way.
            size_hw: picture height and width in pixels.
            water: one of `training.world.jerlov.WATERS`; frames of one seed differ by it in colour alone.

        Raises:
            ValueError: no such water.
        """
        scene, self.pose, self._matrix, stretch = hull_survey(_generator(seed, 2**31), size_hw)
        assert scene.hull is not None
        self.hull = scene.hull
        self._seed, self._size_hw = seed, size_hw
        self._world = World(replace(scene, water=in_water(scene.water, water)))
        self._world.draw_hull(*stretch, texel_m=0.005)

    def frame(self, index: int) -> RenderedFrame:
        """Frame `index` of the survey, counted from 0."""
        rng = _generator(self._seed, 2**31 + 1 + index)
        return _expose(self._world, self.pose(index), self._matrix, self._size_hw, rng)


def render_sequence(seed: int, n_frames: int, size_hw: tuple[int, int] = (480, 640)) -> Iterator[RenderedFrame]:
    """Render a camera that moves along one hull.

    Args:
        seed: seed of the hull, its water and the camera's way.
        n_frames: number of frames.
        size_hw: picture height and width in pixels.

    Yields:
        Frames in order; frame i is the same for every `n_frames`.
    """
    survey = Survey(seed, size_hw)
    for i in range(n_frames):
        yield survey.frame(i)
