"""The graph in float16 and int8: which sums are in which type, and that backends still find what PyTorch finds."""

from __future__ import annotations

import collections

import numpy as np
import onnx
import pytest
import torch
from network_cases import SMALL, awakened
from onnx import TensorProto, numpy_helper

from spda_sam_core.graph.check_picture import check_inputs
from spda_sam_core.graph.export import describe, to_onnx
from spda_sam_core.graph.onnx_file import GraphFile
from spda_sam_core.network.network import build_network
from spda_sam_core.runtimes.backends import load_backend
from training import precision
from training.precision import IN_FLOAT32, in_precision


@pytest.fixture(scope="module")
def model() -> bytes:
    torch.manual_seed(0)
    network = awakened(build_network(SMALL)).eval()
    return to_onnx(network, describe(network))


def types_of(model: onnx.ModelProto) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(model).graph
    known = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.input, *graph.output)}
    return known | {t.name: t.data_type for t in graph.initializer}


def test_float32_is_the_graph_as_it_was(model) -> None:
    assert in_precision(model, "float32") == model


def test_in_float16_products_are_float16_and_norms_float32_and_the_outside_stays(model) -> None:
    converted = onnx.load_from_string(in_precision(model, "float16"))
    before, types = onnx.load_from_string(model), types_of(converted)
    seen = collections.defaultdict(set)
    for node in converted.graph.node:
        seen[node.op_type].add(types[node.output[0]])
    assert seen["Conv"] == seen["MatMul"] == {TensorProto.FLOAT16}
    for name in set(IN_FLOAT32) & set(seen):
        assert seen[name] <= {TensorProto.FLOAT, TensorProto.INT64}, name
    for a, b in zip(
        (*before.graph.input, *before.graph.output), (*converted.graph.input, *converted.graph.output), strict=True
    ):
        assert a == b


def test_in_int8_weights_are_symmetric_by_channel_and_biases_attention_and_the_first_layers_are_left(model) -> None:
    feeds = [check_inputs(SMALL.input_size)]
    converted = onnx.load_from_string(in_precision(model, "int8", feeds))
    values = {t.name: numpy_helper.to_array(t) for t in converted.graph.initializer}
    made_by = {name: node for node in converted.graph.node for name in node.output}
    quantised = [n for n in converted.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert len(quantised) > 100
    for node in quantised:
        zero = values[node.input[2]]
        assert zero.dtype == np.int8
        assert not zero.any()  # TensorRT takes no other
    types = types_of(converted)
    kept = 0
    for node in (node for node in converted.graph.node if node.op_type == "Conv"):
        weights = made_by.get(node.input[1])
        if weights is None:  # not quantised: at strides 2 and 4 of the encoder only
            assert node.name.startswith("/rgb_path/")
            kept += 1
            continue
        assert weights.op_type == "DequantizeLinear"
        assert values[weights.input[1]].shape == (len(values[weights.input[0]]),)
        assert len(node.input) == 2 or values[node.input[2]].dtype == np.float32
    assert 0 < kept < 15  # of some 150
    assert types["image"] == TensorProto.UINT8
    attention = [n for n in converted.graph.node if n.op_type == "MatMul" and n.input[1] in made_by]
    assert any(made_by[node.input[1]].op_type != "DequantizeLinear" for node in attention)


def test_int8_without_pictures_is_refused(model) -> None:
    with pytest.raises(ValueError, match="int8 needs pictures to calibrate on: give at least one"):
        in_precision(model, "int8")


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_a_backend_runs_it_and_is_told_what_it_is(model, precision, tmp_path) -> None:
    path = tmp_path / "g.onnx"
    path.write_bytes(in_precision(model, precision, [check_inputs(SMALL.input_size)]))
    assert GraphFile.read(path).precision == precision
    assert load_backend("onnxruntime", path).facts()["precision"] == precision  # and it passed the check picture


def test_a_cast_that_the_converter_makes_twice_is_kept_once(model, monkeypatch) -> None:
    convert_once = precision.convert_float_to_float16

    def convert_twice(*arguments, **options):  # as ONNX Runtime's did before 1.32
        converted = convert_once(*arguments, **options)
        cast = next(node for node in converted.graph.node if node.op_type == "Cast")
        converted.graph.node.append(onnx.NodeProto.FromString(cast.SerializeToString()))
        return converted

    expected = onnx.load_from_string(in_precision(model, "float16"))
    monkeypatch.setattr(precision, "convert_float_to_float16", convert_twice)
    found = onnx.load_from_string(in_precision(model, "float16"))
    assert sorted(n.name for n in found.graph.node) == sorted(n.name for n in expected.graph.node)
