"""Time from /clock, where `use_sim_time` asks for it."""

from __future__ import annotations

from rclpy.clock import Clock, ROSClock


def clock_waits(clock: Clock) -> bool:
    """Whether simulated time is asked for and has not begun: until the first message on /clock it is 0."""
    return isinstance(clock, ROSClock) and bool(clock.ros_time_is_active) and clock.now().nanoseconds == 0
