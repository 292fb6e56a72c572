"""Records what the node makes of a camera: overlay pictures, a contact sheet, and numbers.

For instance
    recorder --out demo_out --duration 60
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import Image
from tqdm import tqdm
from vision_msgs.msg import BoundingBox2D, Detection2D, Detection2DArray, LabelInfo, ObjectHypothesis

from spda_sam_core.messages.image import decode_image, read_pixels
from spda_sam_core.picture_file import write_picture
from spda_sam_core.results.draw import contact_sheet, draw_instances
from spda_sam_core.results.instances import Instances
from spda_sam_ros.demo.run_statistics import EvenSample, RunStatistics, format_summary

_WAIT_FOR_LAST_S = 2.0
"""How long masks of the last frames may take after counting stopped."""

_MAX_PENDING = 20
"""Incomplete shots held; beyond it the oldest is given up."""

_BAR = "{desc}: {percentage:3.0f}%|{bar}| {n}/{total} s{postfix}"


@dataclass(frozen=True)
class Shot:
    """An image and the node's two results for it: three messages of one stamp."""

    image: Image
    labels: Image
    detections: Detection2DArray


def _stamp_ns(stamp: Time) -> int:
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


class Recorder(Node):
    """Subscribes to the camera and to the node's results, and keeps a few shots spread over the run.

    Attributes:
        statistics: what came so far.
        counting: whether images still count; results of counted images always do.
        class_names: all classes of the node's model.
        shots: some of the images with their results.

    Args:
        pictures: how many shots to keep.
    """

    def __init__(self, pictures: int) -> None:
        super().__init__("recorder")
        self.statistics = RunStatistics()
        self.counting = True
        self.shots: EvenSample[Shot] = EvenSample(pictures)
        self.class_names: tuple[str, ...] = ()
        self._pending: dict[int, dict[str, Any]] = {}
        # reliable and deep, unlike a robot's subscribers: a recorder wants every frame
        qos = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
        self.create_subscription(Image, "image", self._on_image, qos)
        self.create_subscription(Image, "spda_sam/instances", self._on_labels, qos)
        self.create_subscription(Detection2DArray, "spda_sam/detections", self._on_detections, qos)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(LabelInfo, "spda_sam/label_info", self._on_label_info, latched)

    def _on_image(self, message: Image) -> None:
        if self.counting:
            stamp_ns = _stamp_ns(message.header.stamp)
            self.statistics.add_image(stamp_ns)
            self._collect(stamp_ns, image=message)

    def _on_labels(self, message: Image) -> None:
        stamp_ns = _stamp_ns(message.header.stamp)
        self.statistics.add_label_image(stamp_ns, self.get_clock().now().nanoseconds)
        self._collect(stamp_ns, labels=message)

    def _on_detections(self, message: Detection2DArray) -> None:
        stamp_ns = _stamp_ns(message.header.stamp)
        class_names = [_best(detection).class_id for detection in message.detections]
        self.statistics.add_detections(stamp_ns, class_names)
        self._collect(stamp_ns, detections=message)

    def _on_label_info(self, message: LabelInfo) -> None:
        self.class_names = tuple(c.class_name for c in message.class_map)

    def _collect(self, stamp_ns: int, **message: Any) -> None:
        if stamp_ns not in self._pending and len(self._pending) >= _MAX_PENDING:
            del self._pending[min(self._pending)]  # a frame that the node dropped
        parts = self._pending.setdefault(stamp_ns, {})
        parts.update(message)
        if len(parts) == 3:
            self.shots.add(Shot(**self._pending.pop(stamp_ns)))


def _best(detection: Detection2D) -> ObjectHypothesis:
    return detection.results[0].hypothesis


def to_instances(labels: Image, detections: Detection2DArray, class_names: tuple[str, ...]) -> Instances:
    """Read the node's two result messages back.

    Args:
        labels: mono16 label image; k is `detections.detections[k - 1]`.
        detections: boxes, class names and scores.
        class_names: all classes of the model.
    """
    label = read_pixels(labels, np.uint16, 1)
    best = [_best(detection) for detection in detections.detections]
    numbers = np.arange(1, len(best) + 1).reshape(-1, 1, 1)
    return Instances(
        masks=label[None] == numbers,
        boxes_xyxy=np.array([_box_xyxy(d.bbox) for d in detections.detections], np.float32).reshape(-1, 4),
        scores=np.array([h.score for h in best], np.float32),
        class_ids=np.array([class_names.index(h.class_id) for h in best], np.int64),
        class_names=class_names,
    )


