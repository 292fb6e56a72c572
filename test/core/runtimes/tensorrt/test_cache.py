"""Engines on disk: what fits, what is built again, who builds, and what counts as verified."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from engine_cases import FLAVOUR, plan

from spda_sam_core.runtimes.tensorrt import cache
from spda_sam_core.runtimes.tensorrt.cache import EngineKey, Entry, header_problem, locked
from spda_sam_core.runtimes.tensorrt.flavour import EngineError, Flavour

KEY = EngineKey("ab" * 32, "tensorrt_rtx", "1.7.1.116", "8.9", "RTX 4090", "13.0", "float32")


@pytest.fixture
def entry(tmp_path, monkeypatch) -> Entry:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return Entry(KEY, FLAVOUR)


def quiet(*_: object) -> None:
    """Progress that nobody listens to."""


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(EngineKey)])
def test_whatever_differs_is_another_file(entry, field) -> None:
    other = dataclasses.replace(KEY, **{field: 7 if field == "recipe" else "9.9"})
    assert other.path != KEY.path
    assert KEY.path == dataclasses.replace(KEY).path


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (plan(), ""),
        (plan()[:60], "is cut off, 60 of 100 bytes"),
        (plan()[:10], "is no engine, or its beginning is damaged"),
        (b"x" * 100, "is no engine, or its beginning is damaged"),
        (plan((1, 6, 0, 2)), "is of version 1.6.0.2, here is tensorrt_rtx 1.7.1.116"),
    ],
)
def test_an_engine_that_does_not_fit_is_built_again_with_one_line(entry, builds, content, said, caplog) -> None:
    assert header_problem(content, FLAVOUR) == said
    entry.path.parent.mkdir(parents=True)
    entry.path.write_bytes(content)
    assert entry.build(Path("g.onnx"), quiet) == plan()
    assert builds == ([Path("g.onnx")] if said else [])
    assert [record.getMessage() for record in caplog.records] == (
        [f"engine {entry.path} {said}: it is built again"] if said else []
    )


def test_versions_of_three_numbers_are_compared_by_these(entry) -> None:
    assert header_problem(plan((10, 3, 0, 26)), Flavour("tensorrt", "10.3.0", None)) == ""
    assert "here is tensorrt 10.4.0" in header_problem(plan((10, 3, 0, 26)), Flavour("tensorrt", "10.4.0", None))


def test_an_engine_is_verified_only_with_the_very_bytes_that_were_compared(entry, builds) -> None:
    entry.build(Path("g.onnx"), quiet)
    assert not entry.verified
    assert json.loads(entry.sidecar.read_text())["gpu"] == "RTX 4090"
    entry.describe(verified=True)
    assert entry.verified
    entry.path.write_bytes(plan(size=101))
    assert not entry.verified
    entry.discard()
    assert not entry.verified
    assert entry.load() is None


def test_what_fails_leaves_no_engine(entry, monkeypatch) -> None:
    def build_apart(graph, output, **_):
        raise EngineError("no")

    monkeypatch.setattr(cache, "build_apart", build_apart)
    with pytest.raises(EngineError):
        entry.build(Path("g.onnx"), quiet)
    assert entry.load() is None


def test_one_process_builds_and_the_other_waits_for_it_and_says_so(entry, builds) -> None:
    entry.path.parent.mkdir(parents=True)
    lock = entry.path.with_suffix(".lock")
    holder = (
        "import sys, time\nfrom pathlib import Path\nfrom spda_sam_core.runtimes.tensorrt.cache import locked\n"
        "with locked(Path(sys.argv[1]), print):\n"
        "    print('held', flush=True)\n    sys.stdin.readline()\n"
        "    Path(sys.argv[2]).write_bytes(bytes.fromhex(sys.argv[3]))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", holder, str(lock), str(entry.path), plan().hex()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    told: list[str] = []

    def tell(phase: str, _seconds: float) -> None:
        told.append(phase)
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.close()

    assert entry.build(Path("g.onnx"), tell) == plan()
    assert told == [f"waiting for process {process.pid}"]
    assert builds == []
    assert process.wait(30) == 0


def test_a_process_that_is_killed_holds_no_lock(tmp_path) -> None:
    holder = (
        "import sys, time\nfrom pathlib import Path\nfrom spda_sam_core.runtimes.tensorrt.cache import locked\n"
        "with locked(Path(sys.argv[1]), print):\n    print('held', flush=True)\n    time.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", holder, str(tmp_path / "l")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    process.kill()
    process.wait()
    began = time.monotonic()
    with locked(tmp_path / "l", lambda holder: pytest.fail(f"waits for {holder}")):
        assert time.monotonic() - began < 60
