"""Settings: numbers as people write them, lists as tuples, one line for a value that is wrong, at construction too."""

from __future__ import annotations

import json
import pickle
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from spda_sam_core.settings import changed, load_settings, settings, settings_from


@settings
class Lens:
    focal_px: float = 1000.0
    size_hw: tuple[int, int] = (480, 640)

    def __post_init__(self) -> None:
        if self.focal_px <= 0:
            raise ValueError(f"focal_px {self.focal_px} must be above 0")


@settings
class Rig:
    root: Path
    lens: Lens = Lens()
    gain: float | None = None


def test_lists_become_tuples_mappings_settings_and_text_a_path() -> None:
    rig = settings_from(Rig, {"root": "a/b", "lens": {"size_hw": [1, 2]}}, "a.yaml")
    assert rig == Rig(Path("a/b"), Lens(size_hw=(1, 2)))
    assert pickle.loads(pickle.dumps(rig)) == rig
    assert settings_from(Lens, json.loads(json.dumps(asdict(rig.lens))), "a header") == rig.lens


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("6e-4", 6e-4),
        ("2E3", 2000.0),
        ("-1e+2", -100.0),
        ("1.5e3", 1500.0),
        ("3", 3.0),
        (".5", 0.5),
        (".5e3", 500.0),
        ("6.e-4", 6e-4),
        ("null", None),
    ],
)
def test_numbers_are_read_as_they_are_meant(tmp_path: Path, text: str, value: float | None) -> None:
    (tmp_path / "a.yaml").write_text(f"root: a\ngain: {text}\n")
    gain = load_settings(Rig, tmp_path / "a.yaml", "rig").gain
    assert gain == value
    assert value is None or type(gain) is float


def test_what_looks_like_a_number_only_at_its_beginning_stays_text(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("root: 6e-4px\n")
    assert load_settings(Rig, tmp_path / "a.yaml", "rig").root == Path("6e-4px")


def test_construction_and_replacement_check_too_and_say_it_in_one_line() -> None:
    with pytest.raises(ValueError, match=r"^focal_px: '4k' is no number$"):
        Lens(focal_px="4k")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^focal_px -1\.0 must be above 0$"):
        replace(Lens(), focal_px=-1.0)
    with pytest.raises(ValueError, match=r"^gain: True is no number$"):
        replace(Rig(Path()), gain=True)


def test_changes_reach_into_nested_settings_and_leave_the_rest() -> None:
    rig = Rig(Path("a"), Lens(focal_px=5.0))
    assert changed(rig, {"lens": {"size_hw": [3, 4]}, "gain": 2}, "row") == Rig(Path("a"), Lens(5.0, (3, 4)), 2.0)
    with pytest.raises(ValueError, match=r"^row: unknown key 'lens\.focal': did you mean 'focal_px'\?$"):
        changed(rig, {"lens": {"focal": 1}}, "row")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "[1, 2] is no mapping of keys to values: see config/ for examples"),
        ("", "None is no mapping of keys to values: see config/ for examples"),
        ("root: 2026-13-45", "no YAML: month must be in 1..12"),
        ("root: a\nstr: 1", "unknown key 'str': did you mean 'root'?"),
        ("root: a\nlens: {'a[0]': 1}", "unknown key 'lens.a[0]': did you mean"),
        ("root: &a [*a]", "Circular reference detected"),
        ("root: a\n2026-01-01: 1", "keys must be str"),
        ("a: [1", "no YAML: while parsing a flow sequence"),
        ("a: !!python/name:os.system x", "no YAML: could not determine a constructor"),
        ("root: a\nlens: {focal_px: x}\ngain: y", "lens.focal_px: 'x' is no number; gain: 'y' is no number"),
        ("lens: 3", "lens: 3 is no mapping of keys to values; missing root"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(ValueError) as error:  # noqa: PT011
        load_settings(Rig, path, "rig")
    assert str(error.value).startswith(f"{path}: {message}")
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named_with_where_examples_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"a\.yaml: no such rig: see config/ for examples"):
        load_settings(Rig, tmp_path / "a.yaml", "rig")
