"""What lies beyond the edges of an image: `depthwise_conv2d` with another `mode` than zeros.

The image is not padded. All of it is convolved where it is, which is right for each output whose
taps lie inside; the outputs near an edge are made again of padded copies of the bands that they
read. By the rule of accumulation that has the bits of np.pad and padding='valid'.

Shape letters: N batch, H height, W width, C input channels, OH/OW output height/width. Every pair
is (height, width).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from ..arguments import Pair
from ..messages import short
from .epilogue import Array
from .spec import ConvSpec

BoundaryMode: TypeAlias = Literal[
    "zeros", "reflect", "mirror", "symmetric", "nearest", "edge", "wrap"
]
Indices: TypeAlias = NDArray[np.intp]
#: A band of outputs: for rows and columns, [begin, end).
Band: TypeAlias = tuple[Pair, Pair]


def _reflect(index: Indices, size: int) -> Indices:
    """c b | a b c | b a: the edge is not repeated."""
    if size == 1:
        return np.zeros_like(index)
    index = index % (2 * size - 2)
    return np.minimum(index, 2 * size - 2 - index)


def _symmetric(index: Indices, size: int) -> Indices:
    """b a | a b c | c b: the edge is repeated."""
    index = index % (2 * size)
    return np.minimum(index, 2 * size - 1 - index)


def _nearest(index: Indices, size: int) -> Indices:
    """a a | a b c | c c"""
    return index.clip(0, size - 1)


def _wrap(index: Indices, size: int) -> Indices:
    """b c | a b c | a b"""
    return index % size


#: Name -> which of `size` pixels stands for the one at an index beyond them.
_PIXELS: dict[str, Callable[[Indices, int], Indices]] = {
    "reflect": _reflect,
    "mirror": _reflect,
    "symmetric": _symmetric,
    "nearest": _nearest,
    "edge": _nearest,
    "wrap": _wrap,
}


def read_mode(mode: Any) -> BoundaryMode:
    """One of the names. ValueError for any other."""
    if not isinstance(mode, str) or mode not in get_args(BoundaryMode):
        known = ", ".join(map(repr, get_args(BoundaryMode)))
        raise ValueError(f"mode: expected one of {known}; received {short(mode)}")
    return mode  # type: ignore[return-value]


def bands(
    x: Array, spec: ConvSpec, mode: BoundaryMode
) -> Iterator[tuple[tuple[slice, ...], Array]]:
    """(where in y, the part of x that these outputs read, padded) for the outputs that read beyond
    an edge. The convolution of the part with padding='valid' is what belongs there.
    """
    _, height, width, _ = spec.to_nhwc(x.shape)
    _, out_h, out_w, _ = spec.to_nhwc([size or 0 for size in spec.output_shape(x.shape)])
    padding = spec.padding_for(height, width)
    rows = _inner(spec, 0, height, out_h, padding[0][0])
    columns = _inner(spec, 1, width, out_w, padding[1][0])
    found: list[Band] = [
        ((0, rows[0]), (0, out_w)),
        ((rows[1], out_h), (0, out_w)),
        (rows, (0, columns[0])),
        (rows, (columns[1], out_w)),
    ]
    for band in found:
        if all(begin < end for begin, end in band):
            place = [slice(None), *(slice(*side) for side in band)]
            place.insert(spec.channel_axis, slice(None))
            part = x
            for dimension, side in enumerate(band):
                part = _read_by(part, spec, dimension, side, padding[dimension][0], mode)
            yield tuple(place), part


def _inner(spec: ConvSpec, dimension: int, size: int, out: int, before: int) -> Pair:
    """The outputs [begin, end) none of whose taps lies beyond an edge; (out, out) if there are
    none.
    """
    stride = spec.strides[dimension]
    reach = (spec.kernel_size[dimension] - 1) * spec.dilation_rate[dimension]
    begin = -(-before // stride)
    end = min((size - 1 - reach + before) // stride + 1, out)
    return (begin, end) if begin < end else (out, out)


def _read_by(
    x: Array, spec: ConvSpec, dimension: int, side: Pair, before: int, mode: BoundaryMode
) -> Array:
    """The rows (dimension 0) or columns (1) of x that outputs [begin, end) read: a view where none
    lies beyond an edge.
    """
    axis = dimension + (2 if spec.channels_first else 1)
    stride, size = spec.strides[dimension], x.shape[axis]
    reach = (spec.kernel_size[dimension] - 1) * spec.dilation_rate[dimension]
    first, last = side[0] * stride - before, (side[1] - 1) * stride - before + reach
    if first >= 0 and last < size:
        return x[(slice(None),) * axis + (slice(first, last + 1),)]
    return x.take(_PIXELS[mode](np.arange(first, last + 1), size), axis)
