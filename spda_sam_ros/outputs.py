"""The topics that the node publishes for one camera, and one result put on those that robots read."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray, Detection3DArray, LabelInfo

from spda_sam_core.messages.fields import stamp_to_ns
from spda_sam_core.results.metric import Pinhole
from spda_sam_ros.messages.detections_3d import detections_3d_message
from spda_sam_ros.messages.measurements import measurements_message
from spda_sam_ros.messages.results import detections_message, label_info_message, label_message
from spda_sam_ros.pictures import Pictures
from spda_sam_ros.publishers import Publishers
from spda_sam_ros.segmenter import Segmented


class Outputs:
    """The publishers for one camera; they are silent while the node is not active.

    Args:
        node: the node that owns them.
        name: what their names begin with, `~` for the node's own.
        mismatch: called with topic and sentence for a subscription which cannot connect.

    Attributes:
        name: as given.
        pictures: those that people look at.

    Raises:
        ValueError: one of them cannot be made; none is left then.
    """

    def __init__(self, node: LifecycleNode, name: str, mismatch: Callable[[str, str], None]) -> None:
        self.name = name
        self._node = node
        self._publishers = publishers = Publishers(node, name, mismatch)
        self._instances = publishers.make("instances", Image, 5)
        self._detections = publishers.make("detections", Detection2DArray, 5)
        self._detections_3d = publishers.make("detections_3d", Detection3DArray, 5)
        self._measurements = publishers.make("measurements", PointCloud2, 5)
        self.pictures = Pictures(publishers)
        self._label_info = publishers.make("label_info", LabelInfo, 1, latched=True)

    def publish(self, result: Segmented, *, camera: Pinhole | None) -> dict[str, float]:
        """Publish a result; what is measured in space only where someone subscribes to it.

        Args:
            result: what was found in one image.
            camera: its calibration, for 3-D positions.

        Returns:
            `latency_ms`, the age of the image when its masks were out, where it has a stamp and time has begun;
            `stage.publish_ms`.
        """
        began_s = time.perf_counter()
        header = result.header
        depth_m = None if result.sensor_depth is None else result.sensor_depth.depth_m
        detections = detections_message(
            result.instances, header, depth_m=depth_m, camera=camera, track_ids=result.track_ids
        )
        self._instances.publish(label_message(result.instances, header))
        self._detections.publish(detections)
        stamp_ns = stamp_to_ns(header.stamp)
        now_ns = self._node.get_clock().now().nanoseconds
        if depth_m is not None and camera is not None:
            if self._detections_3d.get_subscription_count():
                boxes = detections_3d_message(detections, result.instances, depth_m=depth_m, camera=camera)
                self._detections_3d.publish(boxes)
            if self._measurements.get_subscription_count():
                cloud = measurements_message(result.instances, header, depth_m=depth_m, camera=camera)
                self._measurements.publish(cloud)
        publish_ms = {"stage.publish_ms": (time.perf_counter() - began_s) * 1e3}
        return publish_ms | ({"latency_ms": (now_ns - stamp_ns) / 1e6} if stamp_ns and now_ns else {})

    def publish_label_info(self, class_names: Sequence[str], score_threshold: float) -> None:
        """Publish the latched list of classes."""
        header = Header(stamp=self._node.get_clock().now().to_msg())
        self._label_info.publish(label_info_message(class_names, score_threshold, header))

    def destroy(self) -> None:
        """Destroy the publishers; not to be used after that."""
        self._publishers.destroy()
