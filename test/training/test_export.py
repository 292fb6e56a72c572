"""The ONNX file: names, shapes, operators and metadata that others rely on, and that it is the network that it says."""

from __future__ import annotations

import re
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch

from spda_sam_core.config import load_model_config
from spda_sam_core.graph import export
from spda_sam_core.graph.export import ExportError, describe, to_onnx
from spda_sam_core.graph.inputs import named_inputs, random_inputs
from spda_sam_core.graph.onnx_file import GraphFile
from spda_sam_core.network.network import SpdaSamNetwork, build_network
from spda_sam_core.weights.checkpoint import save_checkpoint
from spda_sam_core.weights.files import file_sha256
from training.export import export_onnx, main
from training.measuring.agreement import Disagreement, compare

SIDE, CLASSES = 64, ("anode", "object")
SMALL = {"input_size": SIDE, "num_proposals": 6, "num_instances": 6}

REFUSED = {
    "CumSum", "Einsum", "GridSample", "If", "Loop", "NonMaxSuppression", "NonZero", "RoiAlign", "ScatterND", "Trilu",
}  # fmt: skip
"""What TensorRT cannot build, or builds wrongly, in one of the versions 8.6 to 11."""


def small_network(*, use_depth: bool = True, seed: int = 0) -> SpdaSamNetwork:
    torch.manual_seed(seed)
    changes = {**SMALL, "use_depth": use_depth}
    network = build_network(load_model_config("tiny", class_names=CLASSES, changes=changes)).eval()
    with torch.no_grad():  # what begins at zero would hide what lies behind it
        for parameter in network.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.05)
        # candidates that are equally good are put in any order: let it have preferences
        network.proposal_head.classes.weight.mul_(40)
        network.decoder.mask_decoder.iou_prediction_head.layers[-1].bias.add_(0.6)
    return network


@pytest.fixture(scope="module")
def network() -> SpdaSamNetwork:
    return small_network()


@pytest.fixture(scope="module")
def model(network: SpdaSamNetwork) -> bytes:
    return to_onnx(network, describe(network))


def shapes(values) -> dict[str, list[int]]:
    return {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in values}


def test_inputs_and_outputs_have_their_names_and_static_shapes(network, model) -> None:
    graph = onnx.load_from_string(model).graph
    maps = {"image": [1, SIDE, SIDE, 3], "inverse_depth": [1, 1, SIDE, SIDE], "depth_valid": [1, 1, SIDE, SIDE]}
    inputs = shapes(graph.input)
    assert {name: shape for name, shape in inputs.items() if name != "estimate"} == maps
    with torch.inference_mode():
        expected = network(**random_inputs(network, 1))._asdict()
    names = [name if name not in maps else f"seen_{name}" for name in expected]
    assert shapes(graph.output) == dict(zip(names, (list(t.shape) for t in expected.values()), strict=True))
    kinds = {value.name: value.type.tensor_type.elem_type for value in [*graph.input, *graph.output]}
    assert kinds.pop("image") == onnx.TensorProto.UINT8  # bytes, as they come from the camera
    assert set(kinds.values()) == {onnx.TensorProto.FLOAT}


@pytest.mark.parametrize("use_depth", [True, False])
def test_onnx_runtime_gives_what_pytorch_gives(use_depth) -> None:
    network = small_network(use_depth=use_depth)
    session = onnxruntime.InferenceSession(to_onnx(network), providers=["CPUExecutionProvider"])
    torch.manual_seed(7)
    image, depth = torch.randint(0, 256, (1, SIDE, SIDE, 3), dtype=torch.uint8), torch.rand(1, 1, SIDE, SIDE)
    for valid in (torch.ones_like(depth), torch.zeros_like(depth)):
        inputs = named_inputs(network, image, depth * valid, valid)
        actual = session.run(None, {entry.name: inputs[entry.name].numpy() for entry in session.get_inputs()})
        with torch.inference_mode():
            expected = network(**inputs)
        for a, e in zip(actual, expected, strict=True):
            torch.testing.assert_close(torch.from_numpy(a), e, rtol=1e-4, atol=1e-4)


def test_a_graph_without_depth_asks_for_none() -> None:
    network = small_network(use_depth=False)
    model = to_onnx(network)
    assert list(shapes(onnx.load_from_string(model).graph.input)) == ["image"]
    compare(network, model, [random_inputs(network, 1)]).check()


