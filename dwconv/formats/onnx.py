"""ONNX: the depthwise convolutions of a model's graph, through the package `onnx`.

Layers are channels_first, as ONNX is. Graphs within nodes (If, Loop) are not looked at, and no file
but the model's own is opened. (github.com/onnx/onnx/blob/main/docs/Operators.md has the operators.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from .. import dtypes
from ..shapes import explicit_padding
from ..torch_weights import from_torch_weight
from . import Contents, Document, FormatError, interchange, short, wire
from .budget import Budget
from .interchange import Node

_INTEGERS = ("QLinearConv", "ConvInteger")  # and where their weights are among the inputs
_WEIGHT = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3}
_CHAIN = 8  # nodes between an initializer and a convolution, Identity and the like

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
    writer = " ".join(filter(None, map(_text, (model.producer_name, model.producer_version))))
    kind = f"ONNX, IR version {model.ir_version}"
    kind += f", written by {short(writer)[1:-1]}" if writer else ""
    graph = _Graph(model.graph, budget)
    nodes = [graph.node(each) for each in model.graph.node]
    return interchange.contents(kind, "ONNX", nodes, budget)


class _Graph:
    """One graph, with what its tensors are made by."""

    def __init__(self, graph: Any, budget: Budget) -> None:
        self._budget = budget
        self._initializers = {each.name: each for each in graph.initializer}
        self._makers = {name: node for node in graph.node for name in node.output}
        self._tensors: dict[str, Any] = {}  # of Constant nodes, by their outputs
        values = [*graph.input, *graph.value_info]
        self._values = {each.name: each for each in values}

    def node(self, node: Any) -> Node:
        """The layer that a node is."""
        self._budget.step()
        name = _text(node.name or next(iter(node.output), ""))
        operator, domain = _text(node.op_type), _text(node.domain)
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
        weight, reason = self._constant(node.input[place])
        if weight is None:
            return interchange.refused(name, operator, reason)
        shape = list(weight.dims[:5])  # a million, shared by a thousand nodes, are not copied
        if len(shape) != 4 or shape[1] != 1 or shape[0] < group or shape[0] % group:
            return plain  # groups of several channels, or another number of dimensions
        if operator in _INTEGERS or reason:
            return interchange.refused(
                name, operator, reason or interchange.not_supported_yet("int8")
            )
        try:
            return self._convolution(node, name, operator, attributes, weight, group)
        except FormatError as error:
            return interchange.refused(name, operator, str(error))

    def _convolution(
        self, node: Any, name: str, operator: str, attributes: Any, weight: Any, group: int
    ) -> Node:
        multiplier = weight.dims[0] // group
        kernel_size = tuple(weight.dims[2:])
        strides, dilation = (
            _pair(attributes.get(argument), argument, (1, 1))
            for argument in ("strides", "dilations")
        )
        padding, without = self._padding(node, attributes, kernel_size, strides, dilation)
        has_bias = len(node.input) > 2 and node.input[2] != ""

        def weights() -> list[NDArray[Any]]:
            kernel = from_torch_weight(self._array(weight, name), multiplier)
            if not has_bias:
                return [kernel]
            bias, reason = self._constant(node.input[2])
            if bias is None or reason:
                raise FormatError(reason)
            return [kernel, self._array(bias, name)]

        config: Document = {
            "kernel_size": kernel_size,
            "strides": strides,
            "padding": padding,
            "dilation_rate": dilation,
            "depth_multiplier": multiplier,
            "data_format": "channels_first",
            "use_bias": has_bias,
        }
        return Node(name, operator, config, weights, without)

    def _padding(
        self, node: Any, attributes: Any, kernel: Any, strides: Any, dilation: Any
    ) -> tuple[str, str | None]:
        """(padding of the layer, what is missing in it or None)"""
        automatic = "NOTSET"
        if "auto_pad" in attributes:
            automatic = attributes["auto_pad"].s.decode("utf-8", "replace")
        if automatic in ("VALID", "SAME_UPPER"):
            return ("valid" if automatic == "VALID" else "same"), None
        if automatic == "SAME_LOWER":
            return "valid", "padding SAME_LOWER"
        if automatic != "NOTSET":
            raise FormatError(f"auto_pad: expected a value of ONNX; received {short(automatic)}")
        pads = list(attributes["pads"].ints) if "pads" in attributes else [0] * 4
        if len(pads) != 4:
            raise FormatError(f"pads: expected four; received {short(pads)}")
        sides = (pads[0], pads[2]), (pads[1], pads[3])
        if not any(pads):
            return "valid", None
        sizes = self._sizes(node.input[0])
        if sizes is None and strides == (1, 1):
            sizes = (1 << 20, 1 << 20)  # with these strides 'same' pads alike for every size
        if (
            sizes is not None
            and explicit_padding(sizes, kernel, strides, "same", dilation) == sides
        ):
            return "same", None
        return "valid", f"padding {sides}"

    def _sizes(self, name: str) -> tuple[int, int] | None:
        """Height and width of a tensor, if the file has them."""
        value = self._values.get(name)
        dimensions = [] if value is None else value.type.tensor_type.shape.dim
        if len(dimensions) != 4 or any(each.dim_value < 1 for each in dimensions[2:]):
            return None
        return dimensions[2].dim_value, dimensions[3].dim_value

    def _constant(self, name: str) -> tuple[Any, str]:
        """(tensor, '') for a constant of the graph; with a reason if it cannot be used as it is;
        (None, reason) for one that is computed.
        """
        reason = ""
        for _ in range(_CHAIN):
            self._budget.step()
            found = self._initializers.get(name)
            if found is not None:
                return found, reason
            maker = self._makers.get(name)
            if maker is None:
                return None, "its weights come from outside of the graph"
            if maker.op_type == "Constant":
                if name not in self._tensors:
                    values = (each.t for each in maker.attribute if each.name == "value")
                    self._tensors[name] = next(values, None)
                tensor = self._tensors[name]
                return tensor, reason if tensor is not None else "its weights are no tensor"
            if maker.op_type == "DequantizeLinear":
                reason = interchange.not_supported_yet("int8")
            elif maker.op_type != "Identity":
                return None, f"its weights are computed, by {short(maker.op_type)[1:-1]}"
            name = next(iter(maker.input), "")
        return None, "its weights are computed"

    def _array(self, tensor: Any, name: str) -> NDArray[Any]:
        """The tensor. FormatError for one in another file, another dtype, sizes that do not fit."""
        from onnx import TensorProto, numpy_helper

        if tensor.data_location == TensorProto.EXTERNAL:
            raise FormatError("its weights are in another file, which is not opened")
        self._budget.read(tensor.ByteSize(), f"node {short(name)}")
        try:
            array = np.asarray(numpy_helper.to_array(tensor))
        except Exception as error:  # of a library, for what it did not expect
            raise FormatError(f"damaged: {short(str(error))}") from error
        if not dtypes.is_float(array.dtype) or array.dtype.name not in dtypes.COMPUTE:
            raise FormatError(f"expected weights of floats; received {array.dtype}")
        return array


def _text(value: str | bytes) -> str:
    """A text, which protobuf leaves as bytes if it is no UTF-8."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _pair(attribute: Any, name: str, default: tuple[int, int]) -> tuple[int, int]:
    """Two positive ints."""
    if attribute is None or not attribute.ints:
        return default
    found: Sequence[int] = attribute.ints
    if len(found) != 2 or min(found) < 1:
        raise FormatError(f"{name}: expected two positive ints; received {short(list(found))}")
    return found[0], found[1]
