"""Calibration from messages."""

from __future__ import annotations

from sensor_msgs.msg import CameraInfo

from spda_sam_core.results.metric import Pinhole


def pinhole_of(info: CameraInfo, size_hw: tuple[int, int]) -> Pinhole:
    """Read the projection of rectified images, as depth_image_proc does; K where P is not filled in.

    Args:
        info: calibration message.
        size_hw: height and width of the image that it is used for, in pixels.

    Raises:
        ValueError: not calibrated, or for images of another size.
    """
    if (info.height, info.width) not in (size_hw, (0, 0)):
        raise ValueError(
            f"camera_info is for {info.width}x{info.height} pixels, the image has "
            f"{size_hw[1]}x{size_hw[0]}: publish the camera_info of this image stream"
        )
    fx, fy, cx, cy = (info.p[0], info.p[5], info.p[2], info.p[6])
    if fx <= 0 or fy <= 0:
        fx, fy, cx, cy = (info.k[0], info.k[4], info.k[2], info.k[5])
    if not (fx > 0 and fy > 0):
        raise ValueError("camera_info has no focal length, so the camera is not calibrated: calibrate it")
    return Pinhole(float(fx), float(fy), float(cx), float(cy))
