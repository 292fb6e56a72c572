"""Area and place of instances as a point cloud, read back by field names and offsets as any subscriber would."""

import math
import struct

import numpy as np
import pytest
from sensor_msgs.msg import PointField
from std_msgs.msg import Header

from spda_sam_core.results.instances import Instances
from spda_sam_core.results.metric import Pinhole
from spda_sam_ros.messages.measurements import measurements_message

CAMERA = Pinhole(100.0, 100.0, 49.5, 39.5)


def read(message):
    """The points, each a dictionary."""
    codes = {PointField.FLOAT32: "f", PointField.UINT32: "I"}
    data = message.data.tobytes()
    return [
        {
            f.name: struct.unpack_from("<" + codes[f.datatype], data, i * message.point_step + f.offset)[0]
            for f in message.fields
        }
        for i in range(message.width * message.height)
    ]


def instances_of(*boxes):
    masks = np.zeros((len(boxes), 80, 100), np.bool_)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return Instances.of_labels(masks, np.zeros(len(boxes), np.int64), ("anode",))


def test_each_instance_with_depth_is_a_point_with_area_and_label():
    depth = np.full((80, 100), 2.0, np.float32)
    depth[:, :30] = np.nan
    header = Header(frame_id="camera_optical")
    header.stamp.sec = 5
    found = instances_of((40, 30, 60, 50), (0, 0, 20, 20), (80, 10, 90, 30))
    message = measurements_message(found, header, depth_m=depth, camera=CAMERA)
    assert (message.header, message.height, message.is_dense) == (header, 1, True)
    assert message.row_step == message.point_step * message.width == len(message.data)
    first, second = read(message)
    assert [first["label"], second["label"]] == [1, 3]  # the second has no depth at all
    assert [first[axis] for axis in "xyz"] == pytest.approx([0, 0, 2.0], abs=1e-6)
    assert second["x"] == pytest.approx((84.5 - 49.5) / 100 * 2)
    assert first["area_m2"] == pytest.approx(20 * 20 * (2.0 / 100) ** 2, rel=1e-3)


def test_an_area_that_depth_does_not_tell_is_not_a_number():
    depth = np.full((80, 100), np.nan, np.float32)
    depth[45, 45] = 2.0
    message = measurements_message(instances_of((40, 30, 60, 50)), Header(), depth_m=depth, camera=CAMERA)
    (point,) = read(message)
    assert math.isnan(point["area_m2"])
    assert point["z"] == pytest.approx(2.0)
    assert not message.is_dense


def test_no_instance_is_an_empty_cloud_with_its_fields():
    nothing = Instances.empty(80, 100, ("anode",))
    message = measurements_message(nothing, Header(), depth_m=np.ones((80, 100), np.float32), camera=CAMERA)
    assert (message.width, len(message.data), message.is_dense) == (0, 0, True)
    assert [field.name for field in message.fields] == ["x", "y", "z", "area_m2", "label"]
