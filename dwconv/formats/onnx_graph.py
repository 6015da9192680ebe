"""A graph of ONNX: its tensors, what makes and what takes them, and the arguments of a convolution.

(github.com/onnx/onnx/blob/main/docs/Operators.md has the operators.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..shapes import explicit_padding
from . import FormatError, short
from .budget import Budget

#: Why a constant cannot be used as it is; `onnx_quantized` may know what to do with it.
DEQUANTIZED = "its weights are bytes, which a DequantizeLinear makes floats of"
_CHAIN = 8  # nodes between an initializer and a convolution, Identity and the like

Sides: TypeAlias = tuple[tuple[int, int], tuple[int, int]]


class Convolution:
    """A node that is a depthwise convolution, and its arguments. FormatError for wrong ones."""

    def __init__(
        self,
        node: Any,
        name: str,
        operator: str,
        attributes: dict[str, Any],
        shape: tuple[int, ...],
        group: int,
    ) -> None:
        self.node, self.name, self.operator = node, name, operator
        #: Of the weights, (C*M, 1, kh, kw).
        self.shape = shape
        self.multiplier = shape[0] // group
        self.kernel_size: tuple[int, int] = (shape[2], shape[3])
        self._attributes = attributes

    @property
    def strides(self) -> tuple[int, int]:
        """Height and width."""
        return _pair(self._attributes.get("strides"), "strides", (1, 1))

    @property
    def dilation(self) -> tuple[int, int]:
        """Height and width."""
        return _pair(self._attributes.get("dilations"), "dilations", (1, 1))

    def input(self, place: int) -> str:
        """The name of a tensor, '' for one that is left out."""
        found: str = self.node.input[place] if len(self.node.input) > place else ""
        return found

    @property
    def output(self) -> str:
        """The name of the result."""
        found: str = next(iter(self.node.output), "")
        return found

    def padding(self) -> Sides | str:
        """'valid', 'same', 'SAME_LOWER', or what each side gets."""
        automatic = "NOTSET"
        if "auto_pad" in self._attributes:
            automatic = self._attributes["auto_pad"].s.decode("utf-8", "replace")
        named = {"VALID": "valid", "SAME_UPPER": "same", "SAME_LOWER": "SAME_LOWER"}
        if automatic in named:
            return named[automatic]
        if automatic != "NOTSET":
            raise FormatError(f"auto_pad: expected a value of ONNX; received {short(automatic)}")
        pads = list(self._attributes["pads"].ints) if "pads" in self._attributes else [0] * 4
        if len(pads) != 4:
            raise FormatError(f"pads: expected four; received {short(pads)}")
        return (pads[0], pads[2]), (pads[1], pads[3])


class Graph:
    """One graph, with what its tensors are made by."""

    def __init__(self, graph: Any, budget: Budget) -> None:
        self._budget = budget
        self._initializers = {each.name: each for each in graph.initializer}
        self._makers = {name: node for node in graph.node for name in node.output}
        self._graph = graph
        self._users: dict[str, Any] | None = None
        self._tensors: dict[str, Any] = {}  # of Constant nodes, by their outputs
        values = [*graph.input, *graph.value_info]
        self._values = {each.name: each for each in values}

    def same(self, of: Convolution, image: str) -> Sides | None:
        """What 'same' pads, if that is known: the same for each size, or the file has that of the
        tensor `image`.
        """
        sizes = self._sizes(image)
        if sizes is None and of.strides == (1, 1):
            sizes = (1 << 20, 1 << 20)  # with these strides 'same' pads alike for every size
        if sizes is None:
            return None
        return explicit_padding(sizes, of.kernel_size, of.strides, "same", of.dilation)

    def _sizes(self, name: str) -> tuple[int, int] | None:
        """Height and width of a tensor, if the file has them."""
        value = self._values.get(name)
        dimensions = [] if value is None else value.type.tensor_type.shape.dim
        if len(dimensions) != 4 or any(each.dim_value < 1 for each in dimensions[2:]):
            return None
        return dimensions[2].dim_value, dimensions[3].dim_value

    def step(self) -> None:
        """Charges a step of the budget."""
        self._budget.step()

    def maker(self, name: str) -> Any:
        """The node that makes a tensor, but Identity; None for one that no node makes."""
        node = None
        for _ in range(_CHAIN):
            self._budget.step()
            node = self._makers.get(name)
            if node is None or node.op_type != "Identity":
                break
            name = next(iter(node.input), "")
        return node

    def numbers(self, name: str, most: int) -> NDArray[Any]:
        """A constant of so many elements at most, and one at least."""
        tensor, reason = self.constant(name)
        if tensor is None or reason:
            raise FormatError(f"{short(name)}: {reason}")
        count = math.prod(tensor.dims[:5])
        if len(tensor.dims) > 4 or not 0 < count <= most:
            raise FormatError(f"{short(name)}: expected 1 to {most} numbers; received {count}")
        return self.array(tensor, name)

    def only_user(self, name: str) -> Any:
        """The node that takes a tensor, if it is the only one and the tensor is no result of the
        graph; else None.
        """
        if self._users is None:
            self._users = {each.name: None for each in self._graph.output}
            for node in self._graph.node:
                for taken in node.input:
                    self._users[taken] = None if taken in self._users else node
        return self._users.get(name)

    def constant(self, name: str) -> tuple[Any, str]:
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
                reason = DEQUANTIZED
            elif maker.op_type != "Identity":
                return None, f"its weights are computed, by {short(maker.op_type)[1:-1]}"
            name = next(iter(maker.input), "")
        return None, "its weights are computed"

    def array(self, tensor: Any, name: str) -> NDArray[Any]:
        """The tensor. FormatError for one in another file, or of sizes that do not fit."""
        from onnx import TensorProto, numpy_helper

        if tensor.data_location == TensorProto.EXTERNAL:
            raise FormatError("its weights are in another file, which is not opened")
        self._budget.read(tensor.ByteSize(), f"node {short(name)}")
        try:
            return np.asarray(numpy_helper.to_array(tensor))
        except Exception as error:  # of a library, for what it did not expect
            raise FormatError(f"damaged: {short(str(error))}") from error


def text(value: str | bytes) -> str:
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
