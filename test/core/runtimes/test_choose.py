"""`backend: auto`: the fastest that is right, measured once and remembered; what fails is named, the next one taken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from network_cases import SMALL

from spda_sam_core.graph import cache
from spda_sam_core.network.network import build_network
from spda_sam_core.runtimes import choose
from spda_sam_core.runtimes.backends import version_of
from spda_sam_core.runtimes.runtime import BackendError
from spda_sam_core.weights.checkpoint import save_checkpoint


@pytest.fixture
def checkpoint(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(choose, "candidates", lambda path, device: ["onnxruntime", "torch"])
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "small.safetensors", build_network(SMALL), {})
    return tmp_path / "small.safetensors"


@pytest.fixture
def measured(monkeypatch):
    """What each backend shall take; and what was asked."""
    answers: dict[str, float | str] = {"onnxruntime": 30.0, "torch": 50.0}
    asked: list[str] = []

    def measure(path, name, device, threads):
        asked.append(name)
        return answers[name]

    monkeypatch.setattr(choose, "measure_apart", measure)
    return answers, asked


def test_the_fastest_is_taken_measured_once_and_remembered(checkpoint, measured) -> None:
    answers, asked = measured
    answers["torch"] = 10.0
    for _ in range(2):
        runtime, reason = choose.load_chosen(checkpoint, num_threads=1)
        assert runtime.facts()["backend"] == "torch"
        assert reason.startswith("fastest here: torch 10 ms, onnxruntime 30 ms (")
    assert asked == ["onnxruntime", "torch"]
    choose.load_chosen(checkpoint, num_threads=2)  # another number of threads is another question
    assert asked == ["onnxruntime", "torch"] * 2
    (record, _) = sorted((checkpoint.parent / "cache/spda_sam/backends").iterdir())
    record.write_text("{")
    choose.load_chosen(checkpoint, num_threads=1)
    choose.load_chosen(checkpoint, num_threads=2)
    assert len(asked) == 6  # the damaged record was made again


def test_one_that_fails_when_measured_is_left_out_by_name(checkpoint, measured, caplog) -> None:
    answers, _ = measured
    answers["onnxruntime"] = "its process ended with exit code -11"
    runtime, reason = choose.load_chosen(checkpoint)
    assert runtime.facts()["backend"] == "torch"
    assert reason.startswith("fastest here: torch 50 ms (")
    assert "backend onnxruntime is left out: its process ended with exit code -11" in caplog.text


def test_one_that_fails_later_is_left_out_too_and_if_none_is_left_each_is_named(checkpoint, measured, caplog) -> None:
    def broken(name, *_, **__):
        raise BackendError("its answer differs by 0.7")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choose, "load_backend", broken)
        with pytest.raises(
            BackendError,
            match=r"no backend can run .*small.*: onnxruntime: its answer .*; torch: .* pip install onnxruntime",
        ):
            choose.load_chosen(checkpoint)
    assert "backend onnxruntime is left out: its answer differs by 0.7" in caplog.text


def test_a_backend_is_measured_in_a_process_that_may_fail(checkpoint, tmp_path) -> None:
    assert 0 < choose.measure_apart(checkpoint, "torch", "cpu", 1) < 60_000
    said = choose.measure_apart(checkpoint, "torch", "tpu", 1)
    assert said == "unknown device 'tpu': use 'auto', 'cpu', 'cuda' or 'cuda:<n>'"


def test_what_a_backend_does_while_it_is_measured_is_told(tmp_path, checkpoint, caplog) -> None:
    """As the minutes in which TensorRT builds its engine; here the graph is exported first."""
    with caplog.at_level("INFO", logger="spda_sam_core"):
        assert isinstance(choose.measure_apart(checkpoint, "onnxruntime", "cpu", 1), float)
    assert [record.getMessage() for record in caplog.records if "small.safetensors" in record.getMessage()]


def test_a_backend_that_hangs_is_ended(checkpoint, monkeypatch) -> None:
    monkeypatch.setattr(choose, "TIMEOUT_S", 0.3)
    assert choose.measure_apart(checkpoint, "torch", "cpu", 1) == "gave no answer within 0.3 s"


def test_one_backend_alone_is_not_measured(checkpoint, measured, monkeypatch) -> None:
    monkeypatch.setattr(choose, "candidates", lambda path, device: ["torch"])
    assert choose.load_chosen(checkpoint).reason == "the only backend that is installed"
    assert measured[1] == []


def test_candidates_can_run_what_is_given_where_it_is_asked_for() -> None:
    assert choose.candidates(Path("a.safetensors"), "cpu")[-1] == "torch"
    assert "torch" not in choose.candidates(Path("a.onnx"), "auto")
    assert "openvino" not in choose.candidates(Path("a.safetensors"), "cuda:0")


def test_a_graph_is_exported_once_for_a_checkpoint(checkpoint, monkeypatch) -> None:
    first = cache.graph_of(checkpoint)
    stamp = first.stat().st_mtime_ns
    assert cache.graph_of(checkpoint) == first
    assert first.stat().st_mtime_ns == stamp
    torch.manual_seed(1)
    save_checkpoint(checkpoint, build_network(SMALL), {})
    assert cache.graph_of(checkpoint) != first
    assert cache.graph_of(first) == first


def test_a_robot_that_cannot_export_is_told_how_to(checkpoint, monkeypatch) -> None:
    monkeypatch.setattr(cache, "_NEEDED", ("torch", "no_such_package"))
    with pytest.raises(BackendError, match="no_such_package is missing here: run 'spda-sam export --checkpoint small"):
        cache.graph_of(checkpoint)


def test_an_export_that_fails_says_why(checkpoint) -> None:
    header = json.dumps({"__metadata__": {"format": "other"}}).encode()
    checkpoint.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(BackendError, match=r"cannot be exported: .*format is 'other'"):
        cache.graph_of(checkpoint)


def test_the_version_is_that_of_the_distribution_which_may_have_another_name() -> None:
    assert version_of("cv2").count(".") >= 2  # of opencv-python-headless
    assert version_of("no_such_module") == ""


def test_what_failed_is_tried_again_for_it_may_have_been_of_a_moment_and_nothing_else(checkpoint, measured) -> None:
    answers, asked = measured
    answers["onnxruntime"] = "Cannot allocate memory"
    assert choose.load_chosen(checkpoint).runtime.facts()["backend"] == "torch"
    answers["onnxruntime"] = 30.0
    assert choose.load_chosen(checkpoint).runtime.facts()["backend"] == "onnxruntime"
    assert asked == ["onnxruntime", "torch", "onnxruntime"]
    choose.load_chosen(checkpoint)
    assert len(asked) == 3
