"""The exported graph in float16 and in int8, by ONNX Runtime's own converters; TensorRT and OpenVINO read both.

What TensorRT accepts decides: networks are strongly typed there, so that precision lives in the file. Sums over many
values, and what overflows or loses small differences in float16, stay in float32; int8 is symmetric, weights by output
channel, and biases are not quantised.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

from spda_sam_core.graph.onnx_file import Precision

IN_FLOAT32 = ("Div", "Exp", "LayerNormalization", "Pow", "ReduceMean", "ReduceSum", "Reciprocal", "Softmax", "Sqrt")
"""Operators that stay in float32 in a file of float16: norms, softmax, and what they are made of."""
QUANTISED = ("Conv", "ConvTranspose", "Gemm", "MatMul")

Feed = Mapping[str, NDArray[Any]]


def in_precision(model: bytes, precision: Precision, calibrate_on: Sequence[Feed] = ()) -> bytes:
    """Convert a float32 graph of `to_onnx`; inputs and outputs keep their types.

    Args:
        model: the ONNX file.
        precision: of most of its sums.
        calibrate_on: what the network reads of some pictures, for int8: activations get the range that they have there.

    Raises:
        ValueError: int8 without pictures.
    """
    if precision == "float32":
        return model
    original = onnx.load_from_string(model)
    # before the converter, which changes the graph that it is given
    entries = {entry.key: entry.value for entry in original.metadata_props}
    if precision == "float16":
        blocked = [*DEFAULT_OP_BLOCK_LIST, *IN_FLOAT32]
        converted = convert_float_to_float16(original, keep_io_types=True, op_block_list=blocked)
        _sort(converted.graph)
    else:
        if not calibrate_on:
            raise ValueError("int8 needs pictures to calibrate on: give at least one")
        converted = _quantised(original, calibrate_on)
    onnx.helper.set_model_props(converted, entries | {"precision": precision})
    onnx.checker.check_model(converted, full_check=True)
    return converted.SerializeToString()


class _Reader(CalibrationDataReader):
    """Hands out the pictures one by one, as the quantiser asks for them."""

    def __init__(self, feeds: Sequence[Feed], read: Sequence[str]) -> None:
        self._feeds: Iterator[dict[str, NDArray[Any]]] = iter([{n: feed[n] for n in read} for feed in feeds])

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return next(self._feeds, None)


def _quantised(model: onnx.ModelProto, feeds: Sequence[Feed]) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, before)
        graph = onnx.shape_inference.infer_shapes(model).graph
        quantize_static(
            before,
            after,
            _Reader(feeds, [entry.name for entry in graph.input]),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED),
            nodes_to_exclude=_left_in_float32(graph),
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
        )
        return onnx.load(after)


def _left_in_float32(graph: onnx.GraphProto) -> list[str]:
    """Nodes that lose most: products of two activations, as in attention, and the encoder's first layers.

    Of `tiny`, the encoder's layers at strides 2 and 4 cost 10 AP when they are quantised; all others together, 0.5.
    """
    weights = {tensor.name for tensor in graph.initializer}
    side = next(entry for entry in graph.input if entry.name == "image").type.tensor_type.shape.dim[1].dim_value
    sides = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim][2:3] for v in graph.value_info}
    left = []
    for node in graph.node:
        of_activations = node.op_type == "MatMul" and not weights.intersection(node.input)
        early = (
            node.op_type == "Conv"
            and node.name.startswith("/rgb_path/")
            and sides.get(node.output[0], [0])[0] >= side // 4
        )
        if of_activations or early:
            left.append(node.name)
    return left


def _sort(graph: onnx.GraphProto) -> None:
    """Bring nodes into the order of their inputs: the converter appends its casts at the end, which onnx refuses.

    Before ONNX Runtime 1.32 it also made the same cast again for each node that reads a value; one is kept.
    """
    known = {value.name for value in (*graph.input, *graph.initializer)} | {""}
    waiting, ordered = list(graph.node), []
    while waiting:
        ready = [node for node in waiting if known.issuperset(node.input)]
        assert ready, "a graph without cycles has a node that can be next"
        for node in ready:
            if not known.issuperset(node.output):
                ordered.append(node)
            known.update(node.output)
        done = {id(node) for node in ready}
        waiting = [node for node in waiting if id(node) not in done]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in ordered]
    del graph.node[:]
    graph.node.extend(copies)
