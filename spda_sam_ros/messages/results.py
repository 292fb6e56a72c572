"""Images and results as messages of the ROS that is here; see the core's `messages.results`."""

from __future__ import annotations

from array import array

import numpy as np
from geometry_msgs.msg import Point, Pose, PoseWithCovariance, Quaternion
from numpy.typing import NDArray
from sensor_msgs.msg import Image
from vision_msgs.msg import (
    BoundingBox2D,
    Detection2D,
    Detection2DArray,
    LabelInfo,
    ObjectHypothesis,
    ObjectHypothesisWithPose,
    Point2D,
    Pose2D,
    VisionClass,
)

from spda_sam_core.messages.results import ResultMessages

_CLASSES = (
    Point, Pose, PoseWithCovariance, Quaternion, Image, BoundingBox2D, Detection2D, Detection2DArray, LabelInfo,
    ObjectHypothesis, ObjectHypothesisWithPose, Point2D, Pose2D, VisionClass,
)  # fmt: skip


def _octets(values: NDArray[np.uint8]) -> array[int]:
    # array.array('B') is taken as it is; bytes and lists are checked one value at a time (rclpy#763, #856)
    data = array("B")
    data.frombytes(values.data)
    return data


_messages = ResultMessages({f"{c.__module__.split('.')[0]}/msg/{c.__name__}": c for c in _CLASSES}, _octets)
encode_image = _messages.image
label_message = _messages.labels
detections_message = _messages.detections
label_info_message = _messages.label_info
