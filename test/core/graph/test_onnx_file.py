"""What an exported file says of itself, against the package onnx; damaged and foreign files are refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from spda_sam_core.graph.onnx_file import FORMAT, GraphFile, read_metadata
from spda_sam_core.weights.files import CheckpointError, file_sha256

SAID = {
    "format": FORMAT,
    "preset": "tiny",
    "class_names": json.dumps(["anode", "Fisch, groß"]),
    "input_size": "64",
    "reads_depth": "true",
    "precision": "float16",
    "check": "[0.5, 1]",
    "checkpoint_sha256": "ab12",
    "calibration": json.dumps({"slopes": [2.0, 1.0], "offsets": [0.0, 0.5]}),
    "terms": json.dumps(["research only"]),
}


def write(path: Path, entries: dict[str, str], values: int = 3) -> Path:
    weights = helper.make_tensor("w", TensorProto.FLOAT, [values], [1.0] * values)
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [values])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [values])
    model = helper.make_model(
        helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", [value], [result], [weights])
    )
    helper.set_model_props(model, entries)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("entries", [{}, {"a": ""}, {"": "b"}, SAID, {"long": "ü" * 70_000, "b": "c"}])
def test_entries_are_those_that_the_package_onnx_reads(tmp_path, entries) -> None:
    path = write(tmp_path / "g.onnx", entries, values=5000)
    assert read_metadata(path) == {e.key: e.value for e in onnx.load(path).metadata_props} == entries


def test_a_file_tells_what_its_users_must_know_of_the_network(tmp_path) -> None:
    path = write(tmp_path / "g.onnx", SAID)
    graph = GraphFile.read(path)
    assert (graph.path, graph.sha256, graph.precision, graph.check) == (path, file_sha256(path), "float16", [0.5, 1.0])
    info = graph.info
    assert (info.preset, info.class_names, info.input_size, info.reads_depth) == (
        "tiny",
        ("anode", "Fisch, groß"),
        64,
        True,
    )
    assert (info.checkpoint_sha256, info.calibration.slopes, info.terms) == ("ab12", (2.0, 1.0), ("research only",))


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({}, r"g.onnx: format is None, expected 'spda_sam_graph/1': no ONNX file of this version .* spda-sam export"),
        ({"precision": "int3"}, r"what it says of itself cannot be used \(precision 'int3'\): write it again"),
        ({"class_names": "[1"}, "what it says of itself cannot be used"),
        ({"check": '{"a": 1}'}, "what it says of itself cannot be used"),
        ({"calibration": '{"slopes": [1, 1, 1], "offsets": [0, 0, 0]}'}, "maps for 3 classes, but there are 2"),
    ],
)
def test_a_file_that_says_something_else_is_refused(tmp_path, entries, said) -> None:
    path = write(tmp_path / "g.onnx", SAID | entries if entries else {})
    with pytest.raises(CheckpointError, match=said):
        GraphFile.read(path)


@pytest.mark.parametrize("cut", [1, 7, 100, 300])
def test_a_truncated_file_is_refused(tmp_path, cut) -> None:
    path = write(tmp_path / "g.onnx", SAID)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(CheckpointError, match=r"g.onnx: (no ONNX file, or damaged \(|format is None|what it says)"):
        GraphFile.read(path)


def test_what_is_no_onnx_file_is_refused(tmp_path) -> None:
    path = tmp_path / "g.onnx"
    path.write_bytes(b"\xff" * 100)
    with pytest.raises(CheckpointError, match=r"no ONNX file, or damaged \(a number of over 64 bits"):
        read_metadata(path)
    with pytest.raises(CheckpointError, match=r"none.onnx: cannot be read \(No such file or directory\)"):
        read_metadata(tmp_path / "none.onnx")
