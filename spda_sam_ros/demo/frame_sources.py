"""Where the camera process takes its pictures from: rendered world, folder, video file or V4L device.

No ROS in here. `open_source` checks what it is given and returns an endless iterator of `Frame`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from spda_sam_core.picture_file import PICTURE_SUFFIXES, read_picture, told_dark, write_picture

_QUEUED_FRAME_S = 0.003
"""A grab faster than this took a frame that waited in the driver; a new one has to be waited for."""

_log = logging.getLogger(__name__)


class SourceError(RuntimeError):
    """A source that cannot give pictures; the message names it and what would work."""


@dataclass(frozen=True)
class Frame:
    """One picture as a camera gives it.

    Attributes:
        rgb: (H, W, 3) uint8.
        depth_m: (H, W) float32 depth along the optical axis in metres (REP-118), NaN unknown; None without
            a depth sensor.
        camera_matrix: (3, 3) float64 pinhole matrix in pixels; None where the camera is not calibrated.
    """

    rgb: NDArray[np.uint8]
    depth_m: NDArray[np.float32] | None = None
    camera_matrix: NDArray[np.float64] | None = None


def open_source(source: str) -> Iterator[Frame]:
    """Open a folder of images, an image, a video file or a V4L device.

    Args:
        source: a path. Folders and videos start again at their end; a device gives its newest frame.

    Returns:
        Frames without depth and without calibration, endless.

    Raises:
        SourceError: nothing there, or nothing in it that OpenCV can read.
    """
    path = Path(source).expanduser()
    if not path.exists():
        raise SourceError(
            f"source '{source}' does not exist: give a folder of images, a video file or a device such as /dev/video0"
        )
    if path.is_dir():
        images = sorted(p for p in path.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES)
        if not images:
            raise SourceError(
                f"source '{source}' is a folder with no image in it: expected files named "
                f"*{', *'.join(sorted(PICTURE_SUFFIXES))}"
            )
        return _folder_frames(path, images)
    if stat.S_ISCHR(path.stat().st_mode):
        return _device_frames(path, _open_capture(path, "a camera that OpenCV can open"))
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return _folder_frames(path, [path])
    return _video_frames(path, _open_capture(path, "a video that OpenCV can decode"))


def _open_capture(path: Path, wanted: str) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise SourceError(f"source '{path}' is not {wanted}: check the file, its codec and your permissions")
    return capture


def _to_rgb(bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def _folder_frames(source: Path, images: list[Path]) -> Iterator[Frame]:
    dark_told = False
    while images:
        readable = []
        for path in images:
            try:
                picture = read_picture(path)
            except (FileNotFoundError, ValueError) as error:
                _log.warning("left out %s", error)
                continue
            readable.append(path)
            dark = told_dark(picture)
            if dark is not None and not dark_told:
                dark_told = True
                _log.warning("%s: %s", path, dark)
            yield Frame(picture.rgb)
        images = readable
    raise SourceError(f"source '{source}': OpenCV can read none of its images, are they damaged?")


def _video_frames(path: Path, capture: cv2.VideoCapture) -> Iterator[Frame]:
    while True:
        count = 0
        while True:
            arrived, bgr = capture.read()
            if not arrived:
                break
            count += 1
            yield Frame(_to_rgb(bgr))
        capture.release()
        if not count:
            raise SourceError(f"source '{path}' has no frame that OpenCV can decode: convert it, e.g. to H.264")
        capture = _open_capture(path, "a video that OpenCV can decode")


def _device_frames(path: Path, capture: cv2.VideoCapture) -> Iterator[Frame]:
    while True:
        waited_s = 0.0
        while waited_s < _QUEUED_FRAME_S:
            began = time.monotonic()
            if not capture.grab():
                raise SourceError(f"device '{path}' gives no more frames: is it still plugged in?")
            waited_s = time.monotonic() - began
        arrived, bgr = capture.retrieve()
        if not arrived:
            raise SourceError(f"device '{path}' gave a frame that OpenCV cannot decode")
        yield Frame(_to_rgb(bgr))


def rendered_frames(seed: int, n_frames: int, *, cache: Path | None = None) -> Iterator[Frame]:
    """Swim along a rendered hull and back, again and again, with true depth and calibration.

    The frames are rendered before the first one is given out, with a progress bar, and kept on disk for the
    next time: rendering beside a running network would take its processor away.

    Args:
        seed: seed of the hull, its water and the camera's way.
        n_frames: length of the way in frames, at least 1.
        cache: folder to keep rendered frames in; by default `~/.cache/spda_sam_ros` (XDG_CACHE_HOME).

    Returns:
        Frames of 480 x 640 pixels, endless.

    Raises:
        SourceError: `n_frames` below 1, or frames that cannot be written, as where the disk is full.
    """
    if n_frames < 1:
        raise SourceError(f"a rendered sequence of {n_frames} frames shows nothing: ask for at least 1")
    if cache is None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spda_sam_ros"
    try:
        folder = _render_once(seed, n_frames, cache)
    except OSError as error:
        raise SourceError(
            f"rendered frames cannot be kept in '{cache}' ({error}): free space there, or set XDG_CACHE_HOME to "
            "another folder"
        ) from error
    return _there_and_back(folder, n_frames)


def _render_once(seed: int, n_frames: int, cache: Path) -> Path:
    """Return a folder with rgb/, depth/ (16-bit, millimetres) and camera_matrix.json, rendered if need be."""
    from training import world
    from training.world.frame import render_sequence

    digest = hashlib.sha256(f"{seed} {n_frames}".encode())
    for module in sorted(Path(world.__file__).parent.glob("*.py")):
        digest.update(module.read_bytes())  # another renderer makes other pictures
    folder = cache / f"rendered_{digest.hexdigest()[:16]}"
    if folder.exists():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    # an interrupted run leaves nothing that looks complete
    with tempfile.TemporaryDirectory(dir=cache, prefix="partial_") as partial:
        work = Path(partial) / "frames"
        frames = render_sequence(seed, n_frames)
        for i, frame in enumerate(tqdm(frames, total=n_frames, desc="rendering the hull", unit="frame")):
            depth_mm = np.clip(np.nan_to_num(frame.depth_m * 1000.0, nan=0.0, posinf=0.0).round(), 0, 65535)
            write_picture(work / f"rgb/{i:06d}.png", cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2BGR))
            write_picture(work / f"depth/{i:06d}.png", depth_mm.astype(np.uint16))
        matrix = json.dumps(frame.camera_matrix.tolist())
        (work / "camera_matrix.json").write_text(matrix, encoding="utf-8")
        try:
            work.rename(folder)
        except OSError:
            if not folder.exists():  # else another process was faster with the same frames
                raise
    return folder


def _there_and_back(folder: Path, n_frames: int) -> Iterator[Frame]:
    matrix = np.asarray(json.loads((folder / "camera_matrix.json").read_text(encoding="utf-8")), np.float64)
    way = [*range(n_frames), *range(n_frames - 2, 0, -1)]
    while True:
        for i in way:
            bgr = cv2.imread(str(folder / f"rgb/{i:06d}.png"), cv2.IMREAD_COLOR)
            depth_mm = cv2.imread(str(folder / f"depth/{i:06d}.png"), cv2.IMREAD_UNCHANGED)
            if bgr is None or depth_mm is None:
                raise SourceError(f"frame {i} in '{folder}' is damaged: delete that folder and start again")
            depth_m = depth_mm.astype(np.float32) / np.float32(1000.0)
            depth_m[depth_mm == 0] = np.nan
            yield Frame(_to_rgb(bgr), depth_m, matrix)
