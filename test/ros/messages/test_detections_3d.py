"""Detections in space: what, which and in which order is as in the image; where is a box in the optical frame."""

import numpy as np
import pytest
from std_msgs.msg import Header

from spda_sam_core.results.instances import Instances
from spda_sam_core.results.metric import Pinhole
from spda_sam_ros.messages.detections_3d import detections_3d_message
from spda_sam_ros.messages.results import detections_message

CAMERA = Pinhole(100.0, 100.0, 49.5, 39.5)


def test_each_detection_has_its_place_and_where_depth_is_known_its_box():
    masks = np.zeros((3, 80, 100), np.bool_)
    masks[0, 30:50, 40:60] = True
    masks[1, :10, :10] = True
    masks[2, 60:70, 50:90] = True
    depth = np.full((80, 100), 2.0, np.float32)
    depth[:10, :10] = np.nan
    depth[60:70] = 4.0
    instances = Instances.of_labels(masks, np.array([0, 1, 1]), ("anode", "ship_hull"))
    header = Header(frame_id="camera_optical_frame")
    in_image = detections_message(instances, header, depth_m=depth, camera=CAMERA, track_ids=(7, 8, 9))
    message = detections_3d_message(in_image, instances, depth_m=depth, camera=CAMERA)
    assert message.header == header
    assert [d.id for d in message.detections] == ["7", "8", "9"]
    assert [d.results for d in message.detections] == [d.results for d in in_image.detections]
    assert {d.header.frame_id for d in message.detections} == {"camera_optical_frame"}
    near, unknown, far = (d.bbox for d in message.detections)
    assert (near.size.x, near.size.y, near.size.z) == pytest.approx((0.4, 0.4, 0.0))
    assert (near.center.position.x, near.center.position.y) == pytest.approx((0.0, 0.0))
    assert (near.center.position.z, near.center.orientation.w) == (2.0, 1.0)
    assert (far.size.x, far.size.y, far.center.position.z) == pytest.approx((1.6, 0.4, 4.0))
    assert (unknown.size.x, unknown.size.y, unknown.size.z, unknown.center.position.z) == (0, 0, 0, 0)
    assert message.detections[1].results[0].pose.covariance[0] == -1
