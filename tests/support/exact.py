"""The documented sum, to the bit, on multiply-adds that trust neither CPU nor C library."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

#: dtype -> digits of the significand, exponent of the smallest subnormal.
_FORMATS = {np.dtype(np.float32): (24, -149), np.dtype(np.float64): (53, -1074)}


def fma(a: float, b: float, c: float, dtype: np.dtype[Any]) -> float:
    """a * b + c for floats of `dtype`, rounded once, to nearest even, in rational arithmetic."""
    if not (math.isfinite(a) and math.isfinite(b) and math.isfinite(c)):
        return _fma_special(a, b, c)
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if exact == 0:
        # A sum that is exactly zero is -0 only if both terms are.
        product_sign = math.copysign(1, a) * math.copysign(1, b)
        both_negative = c == 0 and math.copysign(1, c) < 0 and product_sign < 0
        return -0.0 if both_negative else 0.0
    digits, lowest = _FORMATS[dtype]
    magnitude = abs(exact)
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    if Fraction(2) ** exponent > magnitude:
        exponent -= 1
    quantum = Fraction(2) ** max(exponent - digits + 1, lowest)
    rounded = round(magnitude / quantum) * quantum  # halves go to even
    value = math.inf if rounded > Fraction(float(np.finfo(dtype).max)) else float(rounded)
    return math.copysign(value, 1 if exact > 0 else -1)


def _fma_special(a: float, b: float, c: float) -> float:
    """With an infinity or a NaN: nothing is rounded, and a * b must not overflow."""
    if math.isnan(a) or math.isnan(b):
        return math.nan
    if math.isinf(a) or math.isinf(b):
        if a == 0 or b == 0:
            return math.nan
        return math.copysign(math.inf, math.copysign(1, a) * math.copysign(1, b)) + c
    return c


def fma32(a: Array, b: Array, c: Array) -> Array:
    """The same for float32 arrays, in float64: the product is exact there, the sum rounded to odd.

    Boldo and Melquiond, 'Emulation of FMA and correctly rounded sums: proved algorithms using
    rounding to odd' (2008): with 53 >= 24 + 2 bits the rounding to float32 is then the only one.
    """
    with np.errstate(all="ignore"):
        product = a.astype(np.float64) * b.astype(np.float64)
        addend = c.astype(np.float64)
        total = product + addend
        shadow = total - product  # Knuth's 2Sum: the exact error of the addition
        error = (product - (total - shadow)) + (addend - shadow)
        bits = total.view(np.int64)
        even = np.isfinite(total) & (error != 0) & (bits & 1 == 0)
        # An even sum that was rounded gives way to its odd neighbour on the side of the error.
        neighbour = np.where((error > 0) == (total > 0), bits + 1, bits - 1)
        result: Array = np.where(even, neighbour, bits).view(np.float64).astype(np.float32)
    return result


def fma64(a: Array, b: Array, c: Array) -> Array:
    """The same for float64 arrays, one element after the other."""
    dtype = np.dtype(np.float64)
    a, b, c = np.broadcast_arrays(a, b, c)
    triples = zip(a.ravel().tolist(), b.ravel().tolist(), c.ravel().tolist(), strict=True)
    return np.array([fma(*triple, dtype) for triple in triples], dtype).reshape(a.shape)


def multiply_add_i32(a: Array, b: Array, c: Array) -> Array:
    """a * b + c for int32 arrays modulo 2**32: 64 bits hold the exact one, and 32 are kept."""
    total = a.astype(np.int64) * b.astype(np.int64) + c.astype(np.int64)
    result: Array = (total & 0xFFFFFFFF).astype(np.uint32).view(np.int32)
    return result


_MULTIPLY_ADD = {
    np.dtype(np.float32): fma32,
    np.dtype(np.float64): fma64,
    np.dtype(np.int32): multiply_add_i32,
}


def depthwise_conv2d(
    x: Array,
    kernel: Array,
    bias: Array | None,
    *,
    strides: tuple[int, int],
    padding: tuple[tuple[int, int], tuple[int, int]],
    dilation_rate: tuple[int, int],
    activation: str | None = None,
) -> Array:
    """The documented order: bias, then the valid taps row by row, left to right, one multiply-add
    each.

    x (N, H, W, C), kernel (kh, kw, C, M) and bias (C*M,), all float32, all float64 or all int32
    -> (N, OH, OW, C*M) of that dtype.
    """
    multiply_add = _MULTIPLY_ADD[x.dtype]
    count, height, width, channels = x.shape
    kernel_h, kernel_w, _, multiplier = kernel.shape
    (top, bottom), (left, right) = padding
    rows = range(-top, height + bottom - (kernel_h - 1) * dilation_rate[0], strides[0])
    columns = range(-left, width + right - (kernel_w - 1) * dilation_rate[1], strides[1])
    y = np.zeros((count, len(rows), len(columns), channels, multiplier), x.dtype)
    if bias is not None:
        y[...] = bias.reshape(channels, multiplier)
    for i, j in np.ndindex(len(rows), len(columns)):
        for ki, kj in np.ndindex(kernel_h, kernel_w):
            h, w = rows[i] + ki * dilation_rate[0], columns[j] + kj * dilation_rate[1]
            if 0 <= h < height and 0 <= w < width:
                y[:, i, j] = multiply_add(x[:, h, w, :, np.newaxis], kernel[ki, kj], y[:, i, j])
    result: Array = y.reshape(*y.shape[:3], channels * multiplier)
    if activation in ("relu", "relu6"):
        result = np.where(result < 0, x.dtype.type(0), result)
    if activation == "relu6":
        result = np.where(result > 6, x.dtype.type(6), result)
    return result
