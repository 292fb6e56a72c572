"""Calibration from messages."""

from __future__ import annotations

from spda_sam_core.messages.fields import CameraInfo
from spda_sam_core.results.metric import Pinhole

_LEAST_FOCAL = 0.1
"""Of the image's longer side: less is a field of view above 157 degrees, which no pinhole camera has."""


def pinhole_of(info: CameraInfo, size_hw: tuple[int, int], frame_id: str) -> Pinhole:
    """Read the projection of rectified images, as depth_image_proc does; K where P is not filled in.

    Calibrations are of the whole sensor. A region of interest moves the principal point by its offset, and binning
    divides all lengths, in this order, as image_geometry's PinholeCameraModel does it.

    Args:
        info: calibration message.
        size_hw: height and width of the image that it is used for, in pixels.
        frame_id: of that image.

    Raises:
        ValueError: not calibrated, or for images of another size or frame.
    """
    if info.header.frame_id != frame_id:
        raise ValueError(
            f"camera_info is of frame '{info.header.frame_id}', the image of '{frame_id}': remap camera_info to the "
            "topic of this camera, or let the driver give both the same frame_id"
        )
    binning_x, binning_y = max(1, info.binning_x), max(1, info.binning_y)
    whole = (info.roi.height or info.height, info.roi.width or info.width)
    shown = (whole[0] // binning_y, whole[1] // binning_x)
    if shown not in (size_hw, (0, 0)):
        raise ValueError(
            f"camera_info is for {shown[1]}x{shown[0]} pixels ({info.width}x{info.height}, region of interest "
            f"{info.roi.width}x{info.roi.height}, binning {binning_x}x{binning_y}), the image has "
            f"{size_hw[1]}x{size_hw[0]}: publish the camera_info of this image stream"
        )
    fx, fy, cx, cy = (info.p[0], info.p[5], info.p[2], info.p[6])
    if fx <= 0 or fy <= 0:
        fx, fy, cx, cy = (info.k[0], info.k[4], info.k[2], info.k[5])
    if not (fx > 0 and fy > 0):
        raise ValueError("camera_info has no focal length, so the camera is not calibrated: calibrate it")
    fx, fy = fx / binning_x, fy / binning_y
    cx, cy = (cx - info.roi.x_offset) / binning_x, (cy - info.roi.y_offset) / binning_y
    if min(fx, fy) < _LEAST_FOCAL * max(size_hw):
        raise ValueError(
            f"camera_info has a focal length of {min(fx, fy):g} pixels for an image of {size_hw[1]}x{size_hw[0]}: this "
            "is no calibration (drivers without one publish the identity): calibrate the camera"
        )
    return Pinhole(float(fx), float(fy), float(cx), float(cy))
