"""TensorFlow Lite: the depthwise convolutions of a model, through the package `tflite`.

(The schema is tensorflow/compiler/mlir/lite/schema/schema.fbs of TensorFlow.)
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from . import Contents, Document, FormatError, interchange, short, tflite_quantized
from .budget import Budget
from .interchange import Node

#: Bytes 4 to 8 of a file.
SIGNATURE = b"TFL3"

_OPERATOR = "DEPTHWISE_CONV_2D"
#: Of a quantized layer.
ACTIVATIONS = ("linear", "relu", "relu6")
_ACTIVATIONS = {0: "linear", 1: "relu", 2: "hard_tanh", 3: "relu6", 4: "tanh"}
_DTYPES: dict[int, np.dtype[Any]] = {0: np.dtype("<f4"), 1: np.dtype("<f2"), 10: np.dtype("<f8")}


def load(file: BinaryIO, budget: Budget) -> Contents:
    """The document and the weights. ImportError without the package."""
    try:
        import tflite
    except ImportError as error:
        raise interchange.missing_package("tflite", "a model of TensorFlow Lite") from error
    budget.read(budget.size, "the model")
    data = file.read()
    with _damage():
        model = tflite.Model.GetRootAsModel(data, 0)
        operators = {
            number: name for name, number in vars(tflite.BuiltinOperator).items() if name[0] != "_"
        }
        nodes = []
        for number in range(model.SubgraphsLength()):
            budget.step()
            graph = _Graph(model, model.Subgraphs(number), operators, budget)
            for place in range(graph.length):
                budget.step()
                nodes.append(graph.node(place))
        kind = f"TensorFlow Lite, version {model.Version()} of the schema"
    return interchange.contents(kind, "TFLite", nodes, budget)


@contextmanager
def _damage() -> Iterator[None]:
    """FormatError for what Flatbuffers' reader, which checks nothing, comes upon."""
    try:
        yield
    except FormatError:
        raise
    except (
        struct.error,
        LookupError,
        ValueError,
        TypeError,
        AttributeError,
        ArithmeticError,
    ) as error:
        raise FormatError(
            f"damaged, or no model of TensorFlow Lite: {short(str(error))}"
        ) from error


