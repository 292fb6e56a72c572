"""Backends: each finds what PyTorch finds, says what it runs on, and is refused where it does not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from network_cases import SMALL, awakened

from spda_sam_core.graph.check_picture import check_inputs
from spda_sam_core.graph.export import describe, to_onnx
from spda_sam_core.graph.onnx_file import GraphFile
from spda_sam_core.network.network import build_network
from spda_sam_core.runtimes.backends import BACKENDS, Backend, check, load_backend
from spda_sam_core.runtimes.runtime import BackendError
from spda_sam_core.spda_sam import SpdaSam
from spda_sam_core.weights.checkpoint import load_checkpoint, save_checkpoint
from spda_sam_core.weights.files import CheckpointError

OF_GRAPHS = [
    pytest.param(name, marks=pytest.mark.skipif(not backend.installed, reason=f"{backend.package} is not installed"))
    for name, backend in BACKENDS.items()
    if name != "torch" and "cpu" in backend.devices
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    network = awakened(build_network(SMALL)).eval()
    torch.nn.init.normal_(network.decoder.mask_head.linear.weight)  # masks that are not empty
    path = tmp_path_factory.mktemp("backends") / "small.safetensors"
    calibration = {"slopes": [2.0], "offsets": [0.5]}
    save_checkpoint(path, network, {"calibration": calibration, "terms": ["tests only"]})
    return path


@pytest.fixture(scope="module")
def graph(checkpoint) -> Path:
    network, info = load_checkpoint(checkpoint)
    path = checkpoint.with_suffix(".onnx")
    path.write_bytes(to_onnx(network, describe(network, info)))
    return path


def inputs() -> list[np.ndarray]:
    """Two images, with depth and without, of which the second's is to be estimated."""
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (2, 128, 128, 3), np.uint8)
    inverse, valid, estimate = check_inputs(128)["inverse_depth"], check_inputs(128)["depth_valid"], np.array([0, 1])
    nothing = np.zeros_like(inverse)
    return [image, np.concatenate([inverse, nothing]), np.concatenate([valid, nothing]), estimate.astype(np.float32)]


@pytest.mark.parametrize("name", OF_GRAPHS)
def test_a_backend_finds_in_each_picture_of_a_batch_what_pytorch_finds(name, checkpoint, graph) -> None:
    expected = load_backend("torch", checkpoint).run(*inputs())
    runtime = load_backend(name, graph, num_threads=1)
    found = runtime.run(*inputs())
    again = runtime.run(*inputs())
    for field, a, b, c in zip(expected._fields, expected, found, again, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-3, err_msg=field)
        np.testing.assert_array_equal(b, c, err_msg=field)
    facts = runtime.facts()
    assert (facts["backend"], facts["device"], facts["precision"], facts["threads"]) == (name, "cpu", "float32", "1")


@pytest.mark.parametrize("name", OF_GRAPHS)
def test_users_of_the_network_are_told_the_same_of_it(name, checkpoint, graph, caplog) -> None:
    expected, info = SpdaSam.from_pretrained(checkpoint), SpdaSam.from_pretrained(graph, backend=name).runtime.info
    assert info == expected.runtime.info
    assert "small.onnx may be used on these terms only: tests only" in caplog.text


@pytest.mark.parametrize("name", OF_GRAPHS)
def test_a_backend_that_finds_something_else_is_refused_with_the_figures(name, graph, tmp_path) -> None:
    model = onnx.load(graph)
    entries = {entry.key: entry.value for entry in model.metadata_props}
    values = json.loads(entries["check"])
    values[150] += 0.3  # of the depth
    onnx.helper.set_model_props(model, entries | {"check": json.dumps(values)})
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(
        BackendError,
        match=f"{name} computes something else than PyTorch from other.onnx: .* differs by 0.3, at most 0.08",
    ):
        load_backend(name, tmp_path / "other.onnx")


def test_an_answer_that_is_no_number_is_refused(graph) -> None:
    class Broken:
        def run(self, *arrays):
            found = load_backend("torch", graph.with_suffix(".safetensors")).run(*arrays)
            return found._replace(predicted_iou=found.predicted_iou * np.nan)

        def facts(self):
            return {"backend": "broken"}

    with pytest.raises(BackendError, match=r"broken computes something else than PyTorch .* differs by nan"):
        check(Broken(), GraphFile.read(graph))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "options", "error", "said"),
    [
        (
            "onnx",
            {},
            BackendError,
            "unknown backend 'onnx': use 'auto', 'tensorrt', 'onnxruntime', 'openvino', 'torch'",
        ),
        (
            "torch",
            {},
            BackendError,
            "small.onnx is an exported graph, which PyTorch cannot run: take backend 'auto' or",
        ),
        ("onnxruntime", {"preset": "sea"}, CheckpointError, "is for preset 'tiny', but 'sea' was asked for"),
        ("onnxruntime", {"device": "cuda"}, BackendError, "has no CUDAExecutionProvider, only .*CPUExecutionProvider"),
    ],
)
def test_what_cannot_be_is_refused_with_the_remedy(name, options, error, said, graph) -> None:
    with pytest.raises(error, match=said):
        load_backend(name, graph, **options)


def test_a_backend_that_is_not_installed_or_does_not_load_is_named(graph, monkeypatch) -> None:
    monkeypatch.setitem(BACKENDS, "onnxruntime", Backend("no_such_package", "spda_sam_core.none:None", ("cpu",), "ask"))
    with pytest.raises(BackendError, match="backend 'onnxruntime' needs the package no_such_package: ask"):
        load_backend("onnxruntime", graph)
    monkeypatch.setitem(BACKENDS, "onnxruntime", Backend("onnx", "spda_sam_core.none:None", ("cpu",), "ask"))
    with pytest.raises(BackendError, match=r"onnx is installed and does not load \(No module named"):
        load_backend("onnxruntime", graph)


def test_a_robot_that_has_the_graph_imports_no_torch(graph) -> None:
    program = (
        "import sys, numpy as np\n"
        "from spda_sam_core import SpdaSam\n"
        "model = SpdaSam.from_pretrained(sys.argv[1], backend='auto')\n"
        "found = model.predict(np.zeros((60, 80, 3), np.uint8), np.ones((60, 80), np.float32), score_threshold=0)\n"
        "heavy = {'torch', 'onnx', 'timm', 'segment_anything', 'safetensors'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "print(found.height, found.width)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, graph], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "60 80\n"), done.stderr
