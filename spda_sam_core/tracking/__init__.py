"""The same thing under the same number over time: `camera_motion` (how the view moved) before `tracker`. No ROS."""
