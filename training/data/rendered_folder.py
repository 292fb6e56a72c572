"""A rendered split on disk: `rgb/`, `depth/` and a COCO `annotations.json`, written by several processes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from spda_sam_core.settings import load_settings, settings
from spda_sam_core.weights.files import write_whole
from training.data.coco_file import annotation_of_mask
from training.data.processes import in_processes
from training.world.frame import RenderedFrame, Survey, render_image
from training.world.jerlov import USUAL, WATERS
from training.world.scene import CLASS_NAMES

World = Literal["stills", "survey"]

SEQUENCE_FRAMES = 12
"""Pictures of one hull in a split of the world "survey"."""
SEQUENCE_STRIDE = 20
"""Every so many frames of a survey one is taken: half a metre apart."""


@settings
class Split:
    """What one split shows.

    Attributes:
        seed: of the pictures, >= 0; sequence k of a survey has the seed `seed` + k.
        n_images: number of pictures.
        world: "stills", each picture another scene, or "survey", sequences of `SEQUENCE_FRAMES` pictures.
        water: one of `training.world.jerlov.WATERS`; other than "usual" for a survey only.
        clutter_every: the last of every so many stills is a scene of `training.world.clutter`; 0: none is.
    """

    seed: int
    n_images: int
    world: World = "stills"
    water: str = USUAL
    clutter_every: int = 0

    def __post_init__(self) -> None:
        if self.n_images < 1 or min(self.seed, self.clutter_every) < 0:
            raise ValueError(
                f"n_images {self.n_images} must be at least 1, seed {self.seed} and clutter_every {self.clutter_every} "
                "at least 0"
            )
        if self.water not in WATERS:
            raise ValueError(f"water '{self.water}': choose one of {', '.join(WATERS)}")
        if self.world == "stills" and self.water != USUAL:
            raise ValueError(f"water '{self.water}' with world 'stills': other water needs world: survey")
        if self.world == "survey" and self.clutter_every:
            raise ValueError(f"clutter_every {self.clutter_every} with world 'survey': clutter needs world: stills")

    def clutter(self, index: int) -> bool:
        """Whether picture `index` is one of clutter."""
        return self.clutter_every > 0 and index % self.clutter_every == self.clutter_every - 1


@settings
class RenderedConfig:
    """A rendered data set: where it lies, the picture size, its splits, and its classes, which are always the same."""

    root: Path
    image_size_hw: tuple[int, int]
    splits: Mapping[str, Split]
    classes: tuple[str, ...] = CLASS_NAMES
    format: Literal["rendered"] = "rendered"

    def __post_init__(self) -> None:
        if min(self.image_size_hw) < 1:
            raise ValueError(f"image_size_hw {self.image_size_hw} must be at least 1 pixel each way")
        if self.classes != CLASS_NAMES:
            raise ValueError(f"classes {self.classes} differ from the rendered world's {CLASS_NAMES}: leave them out")


def load_rendered_config(path: Path) -> RenderedConfig:
    """Read `config/data/rendered.yaml` or another of its format; raises what `load_settings` raises."""
    return load_settings(RenderedConfig, path, "data set")


def depth_to_png(depth_m: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Depth in metres to 16-bit millimetres, 0 where unknown (NaN) or beyond 65.5 m."""
    millimetres = np.round(np.nan_to_num(depth_m.astype(np.float64), nan=0.0) * 1000)
    return np.where(millimetres > 65535, 0, millimetres).astype(np.uint16)


def frame_annotations(frame: RenderedFrame, image_id: int) -> list[dict[str, Any]]:
    """COCO annotations (RLE masks, category_id from 1) of a frame, without annotation ids."""
    return [
        annotation_of_mask(frame.label == k, image_id, class_id + 1)
        for k, class_id in enumerate(frame.class_ids, start=1)
    ]


def _png(image: NDArray[np.generic]) -> bytes:
    done, encoded = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    assert done
    return bytes(encoded.tobytes())


@lru_cache(maxsize=1)
def _survey(seed: int, size_hw: tuple[int, int], water: str) -> Survey:
    """The survey that the last picture came from, or another: painting a hull takes longer than a picture."""
    return Survey(seed, size_hw, water)


def _render(split: Split, index: int, size_hw: tuple[int, int]) -> RenderedFrame:
    if split.world == "stills":
        return render_image(split.seed, index, size_hw, clutter=split.clutter(index))
    sequence, frame = divmod(index, SEQUENCE_FRAMES)
    return _survey(split.seed + sequence, size_hw, split.water).frame(frame * SEQUENCE_STRIDE)


