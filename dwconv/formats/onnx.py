"""ONNX: the depthwise convolutions of a model's graph, through the package `onnx`.

Layers of floats are channels_first, as ONNX is; those of bytes, of `onnx_quantized`, are
channels_last, as all such layers are. Graphs within nodes (If, Loop) are not looked at, and no file
but the model's own is opened. (github.com/onnx/onnx/blob/main/docs/Operators.md has the operators.)
"""

from __future__ import annotations

from typing import Any, BinaryIO

from numpy.typing import NDArray

from .. import dtypes
from ..torch_weights import from_torch_weight
from . import Contents, Document, FormatError, interchange, onnx_quantized, short, wire
from .budget import Budget
from .interchange import Node
from .onnx_graph import DEQUANTIZED, Convolution, Graph, text

#: Where the weights are among the inputs.
_WEIGHT = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3}

# The fields of onnx.proto that hold messages, and what is in these.
_ENTRY: wire.Schema = {}
_SEGMENTS: wire.Schema = {}
_TENSOR: wire.Schema = {3: _SEGMENTS, 13: _ENTRY, 16: _ENTRY}
_SPARSE: wire.Schema = {1: _TENSOR, 2: _TENSOR}
_TYPE: dict[int, Any] = {}
_DIMENSION: wire.Schema = {}
_SHAPE: wire.Schema = {1: _DIMENSION}
_TYPE.update({1: {2: _SHAPE}, 8: {2: _SHAPE}, 4: {1: _TYPE}, 5: {2: _TYPE}, 9: {1: _TYPE}})
_VALUE: wire.Schema = {2: _TYPE, 4: _ENTRY}
_GRAPH: dict[int, Any] = {}
_ATTRIBUTE: wire.Schema = {
    **dict.fromkeys((5, 10), _TENSOR),
    **dict.fromkeys((6, 11), _GRAPH),
    **dict.fromkeys((14, 15), _TYPE),
    **dict.fromkeys((22, 23), _SPARSE),
}
_NODE: wire.Schema = {5: _ATTRIBUTE, 9: _ENTRY}
_ANNOTATION: wire.Schema = {2: _ENTRY}
_GRAPH.update({1: _NODE, 5: _TENSOR, 14: _ANNOTATION, 15: _SPARSE, 16: _ENTRY})
_GRAPH.update(dict.fromkeys((11, 12, 13), _VALUE))
_FUNCTION: wire.Schema = {7: _NODE, 9: _ENTRY, 11: _ATTRIBUTE, 12: _VALUE, 14: _ENTRY}
_TRAINING: wire.Schema = dict.fromkeys((1, 2), _GRAPH) | dict.fromkeys((3, 4), _ENTRY)
_MODEL: wire.Schema = {7: _GRAPH, 8: _ENTRY, 14: _ENTRY, 20: _TRAINING, 25: _FUNCTION}


def load(file: BinaryIO, budget: Budget) -> Contents:
    """The document and the weights. ImportError without the package."""
    try:
        import onnx
    except ImportError as error:
        raise interchange.missing_package("onnx", "an ONNX model") from error
    budget.read(budget.size, "the model")
    data = file.read()
    wire.charge(memoryview(data), _MODEL, budget)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:  # DecodeError, of a package that has moved its name
        raise FormatError(f"damaged, or no ONNX model: {short(str(error))}") from error
    if not model.HasField("graph"):
        raise FormatError("no ONNX model: expected a graph; received none")
    if not model.opset_import:  # which comes after the graph
        raise FormatError("truncated: expected the versions of the operators; received none")
    writer = " ".join(filter(None, map(text, (model.producer_name, model.producer_version))))
    kind = f"ONNX, IR version {model.ir_version}"
    kind += f", written by {short(writer)[1:-1]}" if writer else ""
    graph = Graph(model.graph, budget)
    nodes = [_node(graph, each) for each in model.graph.node]
    return interchange.contents(kind, "ONNX", nodes, budget)


def _node(graph: Graph, node: Any) -> Node:
    """The layer that a node is."""
    graph.step()
    name = text(node.name or next(iter(node.output), ""))
    operator, domain = text(node.op_type), text(node.domain)
    if domain not in ("", "ai.onnx"):
        operator = f"{domain}.{operator}"
    plain = Node(name, operator)
    place = _WEIGHT.get(operator)
    if place is None or len(node.input) <= place:
        return plain
    attributes = {each.name: each for each in node.attribute}
    group = attributes["group"].i if "group" in attributes else 1
    if group < 2:
        return plain
    weight, reason = graph.constant(node.input[place])
    if weight is None:
        return interchange.refused(name, operator, reason)
    shape = list(weight.dims[:5])  # a million, shared by a thousand nodes, are not copied
    if len(shape) != 4 or shape[1] != 1 or shape[0] < group or shape[0] % group:
        return plain  # groups of several channels, or another number of dimensions
    convolution = Convolution(node, name, operator, attributes, tuple(shape), group)
    try:
        if operator == "ConvInteger":
            raise FormatError("its results are sums of int32, which no layer has")
        if operator == "QLinearConv":
            return onnx_quantized.linear(graph, convolution)
        if reason == DEQUANTIZED:
            return onnx_quantized.between(graph, convolution)
        return _of_floats(graph, convolution, weight)
    except FormatError as error:
        return interchange.refused(name, operator, str(error))


def _of_floats(graph: Graph, of: Convolution, weight: Any) -> Node:
    padding, without = _padding(graph, of)
    bias_name = of.input(2)

    def weights() -> list[NDArray[Any]]:
        kernel = from_torch_weight(_floats(graph, weight, of.name), of.multiplier)
        if not bias_name:
            return [kernel]
        bias, reason = graph.constant(bias_name)
        if bias is None or reason:
            raise FormatError(f"bias: {reason}")
        return [kernel, _floats(graph, bias, of.name)]

    config: Document = {
        "kernel_size": of.kernel_size,
        "strides": of.strides,
        "padding": padding,
        "dilation_rate": of.dilation,
        "depth_multiplier": of.multiplier,
        "data_format": "channels_first",
        "use_bias": bool(bias_name),
    }
    return Node(of.name, of.operator, config, weights, without)


def _padding(graph: Graph, of: Convolution) -> tuple[str, str | None]:
    """(padding of the layer, what is missing in it or None)"""
    padding = of.padding()
    if padding == "SAME_LOWER":
        return "valid", f"padding {padding}"
    if isinstance(padding, str):
        return padding, None
    if not any(padding[0] + padding[1]):
        return "valid", None
    return (
        ("same", None)
        if padding == graph.same(of, of.input(0))
        else ("valid", f"padding {padding}")
    )


def _floats(graph: Graph, tensor: Any, name: str) -> NDArray[Any]:
    """A constant of floats. FormatError for another dtype."""
    array = graph.array(tensor, name)
    if not dtypes.is_float(array.dtype) or array.dtype.name not in dtypes.COMPUTE:
        raise FormatError(f"expected weights of floats; received {array.dtype}")
    return array
