"""The gradients twice, apart from the core and from each other: in float64 by the definition, and
to the bit in the documented order.

Shape letters: N batch, H height, W width, C input channels, M depth multiplier, kh/kw kernel
height/width, OH/OW output height/width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from support import Case
from support.exact import fma32, fma64

Array = NDArray[Any]

_MULTIPLY_ADD = {np.dtype(np.float32): fma32, np.dtype(np.float64): fma64}


def amounts(case: Case) -> tuple[tuple[int, int], tuple[int, int]]:
    """((top, bottom), (left, right)) of a case."""
    if not isinstance(case.padding, str):
        return case.padding  # type: ignore[no-any-return]
    if case.padding == "valid":
        return (0, 0), (0, 0)
    sides = []
    for size, kernel, stride, dilation in zip(
        case.size, case.kernel_size, case.strides, case.dilation_rate, strict=True
    ):
        missing = max(0, (-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size)
        sides.append((missing // 2, missing - missing // 2))
    return sides[0], sides[1]


def positions(case: Case) -> tuple[list[int], list[int]]:
    """Where the first tap of each output row and column lies in x."""
    found = []
    for size, kernel, stride, dilation, (before, after) in zip(
        case.size, case.kernel_size, case.strides, case.dilation_rate, amounts(case), strict=True
    ):
        found.append(list(range(-before, size + after - (kernel - 1) * dilation, stride)))
    return found[0], found[1]


def output_shape(case: Case) -> tuple[int, int, int, int]:
    """(N, OH, OW, C*M)"""
    rows, columns = positions(case)
    return case.batch, len(rows), len(columns), case.channels * case.multiplier


def taps(case: Case) -> Iterator[tuple[int, int, int, int, int, int]]:
    """(oh, ow, ki, kj, h, w) of all taps that are not in the padding: outputs row by row, and for
    each its taps row by row.
    """
    rows, columns = positions(case)
    for oh, ow in np.ndindex(len(rows), len(columns)):
        for ki, kj in np.ndindex(*case.kernel_size):
            h = rows[oh] + ki * case.dilation_rate[0]
            w = columns[ow] + kj * case.dilation_rate[1]
            if 0 <= h < case.size[0] and 0 <= w < case.size[1]:
                yield oh, ow, ki, kj, h, w


def in_float64(case: Case, x: Array, kernel: Array, dy: Array) -> tuple[Array, Array, Array]:
    """(dx, dkernel, dbias) by the definition; x (N, H, W, C), dy (N, OH, OW, C*M)."""
    x, kernel, dy = (array.astype(np.float64) for array in (x, kernel, dy))
    dy = dy.reshape(*dy.shape[:3], case.channels, case.multiplier)
    dx, dkernel = np.zeros_like(x), np.zeros_like(kernel)
    for oh, ow, ki, kj, h, w in taps(case):
        dx[:, h, w] += (dy[:, oh, ow] * kernel[ki, kj]).sum(axis=-1)
        dkernel[ki, kj] += (x[:, h, w, :, np.newaxis] * dy[:, oh, ow]).sum(axis=0)
    return dx, dkernel, dy.sum(axis=(0, 1, 2)).ravel()


def in_order(case: Case, x: Array, kernel: Array, dy: Array) -> tuple[Array, Array, Array]:
    """The same in the dtype of the arrays and the order that csrc/dwconv.h documents."""
    multiply_add = _MULTIPLY_ADD[x.dtype]
    dtype = x.dtype
    dy = dy.reshape(*dy.shape[:3], case.channels, case.multiplier)
    by_multiplier = np.zeros((*x.shape, case.multiplier), dtype)
    band = -(-64 // dy.shape[2])  # rows
    bands = -(-dy.shape[1] // band)
    band_sums = np.zeros((case.batch, bands, *kernel.shape), dtype)
    for oh, ow, ki, kj, h, w in taps(case):
        by_multiplier[:, h, w] = multiply_add(dy[:, oh, ow], kernel[ki, kj], by_multiplier[:, h, w])
        band_sums[:, oh // band, ki, kj] = multiply_add(
            x[:, h, w, :, np.newaxis], dy[:, oh, ow], band_sums[:, oh // band, ki, kj]
        )
    dx = by_multiplier[..., 0]
    for m in range(1, case.multiplier):
        dx = dx + by_multiplier[..., m]
    bias_sums = np.zeros((case.batch, bands, *dy.shape[3:]), dtype)
    for oh, ow in np.ndindex(*dy.shape[1:3]):
        bias_sums[:, oh // band] = bias_sums[:, oh // band] + dy[:, oh, ow]
    return dx, _add_up(band_sums), _add_up(bias_sums).ravel()


def _add_up(bands: Array) -> Array:
    """(N, bands, ...): bands to images, images to one, each from +0."""
    total = np.zeros(bands.shape[2:], bands.dtype)
    for image in bands:
        image_sum = np.zeros_like(total)
        for band in image:
            image_sum = image_sum + band
        total = total + image_sum
    return total


def bounds(case: Case, x: Array, kernel: Array, dy: Array) -> tuple[Array, Array, Array]:
    """Largest errors that the roundings can make.

    A sum passes through at most `depth` roundings on its way, each of at most eps / 2 of a partial
    sum that is no larger than the sum of the magnitudes: taps and multipliers for dx; for the rest
    the pixels of a band, which are fewer than 64 + OW, the bands and the images.
    """
    dx, dkernel, dbias = in_float64(case, np.abs(x), np.abs(kernel), np.abs(dy))
    eps = float(np.finfo(x.dtype).eps)
    taps_of_x = case.kernel_size[0] * case.kernel_size[1] + case.multiplier
    depth = dy.shape[0] + dy.shape[1] + 64 + dy.shape[2]
    return (taps_of_x + 2) * eps * dx, (depth + 2) * eps * dkernel, (depth + 2) * eps * dbias
