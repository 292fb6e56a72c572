"""Instances as standard messages: a label image and, index-aligned with it, detections."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from geometry_msgs.msg import Point, Pose, PoseWithCovariance
from numpy.typing import NDArray
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from vision_msgs.msg import (
    BoundingBox2D,
    Detection2D,
    Detection2DArray,
    ObjectHypothesis,
    ObjectHypothesisWithPose,
)

from spda_sam_core.results.instances import Instances
from spda_sam_core.results.metric import Pinhole
from spda_sam_ros.messages.image import encode_image


def label_message(instances: Instances, header: Header) -> Image:
    """Make the mono16 label image: 0 is nothing, k is `detections[k - 1]`; the higher score lies on top.

    Not 16UC1, which would read as millimetres of depth (REP-118).
    """
    return encode_image(instances.to_label_image(), "mono16", header)


def detections_message(
    instances: Instances,
    header: Header,
    *,
    depth_m: NDArray[np.float32] | None = None,
    camera: Pinhole | None = None,
    track_ids: Sequence[int] | None = None,
) -> Detection2DArray:
    """Make the detections, best first.

    Args:
        instances: what was found.
        header: that of the image.
        depth_m: (H, W) metric depth of a sensor, NaN unknown.
        camera: the image's camera; with it and `depth_m` the poses are 3-D centroids in its optical frame.
        track_ids: number of each instance's track, where things are followed.

    Returns:
        One detection per instance. `class_id` is the class name, `id` the number of its track, empty where
        nothing is followed. An unknown position is 0, 0, 0 with a first covariance of -1, as `sensor_msgs` marks it.
    """
    message = Detection2DArray(header=header)
    ids = [""] * len(instances) if track_ids is None else [str(number) for number in track_ids]
    for mask, box, score, class_id, track in zip(
        instances.masks, instances.boxes_xyxy, instances.scores, instances.class_ids, ids, strict=True
    ):
        centroid = None if depth_m is None or camera is None else camera.centroid(mask, box, depth_m)
        hypothesis = ObjectHypothesis(class_id=instances.class_names[class_id], score=float(score))
        result = ObjectHypothesisWithPose(hypothesis=hypothesis, pose=_pose(centroid))
        message.detections.append(Detection2D(header=header, results=[result], bbox=_box(box), id=track))
    return message


def _box(box_xyxy: NDArray[np.float32]) -> BoundingBox2D:
    x0, y0, x1, y1 = (float(v) for v in box_xyxy)
    box = BoundingBox2D(size_x=x1 - x0, size_y=y1 - y0)
    box.center.position.x = (x0 + x1) / 2
    box.center.position.y = (y0 + y1) / 2
    return box


def _pose(centroid: tuple[float, float, float] | None) -> PoseWithCovariance:
    pose = PoseWithCovariance()
    if centroid is None:
        pose.covariance[0] = -1.0
    else:
        pose.pose = Pose(position=Point(x=centroid[0], y=centroid[1], z=centroid[2]))
    return pose
