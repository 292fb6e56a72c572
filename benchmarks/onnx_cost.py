"""What an ONNX graph costs, whatever runs it: multiply-accumulates and parameters."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import NamedTuple

import onnx
from onnx import NodeProto

from spda_sam_core.graph.export import fold


class Cost(NamedTuple):
    """Of one run of a graph.

    Attributes:
        gmacs: multiply-accumulates of convolutions and matrix products, in 10^9; None where a shape is known only when
            it runs, as behind the NMS of Mask R-CNN.
        params_m: values of its weights, in 10^6.
    """

    gmacs: float | None
    params_m: float


def cost(path: Path) -> Cost:
    """Read a graph and count.

    Args:
        path: an ONNX file of fixed sizes, weights inside.
    """
    with tempfile.TemporaryDirectory() as folder:
        # shapes that are computed from constants are constants then
        folded = fold(path, Path(folder) / "folded.onnx")
        graph = onnx.shape_inference.infer_shapes(folded, data_prop=True).graph
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        dims = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(dim.HasField("dim_value") for dim in dims):
            shapes[value.name] = [dim.dim_value for dim in dims]
    constants = [attribute.t for node in graph.node if node.op_type == "Constant" for attribute in node.attribute]
    shapes |= {
        node.output[0]: list(node.attribute[0].t.dims)
        for node in graph.node
        if node.op_type == "Constant" and node.attribute[0].name == "value"
    }
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.INT8)
    values = sum(math.prod(t.dims) for t in (*graph.initializer, *constants) if t.data_type in floats)
    macs: int | None = 0
    for node in graph.node:
        if node.op_type in _COUNTED and macs is not None:
            own = _macs(node, shapes)
            macs = None if own is None else macs + own
    return Cost(None if macs is None else macs / 1e9, values / 1e6)


_COUNTED = ("Conv", "ConvTranspose", "MatMul", "Gemm", "Einsum", "If", "Loop")


def _macs(node: NodeProto, shapes: dict[str, list[int]]) -> int | None:
    """Multiply-accumulates of one node; None where they cannot be known."""
    if any(name not in shapes for name in (*node.input[:2], node.output[0])):
        return None
    first, second, out = shapes[node.input[0]], shapes[node.input[1]], shapes[node.output[0]]
    if node.op_type == "Conv":  # weights (out, in/groups, h, w): each output value sums over the last three
        return math.prod(out) * math.prod(second[1:])
    if node.op_type == "ConvTranspose":  # weights (in, out/groups, h, w): each input value goes to the last three
        return math.prod(first) * math.prod(second[1:])
    if node.op_type == "MatMul":
        return math.prod(out) * first[-1]
    if node.op_type == "Gemm":
        transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        return math.prod(out) * first[0 if transposed else 1]
    return None
