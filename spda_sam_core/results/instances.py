"""`Instances`: the one result type that drawing, COCO files, messages and reports read. No torch, no ROS."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from supervision import Detections


@dataclass(frozen=True)
class Instances:
    """The N instances found in one image, best first.

    Attributes:
        masks: (N, H, W) bool, at the size of the image.
        boxes_xyxy: (N, 4) float32 pixels, half-open: x1 and y1 lie one past the last pixel. Each holds its mask.
        scores: (N,) float32 in [0, 1], descending.
        class_ids: (N,) int64, index into `class_names`.
        class_names: names of all classes of the model, found here or not.

    Raises:
        TypeError: an array of another dtype.
        ValueError: shapes that disagree, scores out of range or order, or an unknown class id.
    """

    masks: NDArray[np.bool_]
    boxes_xyxy: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.masks.ndim != 3:
            raise ValueError(f"masks have shape {self.masks.shape}: expected (N, H, W)")
        n = len(self.masks)
        expected = {"boxes_xyxy": (n, 4), "scores": (n,), "class_ids": (n,)}
        for name, shape in expected.items():
            actual = getattr(self, name).shape
            if actual != shape:
                raise ValueError(f"{name} have shape {actual}, but {n} masks need {shape}")
        dtypes = {"masks": np.bool_, "boxes_xyxy": np.float32, "scores": np.float32, "class_ids": np.int64}
        for name, dtype in dtypes.items():
            actual_dtype = getattr(self, name).dtype
            if actual_dtype != dtype:
                raise TypeError(f"{name} are {actual_dtype}: expected {np.dtype(dtype)}")
        if n == 0:
            return
        # written so that a NaN score fails as well
        if not bool(np.all((self.scores >= 0) & (self.scores <= 1))):
            raise ValueError(f"scores {self.scores.tolist()} must lie in [0, 1]")
        if bool(np.any(np.diff(self.scores) > 0)):
            raise ValueError(f"scores {self.scores.tolist()} must be descending: sort the instances by score")
        if self.class_ids.min() < 0 or self.class_ids.max() >= len(self.class_names):
            raise ValueError(
                f"class ids {sorted(set(self.class_ids.tolist()))} must lie in 0..{len(self.class_names) - 1}"
                f", for the classes {self.class_names}"
            )

    @classmethod
    def empty(cls, height: int, width: int, class_names: tuple[str, ...]) -> Instances:
        """No instance, in an image of this size in pixels."""
        return cls(
            np.zeros((0, height, width), np.bool_),
            np.zeros((0, 4), np.float32),
            np.zeros(0, np.float32),
            np.zeros(0, np.int64),
            class_names,
        )

    @classmethod
    def of_labels(
        cls, masks: NDArray[np.bool_], class_ids: NDArray[np.int64], class_names: tuple[str, ...]
    ) -> Instances:
        """What people or a renderer have labelled, each with score 1.

        Args:
            masks: (N, H, W) bool, none of them empty.
            class_ids: (N,) int64, index into `class_names`.
            class_names: of the data set.
        """
        return cls(masks, boxes_of_masks(masks), np.ones(len(masks), np.float32), class_ids, class_names)

    def __len__(self) -> int:
        return len(self.masks)

    @property
    def height(self) -> int:
        """Image height in pixels."""
        return int(self.masks.shape[1])

    @property
    def width(self) -> int:
        """Image width in pixels."""
        return int(self.masks.shape[2])

    def filter(self, *, score_threshold: float = 0.0, class_names: Collection[str] | None = None) -> Instances:
        """Keep instances with at least this score and, if names are given, of these classes.

        Raises:
            ValueError: a name that is no class of the model.
        """
        keep = self.scores >= np.float32(score_threshold)
        if class_names is not None:
            unknown = sorted(set(class_names) - set(self.class_names))
            if unknown:
                raise ValueError(f"unknown classes {unknown}: choose from {', '.join(self.class_names)}")
            wanted = [i for i, name in enumerate(self.class_names) if name in class_names]
            keep &= np.isin(self.class_ids, wanted)
        return self.pick(np.flatnonzero(keep).tolist())

    def pick(self, kept: Sequence[int]) -> Instances:
        """The instances of these indices, in their order."""
        if list(kept) == list(range(len(self))):  # masks are large: no copy for nothing
            return self
        chosen = np.asarray(kept, np.int64)
        return Instances(
            self.masks[chosen],
            self.boxes_xyxy[chosen],
            self.scores[chosen],
            self.class_ids[chosen],
            self.class_names,
        )

    def to_label_image(self) -> NDArray[np.uint16]:
        """(H, W) uint16: 0 is no instance, k is instance k - 1; where masks overlap the higher score wins."""
        label = np.zeros((self.height, self.width), np.uint16)
        starts = np.maximum(np.floor(self.boxes_xyxy[:, :2]), 0).astype(int).tolist()
        stops = np.ceil(self.boxes_xyxy[:, 2:]).astype(int).tolist()
        for i in range(len(self) - 1, -1, -1):  # best last, so that it stays on top
            (x0, y0), (x1, y1) = starts[i], stops[i]
            label[y0:y1, x0:x1][self.masks[i, y0:y1, x0:x1]] = i + 1
        return label

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """COCO results of this image, best first; `category_id` is the class id plus one.

        Args:
            image_id: id of the image in the COCO file.

        Returns:
            One dict per instance: image_id, category_id, segmentation (compressed RLE), bbox (x, y, w, h) in
            pixels, score; ready for `json.dump`.
        """
        results = []
        for mask, (x0, y0, x1, y1), score, class_id in zip(
            self.masks, self.boxes_xyxy.tolist(), self.scores.tolist(), self.class_ids.tolist(), strict=True
        ):
            results.append(
                {
                    "image_id": image_id,
                    "category_id": class_id + 1,
                    "segmentation": encode_rle(mask),
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "score": score,
                }
            )
        return results

    def to_supervision(self) -> Detections:
        """These instances as `supervision.Detections`, class names in `data["class_name"]`.

        Raises:
            ImportError: supervision is not installed.
        """
        try:
            from supervision import Detections
        except ImportError as error:
            raise ImportError("to_supervision needs supervision: pip install supervision") from error
        return Detections(
            xyxy=self.boxes_xyxy,
            mask=self.masks,
            confidence=self.scores,
            class_id=self.class_ids,
            data={"class_name": np.array(self.class_names)[self.class_ids]},
        )


def encode_rle(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """COCO's compressed run-length encoding of an (H, W) bool mask, the bytes `pycocotools` would write.

    Runs go down the columns, beginning with zeros. From the fourth run on a run is stored as its difference
    to the run before last, each in 5-bit groups, low group first (`rleToString` in cocoapi's `maskApi.c`).
    Ours so that a robot needs no pycocotools.
    """
    height, width = mask.shape
    columns = mask.T.reshape(-1)
    changes = np.flatnonzero(columns[1:] != columns[:-1]) + 1
    starts_set = [0] if columns.size and columns[0] else []
    runs = np.diff(np.concatenate(([0], starts_set, changes, [columns.size]))).astype(np.int64)
    stored = runs.copy()
    stored[3:] -= runs[1:-2]
    characters = bytearray()
    for value in stored.tolist():
        while True:
            group = value & 0x1F
            value >>= 5
            # the highest bit of the last group carries the sign
            done = value == (-1 if group & 0x10 else 0)
            characters.append((group if done else group | 0x20) + 48)
            if done:
                break
    return {"size": [height, width], "counts": characters.decode("ascii")}


def decode_rle(rle: dict[str, Any]) -> NDArray[np.bool_]:
    """The (H, W) bool mask of a compressed run-length encoding, see `encode_rle`.

    Raises:
        ValueError: runs that do not fill the mask.
    """
    height, width = rle["size"]
    runs: list[int] = []
    value = shift = 0
    for character in rle["counts"].encode("ascii"):
        group = character - 48
        value |= (group & 0x1F) << shift
        shift += 5
        if group & 0x20:
            continue
        if group & 0x10:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    if sum(runs) != height * width or min(runs, default=0) < 0:
        raise ValueError(f"runs of {sum(runs)} pixels, but the mask has {height} x {width}")
    filled = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return np.ascontiguousarray(filled.reshape(width, height).T)


def boxes_of_masks(masks: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Tight half-open boxes (N, 4) float32 of (N, H, W) masks; an empty mask has the box 0, 0, 0, 0."""
    boxes = np.zeros((len(masks), 4), np.float32)
    for box, mask in zip(boxes, masks, strict=True):
        xs, ys = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
        if len(xs):
            box[:] = xs[0], ys[0], xs[-1] + 1, ys[-1] + 1
    return boxes