class _Graph:
    """One graph of a model."""

    def __init__(self, model: Any, graph: Any, operators: dict[int, str], budget: Budget) -> None:
        self._model, self._graph, self._budget = model, graph, budget
        self._operators = operators
        self.length = graph.OperatorsLength()
        self._sources: dict[int, int] | None = None

    def node(self, place: int) -> Node:
        """The layer that an operator is."""
        operator = self._graph.Operators(place)
        code = self._code(operator)
        what = self._operators.get(code, f"operator {code}")
        name = self._name(operator.Outputs(0)) if operator.OutputsLength() else ""
        if what != _OPERATOR:
            return Node(name, what)
        try:
            return self._depthwise(operator, name)
        except FormatError as error:
            return interchange.refused(name, what, str(error))

    def _depthwise(self, operator: Any, name: str) -> Node:
        import tflite

        table = operator.BuiltinOptions()
        if table is None or operator.InputsLength() < 2:
            raise FormatError("damaged: expected options and weights; received none")
        options = tflite.DepthwiseConv2DOptions()
        options.Init(table.Bytes, table.Pos)
        activation = _ACTIVATIONS.get(options.FusedActivationFunction())
        if activation is None:
            number = options.FusedActivationFunction()
            raise FormatError(f"activation: expected one of 0 to 4; received {number}")
        if options.Padding() not in (0, 1):
            raise FormatError(f"padding: expected 0 or 1; received {options.Padding()}")
        kernel = self._weights(operator.Inputs(1))
        bias = operator.Inputs(2) if operator.InputsLength() > 2 else -1
        shape = [int(kernel.Shape(axis)) for axis in range(min(kernel.ShapeLength(), 5))]
        multiplier = options.DepthMultiplier() or self._multiplier(operator, shape)
        if len(shape) != 4 or shape[0] != 1 or multiplier < 1 or shape[3] % multiplier:
            raise FormatError(
                f"expected weights (1, kh, kw, C*M) with M = {multiplier}; received {shape}"
            )
        _, kernel_h, kernel_w, outputs = shape
        if kernel.Type() in tflite_quantized.BYTES:
            return self._quantized(operator, name, options, activation, kernel, bias, multiplier)

        def weights() -> list[NDArray[Any]]:
            with _damage():
                values = self._array(kernel, name)
                values = values.reshape(kernel_h, kernel_w, outputs // multiplier, multiplier)
                return [values, *([] if bias < 0 else [self._array(self._constant(bias), name)])]

        config: Document = {
            "kernel_size": (kernel_h, kernel_w),
            "strides": (options.StrideH(), options.StrideW()),
            "padding": "valid" if options.Padding() else "same",
            "dilation_rate": (options.DilationHFactor(), options.DilationWFactor()),
            "depth_multiplier": multiplier,
            "data_format": "channels_last",
            "activation": activation,
            "use_bias": bias >= 0,
        }
        return Node(name, _OPERATOR, config, weights)

    def _quantized(
        self,
        operator: Any,
        name: str,
        options: Any,
        activation: str,
        kernel: Any,
        bias: int,
        multiplier: int,
    ) -> Node:
        """The same of bytes; kernel: the tensor (1, kh, kw, C*M); bias: a tensor, or below 0."""
        _, kernel_h, kernel_w, outputs = (int(kernel.Shape(axis)) for axis in range(4))
        if not operator.OutputsLength():
            raise FormatError("damaged: expected an output; received none")
        x = tflite_quantized.affine("x", self._tensor(operator.Inputs(0)))
        y = tflite_quantized.affine("y", self._tensor(operator.Outputs(0)))
        if activation not in ACTIVATIONS:
            raise FormatError(f"activation: expected one of {ACTIVATIONS}; received {activation}")

        def weights() -> list[NDArray[Any]]:
            with _damage():
                self._budget.read(12 * outputs, "scales of weights")
                scales, zero_points = tflite_quantized.of_weights(kernel, outputs)
                values = self._bytes(kernel, tflite_quantized.BYTES[kernel.Type()], name)
                values = values.reshape(kernel_h, kernel_w, outputs)
                values = interchange.less_zero_points(values, zero_points)
                found = [
                    values.reshape(kernel_h, kernel_w, outputs // multiplier, multiplier),
                    scales,
                ]
                if bias >= 0:
                    tensor = self._tensor(bias)
                    tflite_quantized.check_bias(tensor, x.scale, scales)
                    found.append(self._bytes(tensor, np.dtype("<i4"), name))
                return found

        config: Document = {
            "strides": [options.StrideH(), options.StrideW()],
            "padding": "valid" if options.Padding() else "same",
            "dilation_rate": [options.DilationHFactor(), options.DilationWFactor()],
            "activation": activation,
            **interchange.affine_config("x", *x),
            **interchange.affine_config("y", *y),
        }
        return Node(name, _OPERATOR, config, weights, is_quantized=True)

    def _multiplier(self, operator: Any, shape: list[int]) -> int:
        """M by the channels of the input; newer writers leave it out."""
        tensor = self._graph.Tensors(operator.Inputs(0))
        channels = tensor.Shape(3) if tensor.ShapeLength() == 4 else 0
        return int(shape[3] // channels) if len(shape) == 4 and channels > 0 else 0

    def _code(self, operator: Any) -> int:
        """The number of an operator: two fields, the older of which holds up to 127."""
        code = self._model.OperatorCodes(operator.OpcodeIndex())
        return int(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()))

    def _name(self, tensor: int) -> str:
        """What a tensor is called."""
        found = self._tensor(tensor).Name() or b""
        self._budget.read(len(found), "names")
        return bytes(found).decode("utf-8", "replace")

    def _tensor(self, number: int) -> Any:
        if not 0 <= number < self._graph.TensorsLength():
            raise FormatError(f"damaged: expected a tensor of the graph; received number {number}")
        return self._graph.Tensors(number)

    def _weights(self, number: int) -> Any:
        """A tensor of the file of bytes or floats; FormatError for other integers."""
        tensor = self._tensor(number)
        if tensor.Type() not in tflite_quantized.BYTES:
            return self._constant(number)
        if not self._buffer(tensor).DataLength():
            raise FormatError("its weights are computed, or come from outside of the file")
        return tensor

    def _constant(self, number: int) -> Any:
        """A tensor of the file: the one itself, or the halves that a DEQUANTIZE widens."""
        tensor = self._tensor(number)
        if tensor.Type() in tflite_quantized.INTEGERS:
            kind = tflite_quantized.INTEGERS[tensor.Type()]
            raise FormatError(f"expected floats, or weights of int8; received {kind}")
        if self._buffer(tensor).DataLength():
            return tensor
        place = self._makers().get(number)
        maker: Any = None if place is None else self._graph.Operators(place)
        made_by = "" if maker is None else self._operators.get(self._code(maker), "")
        if made_by == "DEQUANTIZE" and maker.InputsLength():
            source = self._tensor(maker.Inputs(0))
            if source.Type() in tflite_quantized.INTEGERS:
                kind = tflite_quantized.INTEGERS[source.Type()]
                raise FormatError(f"its weights are {kind}, widened to floats: not supported")
            if self._buffer(source).DataLength():
                return source
        raise FormatError(f"its weights are computed, by {made_by or 'what is not in the graph'}")

    def _makers(self) -> dict[int, int]:
        """Tensor -> which operator makes it."""
        if self._sources is None:
            self._sources = {}
            for place in range(self.length):
                self._budget.step()
                operator = self._graph.Operators(place)
                if operator.OutputsLength():
                    self._sources[operator.Outputs(0)] = place
        return self._sources

    def _buffer(self, tensor: Any) -> Any:
        if tensor.Buffer() >= self._model.BuffersLength():
            raise FormatError(f"damaged: expected a buffer; received number {tensor.Buffer()}")
        return self._model.Buffers(tensor.Buffer())

    def _array(self, tensor: Any, name: str) -> NDArray[Any]:
        """Its values, float32 for float16: as the operator takes them."""
        dtype = _DTYPES.get(tensor.Type())
        if dtype is None:
            raise FormatError(f"expected weights of floats; received type {tensor.Type()}")
        array = self._bytes(tensor, dtype, name)
        return array.astype(np.float64 if dtype.itemsize == 8 else np.float32)

    def _bytes(self, tensor: Any, dtype: np.dtype[Any], name: str) -> NDArray[Any]:
        """Its values as they are in the file."""
        data = self._buffer(tensor).DataAsNumpy()
        if not isinstance(data, np.ndarray):
            raise FormatError("its weights are computed, or come from outside of the file")
        self._budget.read(2 * data.nbytes, f"operator {short(name)}")
        shape = [int(tensor.Shape(axis)) for axis in range(min(tensor.ShapeLength(), 5))]
        return np.frombuffer(data.tobytes(), dtype).reshape(shape)
