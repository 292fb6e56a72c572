"""The topics that the node publishes, and one result put on all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray, LabelInfo

from spda_sam_core.messages.fields import stamp_to_ns
from spda_sam_core.results.draw import colourise_depth, draw_instances
from spda_sam_core.results.metric import Pinhole
from spda_sam_ros.messages.measurements import measurements_message
from spda_sam_ros.messages.results import detections_message, encode_image, label_info_message, label_message
from spda_sam_ros.qos import endpoint_options, overrides_explained, result_qos
from spda_sam_ros.segmenter import Segmented


class Outputs:
    """The publishers for one camera; they are silent while the node is not active.

    Args:
        node: the node that owns them.
        name: what their names begin with, `~` for the node's own.
        mismatch: called with topic and sentence for a subscription which cannot connect.

    Attributes:
        name: as given.

    Raises:
        ValueError: one of them cannot be made; none is left then.
    """

    def __init__(self, node: LifecycleNode, name: str, mismatch: Callable[[str, str], None]) -> None:
        self.name = name
        self._node = node
        made = ExitStack()

        def publisher(topic: str, message_type: type[Any], depth: int, latched: bool = False) -> Any:
            full_name = node.resolve_topic_name(f"{name}/{topic}")
            options = endpoint_options(full_name, publisher=True, mismatch=mismatch)
            qos = result_qos(depth, latched=latched)
            with overrides_explained(full_name, "publisher"):
                endpoint = node.create_lifecycle_publisher(message_type, full_name, qos, **options)
            made.callback(node.destroy_lifecycle_publisher, endpoint)
            return endpoint

        with made:
            self._instances = publisher("instances", Image, 5)
            self._detections = publisher("detections", Detection2DArray, 5)
            self._measurements = publisher("measurements", PointCloud2, 5)
            self._overlay = publisher("overlay", Image, 1)
            self._depth = publisher("depth", Image, 1)
            self._label_info = publisher("label_info", LabelInfo, 1, latched=True)
            self._made = made.pop_all()

    def publish(self, result: Segmented, *, camera: Pinhole | None, overlay: bool) -> dict[str, float]:
        """Publish a result; pictures and measurements only where someone subscribes to them.

        Args:
            result: what was found in one image.
            camera: its calibration, for 3-D positions.
            overlay: whether the overlay may be drawn at all.

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
        if depth_m is not None and camera is not None and self._measurements.get_subscription_count():
            cloud = measurements_message(result.instances, header, depth_m=depth_m, camera=camera)
            self._measurements.publish(cloud)
        if overlay and self._overlay.get_subscription_count():
            picture = draw_instances(result.rgb, result.instances)
            self._overlay.publish(encode_image(picture, "rgb8", header))
        if self._depth.get_subscription_count() and (seen := result.prediction.depth) is not None:
            self._depth.publish(encode_image(colourise_depth(seen), "rgb8", header))
        publish_ms = {"stage.publish_ms": (time.perf_counter() - began_s) * 1e3}
        return publish_ms | ({"latency_ms": (now_ns - stamp_ns) / 1e6} if stamp_ns and now_ns else {})

    def publish_label_info(self, class_names: Sequence[str], score_threshold: float) -> None:
        """Publish the latched list of classes."""
        header = Header(stamp=self._node.get_clock().now().to_msg())
        self._label_info.publish(label_info_message(class_names, score_threshold, header))

    def destroy(self) -> None:
        """Destroy the publishers; not to be used after that."""
        self._made.close()
