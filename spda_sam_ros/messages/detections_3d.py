"""The detections of an image in space: the same things in the same order, each with a box around its surface."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import Point, Pose, Vector3
from numpy.typing import NDArray
from vision_msgs.msg import BoundingBox3D, Detection2DArray, Detection3D, Detection3DArray

from spda_sam_core.results.extent import Box3d, box_3d
from spda_sam_core.results.instances import Instances
from spda_sam_core.results.metric import Pinhole


def detections_3d_message(
    detections: Detection2DArray, instances: Instances, *, depth_m: NDArray[np.float32], camera: Pinhole
) -> Detection3DArray:
    """Make the detections in the camera's optical frame (REP-103).

    Args:
        detections: of the same instances in the image, with 3-D centroids.
        instances: what was found.
        depth_m: (H, W) metric depth of a sensor, NaN unknown.
        camera: the image's camera.

    Returns:
        As many as there are in the image, in their order, with their classes, scores, centroids and ids. A thing too
        little of which has depth has a box of size 0 at 0, 0, 0.
    """
    made = [
        Detection3D(
            header=detections.header,
            results=in_image.results,
            bbox=_box(box_3d(camera, mask, box, depth_m)),
            id=in_image.id,
        )
        for in_image, mask, box in zip(detections.detections, instances.masks, instances.boxes_xyxy, strict=True)
    ]
    return Detection3DArray(header=detections.header, detections=made)


def _box(box: Box3d | None) -> BoundingBox3D:
    if box is None:
        return BoundingBox3D()
    (x, y, z), (width, height, thickness) = box
    return BoundingBox3D(center=Pose(position=Point(x=x, y=y, z=z)), size=Vector3(x=width, y=height, z=thickness))
