"""From pixels and metric depth to points in the camera's optical frame (x right, y down, z forward)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo


@dataclass(frozen=True)
class Pinhole:
    """A pinhole camera: focal lengths and principal point in pixels."""

    fx: float
    fy: float
    cx: float
    cy: float

    @classmethod
    def from_camera_info(cls, info: CameraInfo, size_hw: tuple[int, int]) -> Pinhole:
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
        return cls(float(fx), float(fy), float(cx), float(cy))

    def centroid(
        self, mask: NDArray[np.bool_], box_xyxy: NDArray[np.float32], depth_m: NDArray[np.float32]
    ) -> tuple[float, float, float] | None:
        """Return the mean of an instance's visible surface points, or None without one valid depth.

        Args:
            mask: (H, W) bool.
            box_xyxy: (4,) a box in pixels that holds the mask; only there is looked.
            depth_m: (H, W) float32 metres along the optical axis, NaN unknown.

        Returns:
            x, y, z in metres in the optical frame.
        """
        x0, y0 = (max(0, int(np.floor(v))) for v in box_xyxy[:2])
        x1, y1 = (int(np.ceil(v)) for v in box_xyxy[2:])
        z = depth_m[y0:y1, x0:x1]
        rows, columns = np.nonzero(mask[y0:y1, x0:x1] & np.isfinite(z))
        if not len(rows):
            return None
        depths = z[rows, columns].astype(np.float64)
        x = (columns + x0 - self.cx) * depths / self.fx
        y = (rows + y0 - self.cy) * depths / self.fy
        return float(x.mean()), float(y.mean()), float(depths.mean())
