"""Messages that DDS loses between two processes, and what helps. Imports no node."""

from __future__ import annotations

import os
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from rclpy.utilities import get_rmw_implementation_identifier

PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
"""Where Fast DDS looks for its profile: up to Jazzy, and from Kilted on."""
_FILE = "fastdds_large_images.xml"


def shipped_profile() -> Path:
    """Return the profile for large images, of the repository that this file lies in or of the installed package."""
    here = Path(__file__).resolve().parents[1] / "config" / _FILE
    if here.is_file():
        return here
    try:
        return Path(get_package_share_directory("spda_sam_ros")) / "config" / _FILE
    except PackageNotFoundError:
        return Path("share/spda_sam_ros/config") / _FILE


def remedy() -> str:
    """Return what helps against losses with the middleware of this process, in one sentence."""
    between = "between machines, take image_transport compressed"
    middleware = get_rmw_implementation_identifier()
    if "fastrtps" not in middleware:
        return f"on one machine, give {middleware} larger buffers, see docs/robots.md; {between}"
    own = next((path for name in PROFILE_VARIABLES if (path := os.environ.get(name))), None)
    names = " or, from Kilted on, ".join(PROFILE_VARIABLES)
    if own is not None:
        return (
            f"this node has the Fast DDS profile {own}, but the camera needs it too: set {names} to it where the "
            f"camera is started; {between}"
        )
    return (
        f"the shared memory of Fast DDS is too small for large images: set {names} to {shipped_profile()} for this "
        f"node, as the launch file does, and the camera needs it too; {between}"
    )
