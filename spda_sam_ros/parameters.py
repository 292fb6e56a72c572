"""The node's parameters: one table with defaults, ranges and descriptions, and the rules for changing them.

`Settings` is the table. A snapshot of it is replaced as a whole, so a frame never sees half a change.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException
from rclpy.node import Node

from spda_sam_core.runtimes.backends import BACKENDS

_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")
_CAMERA = re.compile(r"[A-Za-z_]\w*(/[A-Za-z_]\w*)*", re.ASCII)


def _parameter(
    default: Any,
    description: str,
    *,
    live: bool = False,
    limits: tuple[float, float] | None = None,
    choices: tuple[str, ...] | None = None,
    example: str = "",
) -> Any:
    """Return one row of the table; `live` parameters may change while the node is configured."""
    metadata = {"description": description, "live": live, "limits": limits, "choices": choices, "example": example}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """All parameters of the node, checked.

    Raises:
        ValueError: a value out of its range or choices, or two that contradict each other.
    """

    autostart: bool = _parameter(
        True, "configure and activate at start; else wait for lifecycle transitions (read at start only)"
    )
    checkpoint: str = _parameter(
        "tiny", "shipped preset, or path of a .safetensors checkpoint or of an .onnx file of spda-sam export"
    )
    backend: str = _parameter(
        "auto",
        "what runs the network; auto: the fastest here, measured at the first start",
        choices=("auto", *BACKENDS),
    )
    device: str = _parameter("auto", "auto (CUDA where there is one), cpu, cuda or cuda:N")
    num_threads: int = _parameter(0, "CPU threads of the network; 0 leaves it to the backend", limits=(0, 256))
    depth_estimator: str = _parameter(
        "", "Depth Anything V2 in the place of the network's own estimate: a .pth file or a folder; empty: its own"
    )
    cameras: tuple[str, ...] = _parameter(
        ("",),
        "names of several cameras, each with <name>/image, <name>/depth, <name>/camera_info in and "
        "<name>/spda_sam/instances, ... out, all served by one model in turn; empty strings count for nothing; "
        "[] is one camera without a name",
        example="['front', 'port']; [] is one camera without a name",
    )
    image_transport: str = _parameter("raw", "how images arrive", choices=("raw", "compressed"))
    depth_transport: str = _parameter("raw", "how depth arrives", choices=("raw", "compressedDepth"))
    score_threshold: float = _parameter(0.3, "lowest score to publish", live=True, limits=(0.0, 1.0))
    class_filter: tuple[str, ...] = _parameter(
        ("",),
        "names of the classes to publish; empty strings count for nothing; [] is all",
        live=True,
        example="['anode', 'ship_hull']; [] is all",
    )
    depth_policy: str = _parameter(
        "estimate",
        "for an image without usable depth: estimate depth, segment by colour only, or drop the image",
        live=True,
        choices=("estimate", "rgb_only", "drop"),
    )
    depth_slop_s: float = _parameter(
        0.0,
        "largest stamp difference of a pair [s]; 0 is half the image period, at most 0.1 s",
        live=True,
        limits=(0.0, 10.0),
    )
    depth_wait_s: float = _parameter(
        0.1, "how long an image waits for depth of a running stream [s]", live=True, limits=(0.0, 5.0)
    )
    max_age_s: float = _parameter(
        0.0,
        "drop images older than this by the node's clock [s]; 0 is no limit",
        live=True,
        limits=(0.0, 3600.0),
    )
    max_rate_hz: float = _parameter(
        0.0, "segment each camera at most this often [Hz]; 0 is no limit", live=True, limits=(0.0, 1000.0)
    )
    tracking: bool = _parameter(
        False,
        "follow things from image to image: the same `id` in ~/detections as long as it is the same thing",
        live=True,
    )
    overlay: bool = _parameter(True, "draw ~/overlay while someone subscribes to it", live=True)

    def __post_init__(self) -> None:
        for row in fields(self):
            _check(row, getattr(self, row.name))
        if not _DEVICE.fullmatch(self.device):
            raise ValueError(f"device is '{self.device}': choose auto, cpu, cuda or cuda:N")
        if not self.checkpoint:
            raise ValueError("checkpoint is empty: give a preset name or a path")
        for name in (names := self.camera_names):
            if name and not _CAMERA.fullmatch(name):
                raise ValueError(
                    f"cameras has '{name}', which is no relative ROS name: take letters, digits and _, not a digit "
                    "first, such as front or rov/port"
                )
            if names.count(name) > 1:
                raise ValueError(f"cameras has '{name}' {names.count(name)} times: give each camera a name of its own")

    @property
    def wanted_classes(self) -> tuple[str, ...] | None:
        """Names to publish, or None for all."""
        return tuple(name for name in self.class_filter if name) or None

    @property
    def camera_names(self) -> tuple[str, ...]:
        """Names of the cameras; one without a name where none is given."""
        return tuple(name for name in self.cameras if name) or ("",)

    def check_classes(self, class_names: Iterable[str]) -> None:
        """Check the filter against the classes of a model.

        Raises:
            ValueError: a name which is none of them.
        """
        unknown = [name for name in self.wanted_classes or () if name not in class_names]
        if unknown:
            raise ValueError(f"class_filter has unknown {unknown}: choose from {', '.join(class_names)}")

    def changed(self, changes: Mapping[str, Any], *, configured: bool) -> Settings:
        """Return these settings with some values replaced.

        Args:
            changes: new values by name; names of other parameters are ignored.
            configured: whether a model is loaded, so that only live parameters may change.

        Raises:
            ValueError: why the change is refused.
        """
        known = {row.name: row for row in fields(self)}
        mine = {name: _from_ros(known[name], value) for name, value in changes.items() if name in known}
        for name, value in mine.items():
            if configured and not known[name].metadata["live"] and value != getattr(self, name):
                raise ValueError(
                    f"{name} is '{getattr(self, name)}' while the model is loaded: deactivate and clean up "
                    f"the node (ros2 lifecycle set), set {name}, then configure and activate it again"
                )
        return replace(self, **mine)


def _check(row: Field[Any], value: Any) -> None:
    if isinstance(row.default, tuple) and not (isinstance(value, tuple) and all(isinstance(v, str) for v in value)):
        raise ValueError(f"{row.name} is {value!r}: give a list of names, such as {row.metadata['example']}")
    limits, choices = row.metadata["limits"], row.metadata["choices"]
    # so written that NaN is refused
    if limits is not None and not (math.isfinite(value) and limits[0] <= value <= limits[1]):
        raise ValueError(f"{row.name} is {value}: must be between {limits[0]} and {limits[1]}")
    if choices is not None and value not in choices:
        raise ValueError(f"{row.name} is '{value}': choose from {', '.join(choices)}")


def _from_ros(row: Field[Any], value: Any) -> Any:
    if value is None and isinstance(row.default, tuple):  # an empty list has no type in ROS, and arrives as nothing
        return ()
    return tuple(value) if isinstance(value, list | tuple) else value


def declare(node: Node) -> Settings:
    """Declare all parameters on a node and read what it was started with.

    Raises:
        ValueError: a value that `Settings` refuses, or of another type.
        rclpy.exceptions.ParameterException: a value that ROS refuses.
    """
    values: dict[str, Any] = {}
    for row in fields(Settings):
        default = list(row.default) if isinstance(row.default, tuple) else row.default
        try:
            values[row.name] = _from_ros(row, node.declare_parameter(row.name, default, _descriptor(row)).value)
        except InvalidParameterTypeException as error:
            hint = ": write it with a decimal point, as in 5.0" if isinstance(row.default, float) else ""
            raise ValueError(f"{error}{hint}") from error
    return Settings(**values)


def _descriptor(row: Field[Any]) -> ParameterDescriptor:
    limits, choices = row.metadata["limits"], row.metadata["choices"]
    descriptor = ParameterDescriptor(description=row.metadata["description"])
    descriptor.read_only = row.name == "autostart"
    # or rclpy refuses an empty list, which comes without a type, or with that of a list of booleans from ros2 param
    descriptor.dynamic_typing = isinstance(row.default, tuple)
    if not row.metadata["live"]:
        descriptor.additional_constraints = "changes only while the node is unconfigured"
    if choices is not None:
        descriptor.additional_constraints = f"one of {', '.join(choices)}"
    if limits is not None and isinstance(row.default, float):
        descriptor.floating_point_range = [FloatingPointRange(from_value=limits[0], to_value=limits[1])]
    elif limits is not None:
        descriptor.integer_range = [IntegerRange(from_value=int(limits[0]), to_value=int(limits[1]))]
    return descriptor