def _box_xyxy(box: BoundingBox2D) -> tuple[float, float, float, float]:
    x, y = box.center.position.x, box.center.position.y
    return x - box.size_x / 2, y - box.size_y / 2, x + box.size_x / 2, y + box.size_y / 2


def write_results(out: Path, recorder: Recorder) -> None:
    """Write `summary.json`, `overlays/*.png` and `contact_sheet.png` into a folder, replacing older ones.

    Raises:
        OSError: one of them cannot be written, as where the disk is full.
    """
    out.mkdir(parents=True, exist_ok=True)
    for stale in [out / "contact_sheet.png", *out.glob("overlays/*.png")]:
        stale.unlink(missing_ok=True)
    summary = json.dumps(recorder.statistics.summary(), indent=2)
    (out / "summary.json").write_text(summary + "\n", encoding="utf-8")
    shots = recorder.shots.spread()
    if not shots:
        return
    overlays = [
        draw_instances(decode_image(s.image), to_instances(s.labels, s.detections, recorder.class_names)) for s in shots
    ]
    stamps_ns = [_stamp_ns(shot.image.header.stamp) for shot in shots]
    titles = [f"{(stamp_ns - stamps_ns[0]) / 1e9:.1f} s" for stamp_ns in stamps_ns]
    for i, overlay in enumerate(overlays):
        write_picture(out / f"overlays/{i:03d}.png", cv2.cvtColor(overlay, cv2.COLOR_RGB2BGR))
    sheet = contact_sheet(overlays, columns=min(4, len(overlays)), titles=titles)
    write_picture(out / "contact_sheet.png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))


def _record(recorder: Recorder, *, duration_s: float, timeout_s: float) -> None:
    """Spin until `duration_s` after the first mask, or until `timeout_s` brought none, or Ctrl-C."""
    executor = SingleThreadedExecutor()
    executor.add_node(recorder)
    began = time.monotonic()
    first: float | None = None
    with tqdm(total=round(duration_s), desc="recording", bar_format=_BAR, mininterval=0.5) as bar:
        while True:
            executor.spin_once(timeout_sec=0.1)
            statistics = recorder.statistics
            now = time.monotonic()
            if first is None:
                if statistics.frames_out:
                    first = now
                elif now - began > timeout_s:
                    return
                continue
            bar.n = min(int(now - first), bar.total)
            bar.set_postfix_str(f"{statistics.frames_in} in, {statistics.frames_out} out", refresh=False)
            bar.update(0)
            recorder.counting = now - first < duration_s
            too_late = now - first > duration_s + _WAIT_FOR_LAST_S
            if not recorder.counting and (too_late or not statistics.unanswered):
                return


def main(arguments: list[str] | None = None) -> int:
    """Record, write, print.

    Returns:
        0, or 1 when no mask arrived or something could not be written.
    """
    parser = argparse.ArgumentParser(prog="recorder", description="Record images and what the node finds.")
    parser.add_argument("--out", type=Path, default=Path("demo_out"), help="folder (default: demo_out)")
    parser.add_argument("--duration", type=float, default=60.0, help="seconds from the first mask (default: 60)")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds to wait for it (default: 120)")
    parser.add_argument("--pictures", type=int, default=12, help="overlays to write (default: 12)")
    raw = sys.argv if arguments is None else ["recorder", *arguments]
    options = parser.parse_args(remove_ros_args(raw)[1:])
    rclpy.init(args=raw)
    recorder = Recorder(options.pictures)
    try:
        _record(recorder, duration_s=options.duration, timeout_s=options.timeout)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass  # what was recorded until now is written
    finally:
        rclpy.try_shutdown()
    summary = recorder.statistics.summary()
    print(format_summary(summary))
    try:
        write_results(options.out, recorder)
    except OSError as error:
        print(
            f"recorder: not all of {options.out} could be written ({error}): free space there, or give another folder "
            "by --out",
            file=sys.stderr,
        )
        return 1
    if not summary["instances"]:
        print(
            f"recorder: no mask in {summary['frames_out']} label images for {summary['frames_in']} images: "
            "is the node active, does it hear this image topic, is its score threshold too high?",
            file=sys.stderr,
        )
        return 1
    print(f"wrote {options.out}/contact_sheet.png, {options.out}/overlays/ and {options.out}/summary.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
