"""The camera of `benchmarks.soak`: publishes, and misbehaves as it is told, line by line on standard input."""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from array import array
from dataclasses import dataclass

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

FRAME_ID = "camera_optical_frame"
CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "mono8": 1}


@dataclass
class Behaviour:
    """How the camera is at the moment.

    Attributes:
        rate_hz: pictures a second.
        width: of them.
        height: of them.
        encoding: one of `CHANNELS`.
        shift_s: what its clock is wrong by.
        broken: whether pictures have less data than they say.
        depth: whether there is depth, with a calibration.
    """

    rate_hz: float = 5.0
    width: int = 640
    height: int = 480
    encoding: str = "rgb8"
    shift_s: float = 0.0
    broken: bool = False
    depth: bool = True


class Camera(Node):
    """Publishes `image`, `depth` and `camera_info`."""

    def __init__(self, namespace: str) -> None:
        super().__init__("soak_camera", namespace=namespace)
        self.behaviour = Behaviour()
        self._image, self._depth, self._info = (
            self.create_publisher(kind, topic, qos_profile_sensor_data)
            for kind, topic in ((Image, "image"), (Image, "depth"), (CameraInfo, "camera_info"))
        )
        self._rng = np.random.default_rng(0)

    def publish(self) -> None:
        """One picture, and what belongs to it."""
        now = self.behaviour
        stamp_ns = self.get_clock().now().nanoseconds + round(now.shift_s * 1e9)
        header = Header(stamp=Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9), frame_id=FRAME_ID)
        channels = CHANNELS[now.encoding]
        blocks = self._rng.integers(0, 256, (now.height // 40, now.width // 40, channels), np.uint8)
        pixels = blocks.repeat(40, axis=0).repeat(40, axis=1).tobytes()
        if now.broken:
            pixels = pixels[: len(pixels) // 2]
        size = {"height": now.height, "width": now.width}
        if now.depth:
            focal = 0.8 * now.width
            k = [focal, 0.0, now.width / 2, 0.0, focal, now.height / 2, 0.0, 0.0, 1.0]
            p = [*k[:3], 0.0, *k[3:6], 0.0, *k[6:], 0.0]
            self._info.publish(CameraInfo(header=header, **size, k=k, p=p))
            metres = np.full((now.height, now.width), 2.0, np.float32).tobytes()
            step = 4 * now.width
            self._depth.publish(Image(header=header, **size, encoding="32FC1", step=step, data=array("B", metres)))
        step = channels * now.width
        self._image.publish(Image(header=header, **size, encoding=now.encoding, step=step, data=array("B", pixels)))


def main() -> None:
    """Publish until standard input ends; each line is a JSON object of fields of `Behaviour` to change."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--namespace", default="", help="of its topics (default: none)")
    options = parser.parse_args()
    rclpy.init(args=[])
    camera = Camera(options.namespace)

    def listen() -> None:
        for line in sys.stdin:
            for name, value in json.loads(line).items():
                setattr(camera.behaviour, name, value)
        rclpy.try_shutdown()

    threading.Thread(target=listen, daemon=True).start()
    due_s = time.monotonic()
    while rclpy.ok():
        camera.publish()
        due_s = max(due_s + 1 / camera.behaviour.rate_hz, time.monotonic() - 1)
        rclpy.spin_once(camera, timeout_sec=max(0.0, due_s - time.monotonic()))
        time.sleep(max(0.0, due_s - time.monotonic()))


if __name__ == "__main__":
    main()
