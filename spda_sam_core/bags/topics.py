"""Which topic of a bag is the picture, which its depth, and which its calibration."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from spda_sam_core.bags.recording import Recording, Topic

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
NONE = "none"
"""In place of a topic's name: do without."""


@dataclass(frozen=True)
class Topics:
    """Names of topics.

    Attributes:
        image: None: the only one that there is.
        depth: None: the only one that there is, if any.
        camera_info: None: the one beside the image's topic, or the only one, if any.
    """

    image: str | None = None
    depth: str | None = None
    camera_info: str | None = None


def choose_topics(recording: Recording, given: Topics) -> Topics:
    """Find the topics that were not given.

    Returns:
        `image` is set; `depth` and `camera_info` where there are any and they were not declined.

    Raises:
        ValueError: one that was given is not there or of another type, or several would do.
    """
    there = recording.topics()
    pictures = [topic for topic in there if topic.kind in (IMAGE, COMPRESSED)]
    depths = [topic for topic in pictures if _is_depth(recording, topic)]
    colours = [topic for topic in pictures if topic not in depths]
    infos = [topic for topic in there if topic.kind == CAMERA_INFO]
    where = str(recording.path)
    if given.image is None and not colours:
        raise ValueError(f"{where}: no topic of pictures in there, only {_listed(there) or 'nothing'}")
    image = _one_of(colours, given.image, pictures, there, where, "--image-topic")
    assert image is not None
    depth = _one_of(depths, given.depth, depths, there, where, "--depth-topic", or_none=True)
    beside = f"{_base(image).rpartition('/')[0]}/camera_info"
    own = [topic for topic in infos if topic.name == beside]
    if depth is None and given.camera_info is None and not own:
        return Topics(image.name)  # without depth nothing needs it
    info = _one_of(own or infos, given.camera_info, infos, there, where, "--camera-info-topic", or_none=True)
    return Topics(image.name, depth and depth.name, info and info.name)


def _one_of(
    candidates: list[Topic],
    given: str | None,
    suitable: list[Topic],
    there: list[Topic],
    where: str,
    option: str,
    *,
    or_none: bool = False,
) -> Topic | None:
    if given is not None:
        if or_none and given == NONE:
            return None
        found = [topic for topic in suitable if topic.name == given]
        if found:
            return found[0]
        other = next((f"is {topic.kind}" for topic in there if topic.name == given), "is not in there")
        raise ValueError(f"{where}: {option} {given} {other}: choose from {_listed(suitable) or 'none'}")
    if len(candidates) > 1:
        or_without = f", or {option} {NONE}" if or_none else ""
        raise ValueError(
            f"{where}: several topics would do, choose one with {option}{or_without}: {_listed(candidates)}"
        )
    return candidates[0] if candidates else None


def _is_depth(recording: Recording, topic: Topic) -> bool:
    """By the encoding of its first message: the types are the same."""
    first = recording.first(topic.name)
    if first is None:
        return False
    if topic.kind == COMPRESSED:
        return "compresseddepth" in first.format.lower()
    return first.encoding.upper() in ("32FC1", "16UC1")


def _base(topic: Topic) -> str:
    """The name without the transport, which image_transport puts behind it."""
    return topic.name.rpartition("/")[0] if topic.kind == COMPRESSED else topic.name


def _listed(topics: Iterable[Topic]) -> str:
    return ", ".join(f"{topic.name} ({topic.kind}, {topic.messages})" for topic in topics)
