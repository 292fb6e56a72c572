"""Settings from YAML: frozen dataclasses whose every value is checked, with errors that name file, key and remedy.

A value has the type of its field: a whole number stands for a number, but text, true and false stand for no number.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, cast, get_args, get_type_hints

import pydantic.dataclasses
import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError
from typing_extensions import dataclass_transform

from spda_sam_core.text_file import read_text

T = TypeVar("T")

_CHECKED = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
_WANTED = {
    "bool_type": "neither true nor false",
    "dataclass_type": "no mapping of keys to values",
    "dict_type": "no mapping of keys to values",
    "finite_number": "no finite number",
    "float_type": "no number",
    "int_from_float": "no whole number",
    "int_parsing": "no whole number",
    "int_type": "no whole number",
    "string_type": "no text",
    "tuple_type": "no list",
}
"""What a value is, by the type of pydantic's error."""
_LONGEST_VALUE = 60


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def settings(cls: type[T]) -> type[T]:
    """Make a class a frozen dataclass that raises a ValueError of one line for a value of a wrong type."""
    checked: Any = pydantic.dataclasses.dataclass(frozen=True, config=_CHECKED)(cls)
    construct = checked.__init__

    @functools.wraps(construct)
    def init(self: T, *args: Any, **kwargs: Any) -> None:
        try:
            construct(self, *args, **kwargs)
        except ValidationError as error:
            raise ValueError(_one_line(error, cls)) from None

    checked.__init__ = init
    return cast(type[T], checked)


def load_settings(cls: type[T], path: str | Path, kind: str) -> T:
    """Read the settings in a YAML file.

    Args:
        cls: a class made by `settings`.
        path: the file.
        kind: what the file is, for the error: "no such <kind>".

    Raises:
        FileNotFoundError: no such file.
        ValueError: what `read_yaml` and `settings_from` refuse.
    """
    return settings_from(cls, read_yaml(path, kind), str(path))


def read_yaml(path: str | Path, kind: str) -> dict[str, Any]:
    """The mapping in a YAML file; raises what `load_settings` raises, ValueError if the file holds anything else."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such {kind}: see config/ for examples")
    text = read_text(path)
    try:
        data = yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that is none
        raise ValueError(f"{path}: no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path}: {_shown(data)} is {_WANTED['dict_type']}: see config/ for examples")
    return data


def settings_from(cls: type[T], data: Mapping[str, Any], where: str) -> T:
    """The settings in what YAML or JSON gave: nested mappings become nested settings, lists become tuples.

    Args:
        cls: a class made by `settings`.
        data: its fields.
        where: file that an error shall name.

    Raises:
        ValueError: unknown keys, each with the nearest known one; missing keys; values of a wrong type; or what the
            class itself refuses. All in one line, each with its key.
    """
    try:
        # as JSON, where lists may be tuples and mappings settings while numbers are checked strictly
        text = json.dumps(data, default=str)
    except (TypeError, ValueError) as error:  # a date as a key, a mapping in itself
        raise ValueError(f"{where}: {error}") from error
    try:
        return TypeAdapter(cls).validate_json(text)
    except ValidationError as error:
        raise ValueError(f"{where}: {_one_line(error, cls)}") from None


def changed(config: T, changes: Mapping[str, Any], where: str) -> T:
    """Settings of which some fields differ, of nested settings too; raises what `settings_from` raises."""
    return settings_from(type(config), _merged(dataclasses.asdict(config), changes), where)  # type: ignore[call-overload]


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    both = {key for key in new if isinstance(new[key], Mapping) and isinstance(old.get(key), Mapping)}
    return {**old, **{key: _merged(old[key], new[key]) if key in both else new[key] for key in new}}


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML 1.1, in which 6e-4 is a number as it is everywhere else."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$"), list("-+.0123456789")
)


def _one_line(error: ValidationError, cls: type) -> str:
    told: dict[tuple[str, str], str] = {}
    missing = []
    paths = [_path(one["loc"]) for one in error.errors()]
    for one, path in zip(error.errors(), paths, strict=True):
        last = (one["loc"] or ("",))[-1]
        if one["type"] == "string_type" and any(len(p) > len(path) and p[: len(path)] == path for p in paths):
            continue  # of a union of text and list: what is wrong is in the list
        if one["type"] == "unexpected_keyword_argument" and path[-1:] != [last]:
            path.append(last)  # an unknown key may be anything
        key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
        kind, value = one["type"], _shown(one["input"])
        prefix = f"{key}: " if key else ""
        if kind == "missing":
            missing.append(key)
            continue
        if kind == "unexpected_keyword_argument":
            near = difflib.get_close_matches(str(path[-1]), _fields_at(cls, path[:-1]), n=1, cutoff=0.0)[0]
            text = f"unknown key '{key}': did you mean '{near}'?"
        elif kind == "value_error":
            text = f"{prefix}{one['ctx']['error']}"
        elif kind == "literal_error":
            choices = ", ".join(re.findall(r"'([^']*)'", one["ctx"]["expected"]))
            text = f"{prefix}{value}: choose one of {choices}"
        elif kind == "too_long":
            text = f"{prefix}{value} has {len(one['input'])} values, not {one['ctx']['max_length']}"
        else:
            other = told.get((key, value))  # of the other type that a union would take
            text = f"{f'{other} and' if other else f'{prefix}{value} is'} {_WANTED.get(kind, one['msg'])}"
        told[key, value] = text
    lines = [f"missing {', '.join(missing)}"] if missing else []
    return "; ".join([*told.values(), *lines])


def _path(loc: tuple[int | str, ...]) -> list[int | str]:
    """Keys to a value; of a union pydantic also names the type that it tried, and of a mapping that it was the key."""
    return [part for part in loc or ("",) if part != "str" and "[" not in str(part)]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."


def _fields_at(cls: type, path: list[int | str]) -> list[str]:
    """Names of the fields of the settings that a path of keys leads to."""
    for part in path:
        nested = _settings_in(get_type_hints(cls).get(str(part)))  # none for an index, and for a key of a mapping
        cls = nested[0] if nested else cls
    return [field.name for field in dataclasses.fields(cls)]


def _settings_in(hint: Any) -> list[type]:
    """The settings that a type is made of, such as those in a list or a union."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return [hint]
    return [each for part in get_args(hint) for each in _settings_in(part)]
