"""What `label_info` tells a subscriber."""

import pytest
from std_msgs.msg import Header

from spda_sam_ros.messages.results import label_info_message

CLASSES = ("anode", "propeller", "ship_hull")


def test_label_info_lists_all_classes_and_the_threshold():
    message = label_info_message(CLASSES, 0.25, Header())
    assert [(c.class_id, c.class_name) for c in message.class_map] == list(enumerate(CLASSES))
    assert message.threshold == pytest.approx(0.25)
