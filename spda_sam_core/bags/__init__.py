"""Bags of ROS 2 without ROS, through the package `rosbags`, which is optional.

    recording       the messages of a bag, of as many of its files as can be read
    topics          which topic is the picture, which its depth, which its calibration
    pairing         which depth belongs to which picture
    bag             the pictures of a bag, with their depth
    message_fields  messages that rosbags does not know
    result_bag      a bag with what the node would have published

The modules `bag`, `recording`, `result_bag` and `topics` import rosbags, so ask `require_rosbags` before.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

STORAGE = (".db3", ".mcap")
"""Suffixes of the files of a bag."""
_MARK = b"rosbag2_bagfile_information"


def is_bag(path: Path) -> bool:
    """Whether a path is a bag, or one file of it."""
    if not path.is_dir():
        return path.suffix in STORAGE
    metadata = path / "metadata.yaml"  # others have a file of that name too
    named = metadata.is_file() and _MARK in metadata.read_bytes()
    return named or any(f.suffix in STORAGE for f in path.iterdir())


def require_rosbags() -> None:
    """Say what is missing, before it is missed.

    Raises:
        ImportError: no rosbags.
    """
    if find_spec("rosbags") is None:
        raise ImportError("bags are read and written with the package rosbags: pip install 'rosbags>=0.11,<0.12'")
