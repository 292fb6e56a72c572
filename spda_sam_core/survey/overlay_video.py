"""`overlay.mp4`: every frame that was looked at, with what is reported of it, one after the other."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from spda_sam_core.results.draw import draw_instances, fit
from spda_sam_core.results.instances import Instances
from spda_sam_core.results.text import text_size, write_text

_LONGEST_PX = 960
"""Of a picture's side: a player shows no more, and encoding takes its time."""
_CODEC = "mp4v"
"""What every build of OpenCV can write; H.264 most cannot."""
_TEXT_SCALE = 0.5
_WHITE = (255, 255, 255)


class OverlayVideo:
    """Writes the video, in one thread. It begins anew at each run, a resumed one too.

    All frames have the size of the first, bounded; a picture of another shape stands between bars. What could not be
    read is black, so that as many frames are in the video as were looked at.

    Args:
        path: the file.
        per_second: frames in a second of the video.

    Attributes:
        problem: why there is no video; empty where there is one.
    """

    def __init__(self, path: Path, per_second: float) -> None:
        self.path, self.per_second = path, per_second
        self.problem = ""
        self._lost_before: list[str] = []
        self._size_hw: tuple[int, int] | None = None
        self._writer: cv2.VideoWriter | None = None

    def add(self, rgb: NDArray[np.uint8], instances: Instances, time: str) -> None:
        """Add a frame.

        Args:
            rgb: (H, W, 3) uint8.
            instances: what is reported of it.
            time: its time code, written into a corner.
        """
        if self._size_hw is None:
            self._begin(rgb.shape[0], rgb.shape[1])
        assert self._size_hw is not None
        # drawn at the size that is shown, so that text can be read
        small = fit(rgb, *self._size_hw)
        picture = draw_instances(small, _resized(instances, small.shape[0], small.shape[1]))
        canvas = np.zeros((*self._size_hw, 3), np.uint8)
        top, left = (self._size_hw[0] - small.shape[0]) // 2, (self._size_hw[1] - small.shape[1]) // 2
        canvas[top : top + small.shape[0], left : left + small.shape[1]] = picture
        self._write(canvas, time)

    def lost(self, time: str) -> None:
        """Add a frame that could not be read."""
        if self._size_hw is None:
            self._lost_before.append(time)
        else:
            self._write(np.zeros((*self._size_hw, 3), np.uint8), f"{time}  no picture")

    def close(self) -> None:
        """Finish the file; before that few players open it."""
        if self._writer is not None:
            self._writer.release()

    def _begin(self, height: int, width: int) -> None:
        scale = min(1.0, _LONGEST_PX / max(height, width))
        # chroma is shared by two rows and columns
        self._size_hw = (max(2, round(height * scale) // 2 * 2), max(2, round(width * scale) // 2 * 2))
        size_wh = (self._size_hw[1], self._size_hw[0])
        self._writer = cv2.VideoWriter(str(self.path), cv2.VideoWriter.fourcc(*_CODEC), self.per_second, size_wh)
        if not self._writer.isOpened():
            self.problem = f"{self.path}: this build of OpenCV writes no {_CODEC} video of {width} x {height} pixels"
            self._writer = None
        for time in self._lost_before:
            self.lost(time)

    def _write(self, rgb: NDArray[np.uint8], text: str) -> None:
        if self._writer is None:
            return
        width, height, below = text_size(text, _TEXT_SCALE)
        bottom = rgb.shape[0]
        cv2.rectangle(rgb, (0, bottom - height - below - 6), (width + 6, bottom), (16, 16, 16), -1)
        write_text(rgb, text, (3, bottom - below - 3), _TEXT_SCALE, _WHITE)
        self._writer.write(np.ascontiguousarray(rgb[..., ::-1]))


def _resized(instances: Instances, height: int, width: int) -> Instances:
    if (instances.height, instances.width) == (height, width) or not len(instances):
        return instances if len(instances) else Instances.empty(height, width, instances.class_names)
    masks = [cv2.resize(m.view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) for m in instances.masks]
    scale = np.array([width / instances.width, height / instances.height] * 2, np.float32)
    return Instances(
        np.stack(masks).astype(bool), instances.boxes_xyxy * scale, instances.scores, instances.class_ids,
        instances.class_names,
    )  # fmt: skip
