"""What an exported file says of itself, read with neither torch nor the package onnx, which robots lack.

An ONNX file is one protobuf message, `ModelProto` (onnx/onnx.proto): entries of text are its field 14,
`metadata_props`, each a message with key (1) and value (2). All other fields are skipped unread, so that a gigabyte of
weights costs nothing. The wire format is protobuf's: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, get_args

from spda_sam_core.results.calibration import Calibration
from spda_sam_core.runtimes.runtime import NetworkInfo
from spda_sam_core.weights.files import CheckpointError, file_sha256

FORMAT = "spda_sam_graph/1"
Precision = Literal["float32", "float16", "int8"]

_METADATA_PROPS = 14
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5  # wire types
_AGAIN = "write it again by spda-sam export"


@dataclass(frozen=True)
class GraphFile:
    """An exported network.

    Attributes:
        path: the ONNX file.
        sha256: hash of the whole file, hexadecimal: of graph and weights.
        info: the network.
        precision: that of most of its sums.
        check: what the network found in the check picture when PyTorch ran it, see
            `spda_sam_core.graph.check_picture`.
    """

    path: Path
    sha256: str
    info: NetworkInfo
    precision: Precision
    check: list[float]

    @classmethod
    def read(cls, path: Path) -> GraphFile:
        """Read what a file says of itself.

        Raises:
            CheckpointError: it cannot be read, is damaged, or was not written by `spda-sam export` of this version.
        """
        entries = read_metadata(path)
        if entries.get("format") != FORMAT:
            raise CheckpointError(
                f"{path}: format is {entries.get('format')!r}, expected {FORMAT!r}: no ONNX file of this version of "
                f"SPDA-SAM; {_AGAIN}"
            )
        try:
            info = NetworkInfo(
                preset=entries["preset"],
                class_names=tuple(json.loads(entries["class_names"])),
                input_size=int(entries["input_size"]),
                reads_depth=bool(json.loads(entries["reads_depth"])),
                checkpoint_sha256=entries.get("checkpoint_sha256", ""),
                calibration=Calibration.from_dict(json.loads(entries.get("calibration", "{}"))),
                terms=tuple(json.loads(entries.get("terms", "[]"))),
            )
            info.calibration.check_classes(len(info.class_names))
            precision = entries["precision"]
            if precision not in get_args(Precision):
                raise ValueError(f"precision {precision!r}")
            check = [float(value) for value in json.loads(entries["check"])]
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path}: what it says of itself cannot be used ({error}): {_AGAIN}") from error
        return cls(path, file_sha256(path), info, precision, check)  # type: ignore[arg-type]  # checked above


def read_metadata(path: Path) -> dict[str, str]:
    """The text entries of an ONNX file.

    Raises:
        CheckpointError: it cannot be read, is no protobuf message, or ends too early.
    """
    entries: dict[str, str] = {}
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            for field, start, length in _fields(file, size):
                if field == _METADATA_PROPS:
                    file.seek(start)
                    entry = dict(_texts(file.read(length)))
                    entries[entry.get(1, "")] = entry.get(2, "")
                file.seek(start + length)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}): check path and permissions") from error
    except ValueError as error:
        raise CheckpointError(f"{path}: no ONNX file, or damaged ({error}): copy it again, or {_AGAIN}") from error
    return entries


def _fields(file: BinaryIO, size: int) -> Iterator[tuple[int, int, int]]:
    """Number, start and length of each field; the reader must go to the field's end before the next."""
    while file.tell() < size:
        key = _varint(file)
        kind = key & 7
        if kind == _VARINT:
            _varint(file)
            continue
        if kind not in (_FIXED64, _LENGTH, _FIXED32):
            raise ValueError(f"wire type {kind} at byte {file.tell()}")
        length = {_FIXED64: 8, _FIXED32: 4}.get(kind) or _varint(file)
        if file.tell() + length > size:
            raise ValueError(f"truncated: {size} bytes, at least {file.tell() + length} are needed")
        yield key >> 3, file.tell(), length


def _texts(message: bytes) -> Iterator[tuple[int, str]]:
    """Number and text of the fields of a message that has nothing but texts."""
    file = io.BytesIO(message)
    for field, start, length in _fields(file, len(message)):
        file.seek(start)
        yield field, file.read(length).decode()


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise ValueError("it ends within a number")
        value |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return value
    raise ValueError(f"a number of over 64 bits at byte {file.tell()}")
