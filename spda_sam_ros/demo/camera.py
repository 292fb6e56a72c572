"""A camera for trying the node: publishes `image`, and from the rendered world `depth` and `camera_info`.

For instance
    camera                                  # the rendered world
    camera --source pictures/ --rate 2      # a folder of images; also a video file, or /dev/video0
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import rclpy
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from spda_sam_ros.demo.frame_sources import Frame, SourceError, open_source, rendered_frames
from spda_sam_ros.messages.results import encode_image

FRAME_ID = "camera_optical_frame"


class Camera(Node):
    """Publishes frames with the time at which they are published as their stamp."""

    def __init__(self) -> None:
        super().__init__("camera")
        qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
        self._image = self.create_publisher(Image, "image", qos)
        self._depth = self.create_publisher(Image, "depth", qos)
        self._info = self.create_publisher(CameraInfo, "camera_info", qos)

    @property
    def subscriber_count(self) -> int:
        """Number of subscriptions that get the image."""
        return int(self._image.get_subscription_count())

    def publish(self, frame: Frame) -> None:
        """Publish what the frame has: always the image, depth and calibration where it has them."""
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id=FRAME_ID)
        if frame.camera_matrix is not None:
            height, width = frame.rgb.shape[:2]
            self._info.publish(_camera_info(header, frame.camera_matrix, height, width))
        if frame.depth_m is not None:
            self._depth.publish(encode_image(frame.depth_m, "32FC1", header))
        self._image.publish(encode_image(frame.rgb, "rgb8", header))


def _camera_info(header: Header, matrix: NDArray[np.float64], height: int, width: int) -> CameraInfo:
    """Describe a pinhole camera without distortion."""
    projection = np.hstack([matrix, np.zeros((3, 1))])
    return CameraInfo(
        header=header,
        height=height,
        width=width,
        distortion_model="plumb_bob",
        d=[0.0] * 5,
        k=matrix.reshape(-1),
        r=np.eye(3).reshape(-1),
        p=projection.reshape(-1),
    )


def _stream(camera: Camera, frames: Iterator[Frame], *, rate_hz: float, subscribers: int) -> None:
    """Publish frames at a steady rate from the moment that enough subscribers are there, until shutdown."""
    while rclpy.ok() and camera.subscriber_count < subscribers:
        time.sleep(0.05)
    due = time.monotonic()
    for frame in frames:
        while (wait_s := due - time.monotonic()) > 0 and rclpy.ok():
            time.sleep(min(wait_s, 0.1))  # in slices, so that Ctrl-C is heard
        if not rclpy.ok():
            return
        camera.publish(frame)
        due = max(due + 1.0 / rate_hz, time.monotonic())  # late frames do not come in a burst afterwards


def _positive(text: str) -> float:
    value = float(text)
    if not 0.0 < value <= 1000.0:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1000")
    return value


def main(arguments: list[str] | None = None) -> int:
    """Run the camera until it is stopped.

    Returns:
        0 when it was stopped, 2 when the source cannot be opened.
    """
    parser = argparse.ArgumentParser(prog="camera", description="Publish pictures as a camera does.")
    parser.add_argument("--source", help="folder, video file or /dev/video* (default: the rendered world)")
    parser.add_argument("--rate", type=_positive, default=5.0, help="frames per second (default: 5)")
    parser.add_argument("--seed", type=int, default=7, help="seed of the rendered world (default: 7)")
    parser.add_argument("--frames", type=int, default=150, help="length of the rendered way (default: 150)")
    parser.add_argument("--cache", type=Path, help="where rendered frames are kept (default: ~/.cache)")
    parser.add_argument(
        "--subscribers", type=int, default=1, help="start when this many subscribe to image (default: 1)"
    )
    raw = sys.argv if arguments is None else ["camera", *arguments]
    options = parser.parse_args(remove_ros_args(raw)[1:])
    try:
        if options.source is None:
            frames = rendered_frames(options.seed, options.frames, cache=options.cache)
        else:
            frames = open_source(options.source)
        rclpy.init(args=raw)
        try:
            _stream(Camera(), frames, rate_hz=options.rate, subscribers=options.subscribers)
        finally:
            rclpy.try_shutdown()
    except KeyboardInterrupt:
        pass
    except SourceError as error:
        print(f"camera: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
