"""The shipped network as ONNX files, and a builder that takes no time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from engine_cases import plan

from spda_sam_core.graph.check_picture import check_inputs
from spda_sam_core.graph.export import describe, to_onnx
from spda_sam_core.graph.onnx_file import Precision
from spda_sam_core.runtimes.tensorrt import cache
from spda_sam_core.weights.checkpoint import load_checkpoint
from training.precision import in_precision


@pytest.fixture(scope="session")
def exported(tmp_path_factory) -> Callable[[Precision], Path]:
    """Precision to the file of `tiny`, exported once."""
    folder = tmp_path_factory.mktemp("exported")
    network, info = load_checkpoint("tiny")
    float32 = to_onnx(network, describe(network, info))

    def export(precision: Precision) -> Path:
        path = folder / f"{precision}.onnx"
        if not path.exists():
            path.write_bytes(in_precision(float32, precision, [check_inputs(network.config.input_size)]))
        return path

    return export


@pytest.fixture
def builds(monkeypatch) -> list[Path]:
    """The graphs that were built; each gives the same engine."""
    built: list[Path] = []

    def build_apart(graph, output, *, compute_capability=None, progress=None):
        built.append(graph)
        output.write_bytes(plan())

    monkeypatch.setattr(cache, "build_apart", build_apart)
    return built
