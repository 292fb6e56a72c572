"""Bags as a robot records them, written by `rosbags`, for tests."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

TYPES = get_typestore(Stores.ROS2_HUMBLE)
FRAME_ID = "camera_optical_frame"
T = TYPES.types


def header(stamp_ns: int, frame_id: str = FRAME_ID) -> Any:
    time = T["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    return T["std_msgs/msg/Header"](stamp=time, frame_id=frame_id)


def image(stamp_ns: int, pixels: np.ndarray, encoding: str, frame_id: str = FRAME_ID) -> Any:
    data = np.ascontiguousarray(pixels).view(np.uint8).reshape(-1)
    return T["sensor_msgs/msg/Image"](
        header=header(stamp_ns, frame_id), height=pixels.shape[0], width=pixels.shape[1], encoding=encoding,
        is_bigendian=0, step=data.size // pixels.shape[0], data=data,
    )  # fmt: skip


def compressed(stamp_ns: int, rgb: np.ndarray) -> Any:
    data = cv2.imencode(".png", rgb[..., ::-1])[1].reshape(-1)
    return T["sensor_msgs/msg/CompressedImage"](header=header(stamp_ns), format="rgb8; png compressed bgr8", data=data)


def compressed_depth(stamp_ns: int, depth_mm: np.ndarray) -> Any:
    data = struct.pack("<iff", 0, 0, 0) + cv2.imencode(".png", depth_mm)[1].tobytes()
    return T["sensor_msgs/msg/CompressedImage"](
        header=header(stamp_ns), format="16UC1; compressedDepth png", data=np.frombuffer(data, np.uint8)
    )


def camera_info(size_hw: tuple[int, int], focal: float, frame_id: str = FRAME_ID) -> Any:
    height, width = size_hw
    cx, cy = (width - 1) / 2, (height - 1) / 2
    return T["sensor_msgs/msg/CameraInfo"](
        header=header(0, frame_id), height=height, width=width, distortion_model="plumb_bob", d=np.zeros(5),
        k=np.array([focal, 0, cx, 0, focal, cy, 0, 0, 1.0]), r=np.eye(3).ravel(),
        p=np.array([focal, 0, cx, 0, 0, focal, cy, 0, 0, 0, 1.0, 0]), binning_x=0, binning_y=0,
        roi=T["sensor_msgs/msg/RegionOfInterest"](x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
    )  # fmt: skip


def write_bag(
    path: Path,
    messages: Iterable[tuple[str, int, Any]],
    *,
    mcap: bool = False,
    raw: Mapping[int, bytes] | None = None,
    compressed_by: CompressionMode = CompressionMode.NONE,
) -> Path:
    """Write topic, time of recording and message; `raw` puts bytes in the place of the n-th message."""
    plugin = StoragePlugin.MCAP if mcap else StoragePlugin.SQLITE3
    bag = Writer(path, version=8, storage_plugin=plugin)
    bag.set_compression(compressed_by, CompressionFormat.ZSTD)
    with bag:
        connections: dict[str, Any] = {}
        for n, (topic, logged_ns, message) in enumerate(messages):
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = bag.add_connection(topic, kind, typestore=TYPES)
            data = bytes(TYPES.serialize_cdr(message, kind))
            bag.write(connections[topic], logged_ns, (raw or {}).get(n, data))
    return path
