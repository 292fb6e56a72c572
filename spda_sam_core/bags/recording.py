"""The messages of a bag, of as many of its files as can be read."""

from __future__ import annotations

import struct
import sys
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import yaml
from rosbags.rosbag2 import Reader, ReaderError
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, get_typestore

from spda_sam_core.bags import STORAGE

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

DAMAGE: tuple[type[Exception], ...] = (
    ReaderError, SerdeError, apsw.Error, struct.error, zstd.ZstdError, ArithmeticError, AssertionError, EOFError,
    LookupError, MemoryError, OSError, RuntimeError, TypeError, ValueError,
)  # fmt: skip
"""What `rosbags` and what it reads with raise at files and messages that are damaged; it promises no less."""


class Topic(NamedTuple):
    """One topic of a bag.

    Attributes:
        name: of it.
        kind: name of its messages' type, such as "sensor_msgs/msg/Image".
        messages: how many of them the bag says that it has.
    """

    name: str
    kind: str
    messages: int


class Message(NamedTuple):
    """One message, not yet decoded.

    Attributes:
        topic: name of its topic.
        kind: name of its type.
        logged_ns: when it was recorded, nanoseconds since 1970.
        raw: as it was on the wire (CDR).
    """

    topic: str
    kind: str
    logged_ns: int
    raw: bytes


class Recording:
    """Opens a bag: a folder with or without `metadata.yaml`, or one of its files.

    A file that is damaged or missing is left out and named in `problems`; so is the rest of one in which reading stops.

    Args:
        path: the folder or the file.

    Attributes:
        problems: what could not be read.

    Raises:
        ValueError: nothing in there can be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems: list[str] = []
        # the messages that are read here are the same in all distributions since Foxy; old bags carry no definitions
        self._types = get_typestore(Stores.ROS2_HUMBLE)
        self._readers: list[Reader] = []
        for part in _parts(path, self.problems):
            reader = Reader(part)
            try:
                reader.open()
            except DAMAGE as error:
                self.problems.append(f"{part}: left out, it is damaged or was never closed: {error}")
                continue
            self._readers.append(reader)
        if not self._readers:
            raise ValueError(
                f"{path}: no bag that can be read: {'; '.join(self.problems) or 'it holds no file'}: repair it with "
                "'ros2 bag reindex', or 'mcap recover' for .mcap"
            )
        self._readers.sort(key=lambda reader: reader.start_time)

    def close(self) -> None:
        """Close its files."""
        for reader in self._readers:
            reader.close()

    def topics(self) -> list[Topic]:
        """All topics that hold a message, by name."""
        counts: dict[tuple[str, str], int] = {}
        for reader in self._readers:
            for connection in reader.connections:
                key = connection.topic, connection.msgtype
                counts[key] = counts.get(key, 0) + connection.msgcount
        return [Topic(name, kind, count) for (name, kind), count in sorted(counts.items()) if count]

    def seconds(self) -> float:
        """From the first message to the last."""
        return (max(r.end_time for r in self._readers) - min(r.start_time for r in self._readers)) / 1e9

    def messages(self, topics: Collection[str]) -> Iterator[Message]:
        """The messages of some topics, in the order in which they were recorded."""
        for reader in self._readers:
            connections = [c for c in reader.connections if c.topic in topics]
            if not connections:  # for rosbags that would be all
                continue
            try:
                for connection, logged_ns, raw in reader.messages(connections):
                    yield Message(connection.topic, connection.msgtype, logged_ns, raw)
            except DAMAGE as error:
                problem = f"{reader.path}: damaged, what follows in it is left out: {error}"
                if problem not in self.problems:  # it is read more than once
                    self.problems.append(problem)

    def first(self, topic: str) -> Any | None:
        """The first message of a topic that can be decoded, with its fields."""
        for message in self.messages({topic}):
            with suppress(ValueError):
                return self.decode(message)
        return None

    def decode(self, message: Message) -> Any:
        """The message with its fields.

        Raises:
            ValueError: damaged, or of another type than it says.
        """
        try:
            return self._types.deserialize_cdr(message.raw, message.kind)
        except DAMAGE as error:
            raise ValueError(f"{len(message.raw)} bytes are no {message.kind}: {error}") from error


def _parts(path: Path, problems: list[str]) -> list[Path]:
    """What to open, one by one: so that one damaged file is not the end of all."""
    if path.is_file():
        return [path]
    there = sorted(f for f in path.iterdir() if f.suffix in STORAGE)
    try:
        metadata = yaml.safe_load((path / "metadata.yaml").read_text(encoding="utf-8"))["rosbag2_bagfile_information"]
        if str(metadata.get("compression_mode") or "none").lower() != "none":
            return [path]  # only the folder's reader knows how its files are compressed
        missing = sorted({Path(name).name for name in metadata["relative_file_paths"]} - {f.name for f in there})
    except (OSError, ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError) as error:
        problems.append(f"{path / 'metadata.yaml'}: not used: {' '.join(str(error).split())}")
        return there
    problems += [f"{path / name}: missing, though metadata.yaml names it" for name in missing]
    return there
