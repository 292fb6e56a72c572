"""Results as messages of ROS; what is decided about messages is decided in `spda_sam_core.messages`."""
