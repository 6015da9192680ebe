"""TensorFlow Lite: the numbers of a DEPTHWISE_CONV_2D of bytes.

(ai.google.dev/edge/litert/models/quantization_spec has what int8 models promise.)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import FormatError, interchange

Array = NDArray[Any]

#: Types of tensors, by their numbers.
BYTES: dict[int, np.dtype[Any]] = {3: np.dtype(np.uint8), 9: np.dtype(np.int8)}
INT32 = 2
INTEGERS = {3: "uint8", 7: "int16", 9: "int8", 17: "int4"}


class Affine(NamedTuple):
    """scale * (byte - zero point), of x or y."""

    scale: float
    #: A NumPy int8 or uint8.
    zero_point: Any


def affine(of: str, tensor: Any) -> Affine:
    """Of a tensor of bytes. FormatError for another type, or several scales."""
    dtype = BYTES.get(tensor.Type())
    if dtype is None:
        found = INTEGERS.get(tensor.Type(), f"type {tensor.Type()}")
        raise FormatError(
            f"its weights are of bytes: expected {of} of int8 or uint8; received {found}"
        )
    scales, zeros = _numbers(tensor, of, 1)
    limits = np.iinfo(dtype)
    if not limits.min <= zeros[0] <= limits.max:
        raise FormatError(
            f"{of}_zero_point: expected an integer that {dtype} can hold; received {zeros[0]}"
        )
    return Affine(float(scales[0]), dtype.type(zeros[0]))


def of_weights(tensor: Any, outputs: int) -> tuple[Array, Array]:
    """(scales, zero points) of weights (1, kh, kw, C*M): one of each, or one for each channel."""
    scales, zeros = _numbers(tensor, "weights", outputs)
    if scales.size > 1 and tensor.Quantization().QuantizedDimension() != 3:
        raise FormatError("expected scales of weights along the last of their four axes")
    return scales, zeros


def check_bias(tensor: Any, x_scale: float, scales: Array) -> None:
    """FormatError unless it is of int32, in units of x_scale * kernel_scale."""
    if tensor.Type() != INT32:
        raise FormatError(f"bias: expected int32; received type {tensor.Type()}")
    numbers = tensor.Quantization()
    if numbers is None or not numbers.ScaleLength():  # then it has those that the operator implies
        return
    found, zeros = _numbers(tensor, "bias", scales.size)
    if zeros.any():
        raise FormatError("bias: expected a zero point of 0; received another one")
    interchange.check_bias_scale(found, x_scale, scales)


def _numbers(tensor: Any, of: str, most: int) -> tuple[Array, Array]:
    """(scales, zero points), one or `most` of each; no zero points are zeros."""
    numbers = tensor.Quantization()
    count = 0 if numbers is None else numbers.ScaleLength()
    if count not in (1, most):
        expected = "one scale" if most == 1 else f"one scale or {most}"
        raise FormatError(f"{of}: expected {expected}; received {count}")
    if numbers.ZeroPointLength() not in (0, 1, count):
        raise FormatError(
            f"{of}: expected a zero point for each scale; received {numbers.ZeroPointLength()}"
        )
    scales = np.array(numbers.ScaleAsNumpy(), np.float32)
    if not numbers.ZeroPointLength():
        return scales, np.zeros(1, np.int64)
    return scales, np.array(numbers.ZeroPointAsNumpy(), np.int64)
