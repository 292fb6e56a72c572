"""Instances as standard messages: a label image and, index-aligned with it, detections."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spda_sam_core.results.instances import Instances
from spda_sam_core.results.metric import Pinhole

CLASSES = (
    "geometry_msgs/msg/Point", "geometry_msgs/msg/Pose", "geometry_msgs/msg/PoseWithCovariance",
    "geometry_msgs/msg/Quaternion", "sensor_msgs/msg/Image", "vision_msgs/msg/BoundingBox2D",
    "vision_msgs/msg/Detection2D", "vision_msgs/msg/Detection2DArray", "vision_msgs/msg/LabelInfo",
    "vision_msgs/msg/ObjectHypothesis", "vision_msgs/msg/ObjectHypothesisWithPose", "vision_msgs/msg/Point2D",
    "vision_msgs/msg/Pose2D", "vision_msgs/msg/VisionClass",
)  # fmt: skip
"""What `ResultMessages` makes its messages of."""


class ResultMessages:
    """Makes messages of the classes that it is given: the node's are those of ROS, a bag's those of `rosbags`.

    Every field is given, because not all of these classes have defaults.

    Args:
        classes: by their names, at least those of `CLASSES`.
        octets: makes what an `uint8[]` field takes of (n,) uint8.
    """

    def __init__(self, classes: Mapping[str, Any], octets: Callable[[NDArray[np.uint8]], Any]) -> None:
        self._made_of = {name.rsplit("/", 1)[1]: classes[name] for name in CLASSES}
        self._octets = octets

    def image(self, pixels: NDArray[np.generic], encoding: str, header: Any) -> Any:
        """Make an image message.

        Args:
            pixels: (H, W) or (H, W, channels), of the encoding's type.
            encoding: name by `sensor_msgs/image_encodings`.
            header: header of the new message.
        """
        contiguous = np.ascontiguousarray(pixels)
        return self._made_of["Image"](
            header=header,
            height=pixels.shape[0],
            width=pixels.shape[1],
            encoding=encoding,
            is_bigendian=int(sys.byteorder == "big"),
            step=contiguous.nbytes // pixels.shape[0],
            data=self._octets(contiguous.reshape(-1).view(np.uint8)),
        )

    def labels(self, instances: Instances, header: Any) -> Any:
        """Make the mono16 label image: 0 is nothing, k is `detections[k - 1]`; the higher score lies on top.

        Not 16UC1, which would read as millimetres of depth (REP-118).
        """
        return self.image(instances.to_label_image(), "mono16", header)

    def detections(
        self,
        instances: Instances,
        header: Any,
        *,
        depth_m: NDArray[np.float32] | None = None,
        camera: Pinhole | None = None,
        track_ids: Sequence[int] | None = None,
    ) -> Any:
        """Make the detections, best first.

        Args:
            instances: what was found.
            header: that of the image.
            depth_m: (H, W) metric depth of a sensor, NaN unknown.
            camera: the image's camera; with it and `depth_m` the poses are 3-D centroids in its optical frame.
            track_ids: number of each instance's track, where things are followed.

        Returns:
            One detection per instance. `class_id` is the class name, `id` the number of its track, empty where
            nothing is followed. An unknown position is 0, 0, 0 with a first covariance of -1, as `sensor_msgs` marks
            it.
        """
        made = self._made_of
        detections = []
        ids = [""] * len(instances) if track_ids is None else [str(number) for number in track_ids]
        for mask, box, score, class_id, track in zip(
            instances.masks, instances.boxes_xyxy, instances.scores, instances.class_ids, ids, strict=True
        ):
            centroid = None if depth_m is None or camera is None else camera.centroid(mask, box, depth_m)
            hypothesis = made["ObjectHypothesis"](class_id=instances.class_names[class_id], score=float(score))
            result = made["ObjectHypothesisWithPose"](hypothesis=hypothesis, pose=self._pose(centroid))
            detections.append(made["Detection2D"](header=header, results=[result], bbox=self._box(box), id=track))
        return made["Detection2DArray"](header=header, detections=detections)

    def label_info(self, class_names: Sequence[str], score_threshold: float, header: Any) -> Any:
        """Make the list of all classes of the model, ids from 0, and the threshold in use."""
        classes = [self._made_of["VisionClass"](class_id=i, class_name=name) for i, name in enumerate(class_names)]
        return self._made_of["LabelInfo"](header=header, class_map=classes, threshold=score_threshold)

    def _box(self, box_xyxy: NDArray[np.float32]) -> Any:
        made = self._made_of
        x0, y0, x1, y1 = (float(v) for v in box_xyxy)
        middle = made["Point2D"](x=(x0 + x1) / 2, y=(y0 + y1) / 2)
        return made["BoundingBox2D"](center=made["Pose2D"](position=middle, theta=0.0), size_x=x1 - x0, size_y=y1 - y0)

    def _pose(self, centroid: tuple[float, float, float] | None) -> Any:
        made = self._made_of
        covariance = np.zeros(36)
        if centroid is None:
            covariance[0] = -1.0
        x, y, z = centroid or (0.0, 0.0, 0.0)
        upright = made["Quaternion"](x=0.0, y=0.0, z=0.0, w=1.0)
        pose = made["Pose"](position=made["Point"](x=x, y=y, z=z), orientation=upright)
        return made["PoseWithCovariance"](pose=pose, covariance=covariance)