def _recipe(split: Split, index: int, size_hw: tuple[int, int]) -> dict[str, Any]:
    """All that picture `index` follows from, but for its number."""
    kind = {"world": split.world, "water": split.water, "clutter": split.clutter(index)}
    return {"seed": split.seed, **kind, "size_hw": list(size_hw)}


def _render_one(job: tuple[Path, Split, int, tuple[int, int]]) -> int:
    """Render and write one picture; its annotation file comes last and says that the picture is complete."""
    folder, split, index, size_hw = job
    name = f"{index:06d}"
    frame = _render(split, index, size_hw)
    write_whole(folder / "rgb" / f"{name}.png", _png(np.ascontiguousarray(frame.rgb[..., ::-1])))
    write_whole(folder / "depth" / f"{name}.png", _png(depth_to_png(frame.depth_m)))
    record = {**_recipe(split, index, size_hw), "camera_matrix": frame.camera_matrix.tolist()}
    record["annotations"] = frame_annotations(frame, index)
    write_whole(folder / "parts" / f"{name}.json", json.dumps(record).encode())
    return index


def is_complete(folder: Path, index: int, split: Split, size_hw: tuple[int, int]) -> bool:
    """Whether picture `index` lies in the split's folder and is what the split says, in this size."""
    part = folder / "parts" / f"{index:06d}.json"
    if not part.exists() or not (folder / "rgb" / f"{index:06d}.png").exists():
        return False
    # what a record does not name did not exist when it was written
    record = {"world": "stills", "water": USUAL, "clutter": False} | json.loads(part.read_text(encoding="utf-8"))
    return all(record[key] == value for key, value in _recipe(split, index, size_hw).items())


def write_split(config: RenderedConfig, split: str, *, limit: int | None = None, workers: int = 2) -> Path:
    """Render what is missing of a split, then write its `annotations.json`.

    Args:
        config: the data set.
        split: name of the split.
        limit: only this many pictures from the start.
        workers: number of processes; the result does not depend on it.

    Returns:
        The folder of the split.

    Raises:
        ValueError: there is no such split, or a limit or worker count below 1.
    """
    if split not in config.splits:
        raise ValueError(f"no split '{split}': choose one of {', '.join(config.splits)}")
    if workers < 1 or (limit is not None and limit < 1):
        raise ValueError(f"workers {workers} and limit {limit} must be at least 1")
    chosen = config.splits[split]
    count = chosen.n_images if limit is None else min(limit, chosen.n_images)
    folder = config.root / split
    for name in ("rgb", "depth", "parts"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    size = config.image_size_hw
    missing = [i for i in range(count) if not is_complete(folder, i, chosen, size)]
    jobs = [(folder, chosen, i, size) for i in missing]
    with tqdm(total=count, initial=count - len(missing), desc=f"rendering {split}", unit="image") as bar:
        for _ in in_processes(_render_one, jobs, workers):
            bar.update()
    _write_annotations(folder, count, size)
    return folder


def digest_of_split(folder: Path) -> str:
    """SHA-256, hexadecimal, of what `write_split` wrote: its pictures in order, their depth in order, the labels.

    The same as of `cat rgb/*.png depth/*.png annotations.json` in its folder, if that holds no more than the split.

    Raises:
        FileNotFoundError: a file that the labels name is missing.
    """
    labels = folder / "annotations.json"
    names = [image["file_name"] for image in json.loads(labels.read_text(encoding="utf-8"))["images"]]
    digest = hashlib.sha256()
    for path in [*(folder / kind / name for kind in ("rgb", "depth") for name in names), labels]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _write_annotations(folder: Path, count: int, size_hw: tuple[int, int]) -> None:
    height, width = size_hw
    images, annotations = [], []
    for index in range(count):
        record = json.loads((folder / "parts" / f"{index:06d}.json").read_text(encoding="utf-8"))
        images.append(
            {
                "id": index,
                "file_name": f"{index:06d}.png",
                "height": height,
                "width": width,
                "camera_matrix": record["camera_matrix"],
            }
        )
        for annotation in record["annotations"]:
            annotations.append({"id": len(annotations) + 1, **annotation})
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(CLASS_NAMES)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    write_whole(folder / "annotations.json", json.dumps(document).encode())