def test_the_operators_are_standard_ones_that_every_runtime_can_build(model) -> None:
    loaded = onnx.load_from_string(model)
    onnx.checker.check_model(loaded, full_check=True)
    assert [(entry.domain, entry.version) for entry in loaded.opset_import] == [("", 17)]
    assert {node.domain for node in loaded.graph.node} == {""}
    assert {node.op_type for node in loaded.graph.node} & REFUSED == set()


def test_constants_are_folded(model) -> None:
    graph = onnx.load_from_string(model).graph
    constants = {tensor.name for tensor in graph.initializer}
    assert not [node.name for node in graph.node if {name for name in node.input if name} <= constants]
    assert not {"BatchNormalization", "Constant", "Identity", "Shape"} & {node.op_type for node in graph.node}


def test_another_network_is_told_apart(model) -> None:
    other = small_network(seed=1)
    agreement = compare(other, model, [random_inputs(other, 1)])
    with pytest.raises(Disagreement, match=r"disagree: mask_logits differs by .*, more than 0.001; .*masks is 0\.\d+"):
        agreement.check()


def test_candidates_that_nobody_sees_do_not_count_and_a_proof_needs_some_that_do(network) -> None:
    """Where a picture has few things, equally bad candidates fill the other places in any order."""
    blind, other = small_network(), small_network(seed=1)
    with torch.no_grad():
        for each in (blind, other):
            each.proposal_head.classes.bias.fill_(-1e4)
    agreement = compare(blind, to_onnx(other), [random_inputs(blind, 1)])
    assert (agreement.candidates, agreement.differences["mask_logits"]) == (0, 0.0)
    with pytest.raises(Disagreement, match="the mean IoU of 0 masks is nan"):
        agreement.check()


def test_the_same_network_gives_the_same_bytes(network, model) -> None:
    """Caches of engines are looked up by them."""
    assert to_onnx(network, describe(network)) == model


def test_an_operator_that_cannot_be_exported_is_named_with_the_size_that_needs_it() -> None:
    sam = build_network(load_model_config("sam_vit_b", class_names=CLASSES, changes=SMALL))
    with pytest.raises(ExportError, match=r"'sam_vit_b' at input_size 64: Exporting the operator .*bicubic2d_aa"):
        to_onnx(sam)


def test_a_value_that_is_no_number_is_told_apart(network, model) -> None:
    agreement = compare(network, model, [random_inputs(network, 1)])
    agreement.check()
    broken = agreement._replace(differences=agreement.differences | {"predicted_iou": float("nan")})
    with pytest.raises(Disagreement, match="predicted_iou differs by nan"):
        broken.check()


def test_a_graph_that_is_not_the_network_leaves_the_file_as_it_was(network, tmp_path, monkeypatch) -> None:
    wrong = to_onnx(small_network(seed=1))
    monkeypatch.setattr("training.export.to_onnx", lambda *_: wrong)
    path = tmp_path / "model.onnx"
    path.write_bytes(b"the one before")
    with pytest.raises(Disagreement):
        export_onnx(network, path, rendered=0, noise=1)
    assert path.read_bytes() == b"the one before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_network_too_large_for_the_format_is_refused_before_anything_is_traced(network, monkeypatch) -> None:
    monkeypatch.setattr(export, "LARGEST_FILE", 2**20)
    with pytest.raises(ValueError, match=r"preset 'tiny' has \d\.\d GiB of weights .*: export a smaller preset"):
        to_onnx(network)


def test_the_command_writes_a_proven_file_that_says_what_it_is(network, tmp_path, capsys) -> None:
    checkpoint, path = tmp_path / "small.safetensors", tmp_path / "small.onnx"
    save_checkpoint(checkpoint, network, {"calibration": {"slopes": [2.0, 1.5], "offsets": [0.1, 0.0]}})
    main(["--checkpoint", str(checkpoint), "--output", str(path), "--rendered", "1", "--noise", "1"])
    printed = capsys.readouterr().out
    assert "largest differences on 2 pictures: mask_logits " in printed
    assert re.search(r"IoU of [1-9]\d* masks: mean 1\.00000", printed)
    info = GraphFile.read(path).info
    assert (info.preset, info.class_names, info.input_size) == ("tiny", network.config.class_names, SIDE)
    assert info.checkpoint_sha256 == file_sha256(checkpoint)
    assert info.calibration.slopes == (2.0, 1.5)
    assert onnxruntime.InferenceSession(Path(path), providers=["CPUExecutionProvider"]).get_inputs()[0].name == "image"
