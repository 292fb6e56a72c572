"""What `spda-sam doctor` says about ROS 2. Imports it only when asked: a machine may have none."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator

from spda_sam_core.cli.doctor import ABSENT, BROKEN, GOOD, Finding, tried


def examine() -> Iterator[Finding]:
    """Distribution, middleware and the messages that are published."""
    if importlib.util.find_spec("rclpy") is None:
        fix = "no rclpy: source /opt/ros/<distribution>/setup.bash; without the node it is not needed"
        yield Finding("ROS 2", ABSENT, fix)
        return
    yield tried("ROS 2", _distribution)
    if importlib.util.find_spec("vision_msgs") is None:
        yield Finding("vision_msgs", BROKEN, "sudo apt install ros-$ROS_DISTRO-vision-msgs")
    else:
        yield Finding("vision_msgs", GOOD, "there")
    if importlib.util.find_spec("foxglove_msgs") is None:
        fix = "sudo apt install ros-$ROS_DISTRO-foxglove-msgs; without it the node has no ~/annotations"
        yield Finding("foxglove_msgs", ABSENT, fix)
    else:
        yield Finding("foxglove_msgs", GOOD, "there")


def _distribution() -> str:
    from rclpy.utilities import get_rmw_implementation_identifier

    distribution = os.environ.get("ROS_DISTRO", "no ROS_DISTRO: rclpy from wheels")
    return f"{distribution}, {get_rmw_implementation_identifier()}"
