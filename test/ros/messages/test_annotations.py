"""What Foxglove draws: outlines where masks are, in its coordinates, and a name to each thing."""

import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from std_msgs.msg import Header

from spda_sam_core.results.draw import class_colour
from spda_sam_core.results.instances import Instances

annotations = pytest.importorskip("spda_sam_ros.messages.annotations", reason="foxglove_msgs is not installed")
HEADER = Header(stamp=Time(sec=12, nanosec=34), frame_id="camera_optical_frame")


def instances():
    masks = np.zeros((2, 80, 100), np.bool_)
    masks[0, 30:50, 40:60] = True
    masks[1, 60:70, 5:25] = masks[1, 60:70, 50:90] = True
    boxes = np.array([[40, 30, 60, 50], [5, 60, 90, 70]], np.float32)
    return Instances(masks, boxes, np.array([0.9, 0.5], np.float32), np.array([1, 0]), ("anode", "ship_hull"))


def test_each_part_of_a_mask_is_outlined_in_pixels_from_the_corner_of_the_image_in_the_colour_of_its_class():
    message = annotations.annotations_message(instances(), HEADER)
    assert len(message.points) == 3
    covered = np.zeros((80, 100), np.uint8)
    for outline in message.points:
        assert outline.timestamp == HEADER.stamp
        assert outline.type == outline.LINE_LOOP
        corners = np.array([(p.x, p.y) for p in outline.points])
        # the middles of pixels lie at halves there, in OpenCV at whole numbers
        cv2.fillPoly(covered, [np.round((corners - 0.5) * 16).astype(np.int32)], 1, shift=4)
    wrong = (covered > 0) != instances().masks.any(axis=0)
    assert wrong.sum() <= 0.1 * instances().masks.sum()
    xs, ys = zip(*((p.x, p.y) for p in message.points[0].points), strict=True)
    assert (min(xs), min(ys), max(xs), max(ys)) == pytest.approx((40, 30, 60, 50), abs=0.2)
    colour = message.points[0].outline_color
    assert (colour.r * 255, colour.g * 255, colour.b * 255, colour.a) == pytest.approx((*class_colour(1), 1.0))
    assert 0 < message.points[0].fill_color.a < 1


def test_each_thing_has_one_text_with_what_it_is_and_its_number_where_it_is_followed():
    texts = annotations.annotations_message(instances(), HEADER).texts
    assert [text.text for text in texts] == ["ship_hull 0.90", "anode 0.50"]
    assert [(text.position.x, text.position.y) for text in texts] == [(40.0, 30.0), (5.0, 60.0)]
    followed = annotations.annotations_message(instances(), HEADER, track_ids=(7, 12)).texts
    assert [text.text for text in followed] == ["#7 ship_hull 0.90", "#12 anode 0.50"]


def test_an_image_without_instances_clears_what_was_drawn_at_its_time():
    message = annotations.annotations_message(Instances.empty(80, 100, ("anode",)), HEADER)
    assert not message.points
    assert not message.texts
    assert getattr(message, "timestamp", HEADER.stamp) == HEADER.stamp
