"""The topics that the node subscribes to, and what it keeps of them: a few depths and the calibration."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from spda_sam_core.messages.camera_info import pinhole_of
from spda_sam_core.messages.fields import stamp_to_ns
from spda_sam_core.results.metric import Pinhole
from spda_sam_ros import qos
from spda_sam_ros.camera import Camera
from spda_sam_ros.pairing import DepthPairing
from spda_sam_ros.parameters import Settings
from spda_sam_ros.segmenter import Frame
from spda_sam_ros.streams import Arrivals, Stream


def transport_topic(node: Node, topic: str, transport: str) -> str:
    """Name a topic as image_transport does: the base name is remapped, the transport is a suffix.

    Without one the name is as given: whoever makes an endpoint of it remaps it, and twice is wrong where two topics
    swap their names.
    """
    return topic if transport == "raw" else f"{node.resolve_topic_name(topic)}/{transport}"


class Inputs:
    """Subscriptions to image, depth and camera_info of a camera, from construction until `destroy`.

    Args:
        node: the node that owns them.
        camera: names them, counts what comes and is told what is wrong with it.
        settings: names the transports.
        on_image: called with each image, in the executor's thread.
        depth_changed: called when depth came, and when none is to be waited for any more.

    Attributes:
        pairing: the depths that came.

    Raises:
        ValueError: one of them cannot be made; none is left then.
    """

    def __init__(
        self,
        node: Node,
        camera: Camera,
        settings: Settings,
        *,
        on_image: Callable[[Frame], None],
        depth_changed: Callable[[], None],
    ) -> None:
        self.pairing = DepthPairing(depth_changed)
        self._node = node
        self._camera = camera
        self._on_frame = on_image
        self._arrivals = {topic: Arrivals(topic) for topic in ("image", "depth", "camera_info")}
        self._names: dict[str, str] = {}
        self._types: dict[str, str] = {}
        self._camera_info: CameraInfo | None = None
        made = ExitStack()

        def subscribe(
            topic: str, transport: str, message_type: type[Any], depth: int, callback: Callable[[Any], None]
        ) -> None:
            name = self._names[topic] = transport_topic(node, camera.inputs + topic, transport)
            self._types[topic] = f"sensor_msgs/msg/{message_type.__name__}"
            arrivals = self._arrivals[topic]
            endpoint, arrivals.losses_told = qos.subscribe(
                node, message_type, name, callback, depth, mismatch=camera.mismatch, lost=arrivals.lose
            )
            made.callback(node.destroy_subscription, endpoint)

        image, depth = settings.image_transport, settings.depth_transport
        image_type = Image if image == "raw" else CompressedImage
        depth_type = Image if depth == "raw" else CompressedImage
        with made:
            subscribe("image", image, image_type, 1, self._on_image)
            # the executor takes one message at a time: three depths survive while it is busy with an image
            subscribe("depth", depth, depth_type, 3, self._on_depth)
            subscribe("camera_info", "raw", CameraInfo, 1, self._on_camera_info)
            self._made = made.pop_all()

    def pinhole(self, size_hw: tuple[int, int], frame_id: str) -> Pinhole | None:
        """Return the camera of images of this size and frame, or None where no calibration came.

        Raises:
            ValueError: a calibration that does not serve.
        """
        info = self._camera_info
        return None if info is None else pinhole_of(info, size_hw, frame_id)

    def stream(self, topic: str) -> Stream:
        """Return what is known of `image`, `depth` or `camera_info`."""
        name, heard = self._names[topic], self._types[topic]
        types = [info.topic_type for info in self._node.get_publishers_info_by_topic(name)]
        others = tuple(sorted({kind for kind in types if kind != heard}))
        full_name = self._node.resolve_topic_name(name)
        return self._arrivals[topic].stream(full_name, types.count(heard), time.monotonic(), others)

    def destroy(self) -> None:
        """Unsubscribe, and end the wait for depth."""
        self.pairing.close()
        self._made.close()

    def _on_image(self, message: Image | CompressedImage) -> None:
        self._camera.statistics.count_in()
        self._note("image", message)
        if self.pairing.add_image(stamp_to_ns(message.header.stamp)):
            self._camera.statistics.count_event("time_ran_backwards")
        self._on_frame(Frame(message, time.monotonic()))

    def _on_depth(self, message: Image | CompressedImage) -> None:
        self._note("depth", message)
        if self.pairing.add_depth(message):
            self._camera.statistics.count_event("depth_time_ran_backwards")

    def _on_camera_info(self, message: CameraInfo) -> None:
        self._arrivals["camera_info"].note(stamp_to_ns(message.header.stamp), time.monotonic())
        self._camera_info = message

    def _note(self, topic: str, message: Image | CompressedImage) -> None:
        problem = self._arrivals[topic].note(stamp_to_ns(message.header.stamp), time.monotonic())
        if problem:
            self._camera.report(f"{topic}_stamp", problem)
