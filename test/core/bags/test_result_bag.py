"""What is written is what the node publishes: read back, pixel k of the label image is `detections[k - 1]`."""

from __future__ import annotations

from pathlib import Path

import bag_file
import numpy as np
import pytest
import yaml
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from spda_sam_core.bags.message_fields import FIELDS
from spda_sam_core.bags.result_bag import ResultBag
from spda_sam_core.results.instances import Instances
from spda_sam_core.results.metric import Pinhole

INTERFACES = Path(__file__).resolve().parents[2] / "interfaces/vision_msgs/msg"
CLASSES = ("anode", "propeller", "ship_hull")
SIZE_HW = (12, 16)


def instances() -> Instances:
    masks = np.zeros((2, *SIZE_HW), bool)
    masks[0, 1:6, 2:9] = True
    masks[1, 4:10, 6:14] = True  # overlaps the first
    boxes = np.array([[2, 1, 9, 6], [6, 4, 14, 10]], np.float32)
    return Instances(masks, boxes, np.array([0.9, 0.5], np.float32), np.array([2, 0], np.int64), CLASSES)


def read_back(path: Path) -> dict[str, list]:
    """Messages by topic, with the message definitions of the interface package."""
    types = get_typestore(Stores.ROS2_HUMBLE)
    for file in INTERFACES.glob("*.msg"):
        types.register(get_types_from_msg(file.read_text(), f"vision_msgs/msg/{file.stem}"))
    found: dict[str, list] = {}
    with Reader(path) as reader:
        for connection, logged_ns, raw in reader.messages():
            message = types.deserialize_cdr(raw, connection.msgtype)
            found.setdefault(connection.topic, []).append((logged_ns, message))
    return found


def labels_of(message) -> np.ndarray:
    assert message.encoding == "mono16"
    return message.data.view(np.uint16).reshape(message.height, message.width)


def test_the_fields_are_those_of_the_interface_package() -> None:
    for name, fields in FIELDS.items():
        lines = (INTERFACES / f"{name.rsplit('/', 1)[1]}.msg").read_text().splitlines()
        assert list(fields) == [line for line in lines if line and not line.startswith("#")], name


def test_labels_and_detections_come_back_aligned_under_the_header_of_the_picture(tmp_path) -> None:
    camera = Pinhole(10.0, 10.0, 7.5, 5.5)
    bag = ResultBag(tmp_path / "bag", CLASSES, 0.3, camera)
    header = bag_file.header(12_000_000_034)
    bag.add(header, 99, instances(), [7, 4], np.full(SIZE_HW, 2.0, np.float32))
    empty = Instances.empty(*SIZE_HW, CLASSES)
    bag.add(bag_file.header(13_000_000_000), 100, empty, [], None)
    bag.close()
    found = read_back(tmp_path / "bag")
    ((logged_ns, labels), (_, nothing)) = found["/spda_sam/instances"]
    assert logged_ns == 99
    assert (labels.header.stamp.sec, labels.header.stamp.nanosec) == (12, 34)
    assert labels.header.frame_id == bag_file.FRAME_ID
    np.testing.assert_array_equal(labels_of(labels), instances().to_label_image())
    assert not labels_of(nothing).any()
    ((_, array), (_, none)) = found["/spda_sam/detections"]
    assert none.detections == []
    assert [d.id for d in array.detections] == ["7", "4"]
    for k, detection in enumerate(array.detections, start=1):
        hypothesis = detection.results[0].hypothesis
        assert hypothesis.class_id == CLASSES[instances().class_ids[k - 1]]
        assert hypothesis.score == pytest.approx(instances().scores[k - 1])
        ys, xs = np.nonzero(labels_of(labels) == k)
        centre, box = detection.bbox.center.position, detection.bbox
        assert abs(xs + 0.5 - centre.x).max() <= box.size_x / 2
        assert abs(ys + 0.5 - centre.y).max() <= box.size_y / 2
        assert detection.results[0].pose.pose.position.z == pytest.approx(2.0)
    ((_, info),) = found["/spda_sam/label_info"]
    assert [(c.class_id, c.class_name) for c in info.class_map] == list(enumerate(CLASSES))


def test_humble_can_read_its_metadata(tmp_path) -> None:
    bag = ResultBag(tmp_path / "bag", CLASSES, 0.3, None)
    bag.add(bag_file.header(1), 1, instances(), [1, 2], None)
    bag.close()
    metadata = yaml.safe_load((tmp_path / "bag/metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert (metadata["version"], metadata["storage_identifier"]) == (8, "sqlite3")
    for topic in metadata["topics_with_message_count"]:  # text, and no list as from version 9 on
        assert isinstance(topic["topic_metadata"]["offered_qos_profiles"], str)
    latched = {t["topic_metadata"]["name"]: t["topic_metadata"]["offered_qos_profiles"] for t in
               metadata["topics_with_message_count"]}  # fmt: skip
    assert yaml.safe_load(latched["/spda_sam/label_info"])[0]["durability"] == 1


def test_label_images_take_little_room(tmp_path) -> None:
    bag = ResultBag(tmp_path / "bag", CLASSES, 0.3, None)
    masks = np.zeros((1, 720, 1280), bool)
    masks[0, 100:400, 200:800] = True
    box = np.array([[200, 100, 800, 400]], np.float32)
    found = Instances(masks, box, np.array([0.9], np.float32), np.array([0], np.int64), CLASSES)
    for i in range(10):
        bag.add(bag_file.header(i), i, found, [1], None)
    bag.close()
    assert (tmp_path / "bag/bag.db3").stat().st_size < 10 * 720 * 1280 * 2 / 50
