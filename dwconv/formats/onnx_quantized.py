"""ONNX: depthwise convolutions of bytes, as layers of int8 weights.

There are two ways to write one: the operator QLinearConv; and a Conv whose inputs come from
DequantizeLinear and whose output goes to QuantizeLinear, it may be through Relu or Clip(0, 6).
Runtimes compute the second as the first.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..torch_weights import from_torch_weight
from . import Document, FormatError, interchange, short
from .interchange import Node
from .onnx_graph import Convolution, Graph

Array = NDArray[Any]


class Dequantized(NamedTuple):
    """scale * (source - zero_point), by the names of the tensors."""

    source: str
    scale: str
    #: '' where it is left out.
    zero_point: str
    #: Where scales differ along it.
    axis: int


def dequantized(graph: Graph, name: str) -> Dequantized | None:
    """What a tensor is, if a DequantizeLinear makes it. FormatError for one with blocks."""
    maker = graph.maker(name)
    if maker is None or maker.op_type != "DequantizeLinear" or len(maker.input) < 2:
        return None
    attributes = {each.name: each.i for each in maker.attribute}
    if attributes.get("block_size", 0):
        raise FormatError("block_size: expected scales of channels; received those of blocks")
    zero_point = maker.input[2] if len(maker.input) > 2 else ""
    return Dequantized(maker.input[0], maker.input[1], zero_point, attributes.get("axis", 1))


def linear(graph: Graph, of: Convolution) -> Node:
    """A QLinearConv."""
    x = _affine(graph, "x", of.input(1), of.input(2))
    y = _affine(graph, "y", of.input(6), of.input(7))
    scales = _scales(graph, of, of.input(4))
    names = of.input(3), of.input(5), of.input(8)
    padding = _padding(graph, of, of.input(0))
    return _layer(graph, of, names, x, scales, y, "linear", padding)


def between(graph: Graph, of: Convolution) -> Node:
    """A Conv whose weights a DequantizeLinear makes."""
    kernel, source = dequantized(graph, of.input(1)), dequantized(graph, of.input(0))
    if kernel is None or source is None:
        raise FormatError("its weights are of bytes, but its input comes from no DequantizeLinear")
    scales = _scales(graph, of, kernel.scale)
    if scales.size > 1 and kernel.axis not in (0, -4):
        raise FormatError(
            f"axis: expected 0, a scale for each output channel; received {kernel.axis}"
        )
    x = _affine(graph, "x", source.scale, source.zero_point)
    bias = ""
    if of.input(2):
        stored = dequantized(graph, of.input(2))
        if stored is None:
            raise FormatError("bias: expected int32 through DequantizeLinear; received floats")
        scale = _array(graph, of, stored.scale)
        interchange.check_bias_scale(scale, x[0], scales)
        if stored.zero_point and _array(graph, of, stored.zero_point).any():
            raise FormatError("bias: expected a zero point of 0; received another one")
        bias = stored.source
    activation, result = _result(graph, of)
    y = _affine(graph, "y", result.input[1], result.input[2] if len(result.input) > 2 else "")
    names = kernel.source, kernel.zero_point, bias
    padding = _padding(graph, of, source.source)
    return _layer(graph, of, names, x, scales, y, activation, padding)


def _result(graph: Graph, of: Convolution) -> tuple[str, Any]:
    """(activation, the QuantizeLinear that takes the result)"""
    activation = "linear"
    user = graph.only_user(of.output)
    if user is not None and user.op_type in ("Relu", "Clip") and user.output:
        activation = "relu" if user.op_type == "Relu" else _clip(graph, user)
        user = graph.only_user(user.output[0])
    if user is None or user.op_type != "QuantizeLinear" or len(user.input) < 2:
        raise FormatError(
            "its weights are of bytes, but its output does not go to one QuantizeLinear alone"
        )
    return activation, user


def _clip(graph: Graph, node: Any) -> str:
    """The activation that a Clip is; its bounds are attributes before version 11."""
    attributes = {each.name: each.f for each in node.attribute}
    bounds: list[Any] = []
    for place, name in enumerate(("min", "max"), 1):
        given = len(node.input) > place and node.input[place]
        value = graph.numbers(node.input[place], 1) if given else None
        bounds.append(attributes.get(name) if value is None else float(value.reshape(-1)[0]))
    known: dict[tuple[Any, Any], str] = {(0.0, 6.0): "relu6", (0.0, None): "relu"}
    found = known.get((bounds[0], bounds[1]))
    if found is None:
        raise FormatError(f"Clip: expected bounds 0 and 6; received {short(bounds)}")
    return found


def _layer(
    graph: Graph,
    of: Convolution,
    names: tuple[str, str, str],
    x: tuple[Any, Any],
    scales: Array,
    y: tuple[Any, Any],
    activation: str,
    padding: Any,
) -> Node:
    """names: of weights, their zero points, bias; the last two may be ''."""
    kernel_name, zero_point_name, bias_name = names
    outputs = of.shape[0]

    def weights() -> list[Array]:
        stored = _array(graph, of, kernel_name)
        zero_points = np.zeros(1, np.int8)
        if zero_point_name:
            zero_points = graph.numbers(zero_point_name, outputs)
        if zero_points.dtype not in interchange.BYTES or zero_points.size not in (1, outputs):
            raise FormatError(
                f"zero points of weights: expected one byte or {outputs}; received "
                f"{zero_points.size} of {zero_points.dtype}"
            )
        stored = interchange.less_zero_points(stored, zero_points.reshape(-1, 1, 1, 1))
        kernel = from_torch_weight(stored, of.multiplier)
        return [kernel, scales, *([_array(graph, of, bias_name)] if bias_name else [])]

    config: Document = {
        "strides": list(of.strides),
        "padding": padding,
        "dilation_rate": list(of.dilation),
        "activation": activation,
        **interchange.affine_config("x", *x),
        **interchange.affine_config("y", *y),
    }
    return Node(of.name, of.operator, config, weights, is_quantized=True)


def _padding(graph: Graph, of: Convolution, image: str) -> Any:
    """As `QuantizedDepthwiseConv2D` takes it, which has explicit ones. image: the tensor x."""
    padding = of.padding()
    if padding == "SAME_LOWER":
        same = graph.same(of, image)
        if same is None:
            raise FormatError("auto_pad: SAME_LOWER, of images whose size the file does not have")
        padding = ((same[0][1], same[0][0]), (same[1][1], same[1][0]))
    return padding if isinstance(padding, str) else [list(side) for side in padding]


def _affine(graph: Graph, of: str, scale: str, zero_point: str) -> tuple[float, Any]:
    """(scale, zero point as a NumPy int8 or uint8) of x or y."""
    scales = graph.numbers(scale, 1)
    zeros = graph.numbers(zero_point, 1) if zero_point else None
    if zeros is None or zeros.dtype not in interchange.BYTES:
        found = "none" if zeros is None else zeros.dtype
        raise FormatError(f"{of}_zero_point: expected one of int8 or uint8; received {found}")
    if scales.dtype != np.float32:
        raise FormatError(f"{of}_scale: expected float32; received {scales.dtype}")
    return float(scales.reshape(-1)[0]), zeros.reshape(-1)[0]


def _scales(graph: Graph, of: Convolution, name: str) -> Array:
    """One scale of the weights, or one for each output channel."""
    found = graph.numbers(name, of.shape[0])
    if found.dtype != np.float32 or found.size not in (1, of.shape[0]):
        raise FormatError(
            f"scales of weights: expected one float32 or {of.shape[0]}; received {found.size} of "
            f"{found.dtype}"
        )
    return found.reshape(-1)


def _array(graph: Graph, of: Convolution, name: str) -> Array:
    """A constant of the graph."""
    tensor, reason = graph.constant(name)
    if tensor is None or reason:
        raise FormatError(reason)
    return graph.array(tensor, of.name)
