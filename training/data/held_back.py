"""A slice of training pictures that nobody learns from: what a run chooses, it chooses on these."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from training.data.dataset import CocoRgbdDataset


def held_back(pictures: CocoRgbdDataset, share: float, scene: Callable[[str], str]) -> list[int]:
    """Indices of whole scenes with about this share of the pictures, at least one scene where the share is above 0.

    Scenes are taken in the order of the SHA-1 of their names, so that neither chance nor seed has a say: every run on
    the same pictures holds back the same ones.

    Args:
        pictures: the split that is trained on.
        share: of its pictures, in [0, 1).
        scene: names the scene of a picture by its file name.

    Raises:
        ValueError: nothing would be left to learn from.
    """
    scenes: dict[str, list[int]] = {}
    for number in range(len(pictures)):
        scenes.setdefault(scene(pictures.file_name(number)), []).append(number)
    taken: list[int] = []
    for name in sorted(scenes, key=lambda name: hashlib.sha1(name.encode()).digest()):
        if len(taken) >= share * len(pictures):
            break
        taken += scenes[name]
    if len(taken) == len(pictures):
        raise ValueError(
            f"held_back {share} takes all {len(pictures)} pictures, which are of {len(scenes)} scenes: give a smaller "
            "share, or correct scenes in the data set's YAML"
        )
    return sorted(taken)
