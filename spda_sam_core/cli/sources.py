"""What the commands look at: a picture, those below a folder, the frames of a video or of a bag, each once."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from spda_sam_core.bags import is_bag, require_rosbags
from spda_sam_core.depth.depth_file import read_depth_m
from spda_sam_core.look import Look
from spda_sam_core.picture_file import PICTURE_SUFFIXES, read_picture, told_dark

if TYPE_CHECKING:
    from spda_sam_core.bags.bag import Bag

DEPTHS = (".png", ".tif", ".tiff")

_log = logging.getLogger(__name__)


class Pictures:
    """Picture files, in the order of their names.

    Args:
        source: a picture, or a folder, which is searched with its sub-folders.
        depth: a folder with a depth image for each picture, at the same place, with the same name but for the suffix; a
            picture without one is looked at without.

    Raises:
        FileNotFoundError: no picture in there, or no such folder of depth.
    """

    noticed: Sequence[str] = ()

    def __init__(self, source: Path, depth: Path | None = None) -> None:
        self.root = source if source.is_dir() else source.parent
        found = source.rglob("*") if source.is_dir() else [source]
        self.paths = sorted(p for p in found if p.suffix.lower() in PICTURE_SUFFIXES and p.is_file())
        self.depth = depth
        if not self.paths:
            raise FileNotFoundError(f"{source}: no picture in there: expected *{', *'.join(sorted(PICTURE_SUFFIXES))}")
        if depth is not None and not depth.is_dir():
            raise FileNotFoundError(f"{depth}: no such folder: --depth wants one with a depth image for each picture")

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[Look]:
        dark_told = False
        for path in self.paths:
            name = path.relative_to(self.root).as_posix()
            try:
                picture = read_picture(path)
                look = Look(name, picture.rgb, self._depth_of(path, (picture.rgb.shape[0], picture.rgb.shape[1])))
                dark = told_dark(picture)
                if dark is not None and not dark_told:
                    dark_told = True  # once, not for every picture
                    _log.warning("%s: %s", path, dark)
            except (OSError, ValueError) as error:
                look = Look(name, None, problem=str(error))
            yield look

    def _depth_of(self, picture: Path, size_hw: tuple[int, int]) -> NDArray[np.float32] | None:
        if self.depth is None:
            return None
        place = self.depth / picture.relative_to(self.root)
        files = [f for f in (place.with_suffix(suffix) for suffix in DEPTHS) if f.exists()]
        return read_depth_m(files[0], size_hw) if files else None


class Video:
    """Frames of a video file.

    Args:
        source: the file.
        every: so many frames are passed on to the next one that is looked at.

    Attributes:
        frames_per_second: as the file says, 25 where it says nonsense.

    Raises:
        FileNotFoundError: nothing that OpenCV can decode.
    """

    noticed: Sequence[str] = ()

    def __init__(self, source: Path, every: int = 1) -> None:
        self.source, self.every = source, every
        capture = cv2.VideoCapture(str(source))
        frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
        rate = float(capture.get(cv2.CAP_PROP_FPS)) if capture.isOpened() else 0.0
        readable = capture.isOpened() and capture.grab()
        capture.release()
        if not readable:
            raise FileNotFoundError(
                f"{source}: no picture and no video that OpenCV can decode: convert it, such as to H.264 in .mp4"
            )
        # what the header says of the number of frames is a guess, and may be nonsense
        self.count = max(frames, 0)
        self.frames_per_second = rate if 0.1 <= rate <= 1000 else 25.0

    def __len__(self) -> int:
        return -(-self.count // self.every)

    def __iter__(self) -> Iterator[Look]:
        capture = cv2.VideoCapture(str(self.source))
        try:
            number = 0
            while capture.grab():
                if number % self.every == 0:
                    arrived, bgr = capture.retrieve()
                    name = f"{number:06d}.jpg"
                    if arrived:
                        yield Look(name, np.ascontiguousarray(bgr[..., ::-1]))
                    else:
                        yield Look(name, None, problem=f"{self.source}: frame {number} cannot be decoded")
                number += 1
        finally:
            capture.release()


def add_topic_options(parser: argparse.ArgumentParser) -> None:
    """The options that choose the topics of a bag."""
    group = parser.add_argument_group("topics of a bag")
    group.add_argument("--image-topic", metavar="TOPIC", help="pictures (default: the only topic that has some)")
    group.add_argument(
        "--depth-topic", metavar="TOPIC", help="depth, or none (default: the only one of 32FC1 or 16UC1, if any)"
    )
    group.add_argument(
        "--camera-info-topic",
        metavar="TOPIC",
        help="calibration, or none (default: camera_info beside the image topic, or the only one, if any)",
    )


def open_source(
    source: Path, options: argparse.Namespace, *, every: int = 1, rate: float | None = None
) -> Pictures | Video | Bag:
    """Open what a person has given.

    Args:
        source: what to look at.
        options: `depth`, and those of `add_topic_options`.
        every: of a video or a bag, so many pictures are passed on to the next one.
        rate: of a bag, pictures to look at in a second, in place of `every`.

    Raises:
        FileNotFoundError: nothing there that can be read.
        ValueError: options that are not for such a source, or a bag that cannot be read.
        ImportError: a bag, and no rosbags.
    """
    if not source.exists():
        raise FileNotFoundError(f"{source}: no such file or folder")
    topics = (options.image_topic, options.depth_topic, options.camera_info_topic)
    if is_bag(source):
        if options.depth is not None:
            raise ValueError(f"--depth {options.depth}: {source} is a bag, its depth is a topic: see --depth-topic")
        require_rosbags()
        from spda_sam_core.bags.bag import Bag
        from spda_sam_core.bags.topics import Topics

        return Bag(source, Topics(*topics), every=every, rate=rate)
    if given := next((topic for topic in topics if topic is not None), None):
        raise ValueError(f"topic {given}: {source} is no bag: it has neither metadata.yaml nor .db3 nor .mcap")
    if source.is_dir() or source.suffix.lower() in PICTURE_SUFFIXES:
        if every != 1:
            raise ValueError(f"--every {every} is for videos and bags: {source} is none")
        return Pictures(source, options.depth)
    if options.depth is not None:
        raise ValueError(f"--depth {options.depth}: a video has no depth images: give a folder of its frames")
    return Video(source, every)
