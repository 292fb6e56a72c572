"""The classes of the model as the standard message that says what ids and names mean."""

from __future__ import annotations

from collections.abc import Sequence

from std_msgs.msg import Header
from vision_msgs.msg import LabelInfo, VisionClass


def label_info_message(class_names: Sequence[str], score_threshold: float, header: Header) -> LabelInfo:
    """Make the list of all classes of the model, ids from 0, and the threshold in use."""
    classes = [VisionClass(class_id=i, class_name=name) for i, name in enumerate(class_names)]
    return LabelInfo(header=header, class_map=classes, threshold=score_threshold)
