"""The convolution of a Dask array, and layers and models.

Shape letters: N batch, H height, W width, C input channels, M depth multiplier, kh/kw kernel
height/width, OH/OW output height/width.
"""

from __future__ import annotations

import functools
import itertools
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize
from numpy.typing import ArrayLike

from .. import casts, config, dtypes
from ..activations import Activation
from ..arguments import ExplicitPadding, Pair, read_num_threads
from ..layers.depthwise_conv2d import DepthwiseConv2D
from ..layers.sequential import Sequential
from ..ops.convolution import split_activation
from ..ops.epilogue import activated, activated_shape, run
from ..ops.plan import make_plan
from ..ops.spec import ConvSpec
from .slices import (
    Array,
    Constant,
    Cuts,
    Gather,
    Grid,
    Range,
    Recipe,
    Weights,
    asked_chunks,
    check_dask,
    cuts_at,
    joined,
    kept,
    lazy,
    ranges,
)

Axes = frozenset[int]


def depthwise_conv2d(
    x: Any,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    strides: int | tuple[int, int] = 1,
    padding: str | ExplicitPadding = "valid",
    dilation_rate: int | tuple[int, int] = 1,
    data_format: str | None = "channels_last",
    activation: Any = None,
    dtype: Any = None,
    num_threads: Any = 1,
    chunks: Any = None,
) -> Any:
    """`dwconv.depthwise_conv2d` of a Dask array, lazily: the same bits, whatever the chunks.

    Args:
        x: a Dask array (N, H, W, C), or (N, C, H, W) if channels_first, chunked in any way.
        kernel: (kh, kw, C, M), in memory.
        bias: (C*M,), in memory, or None for zeros.
        strides: as for the function.
        padding: as for the function.
        dilation_rate: as for the function.
        data_format: as for the function.
        activation: as for the function. One that acts along an axis (softmax, log_softmax,
            sparsemax, glu) makes the output one chunk along it. A function that is none of
            `dwconv.activations`, or registered there without its derivative, is called once with
            the whole output, which then is one chunk, in the memory of one worker;
            `y.map_blocks(f)` is the way for a function of single elements.
        dtype: of the result, to which x and the weights are cast, as a layer of that dtype does;
            None: by the rule of `dwconv.dtypes`.
        num_threads: of each task. 1 unless you give a worker fewer threads than it has CPUs.
        chunks: of the output, in any form that Dask takes. None: those of x, cut where its chunks
            end. Along channels a chunk must hold all M outputs of its channels.

    Returns:
        A Dask array, (N, OH, OW, C*M) or (N, C*M, OH, OW); glu halves a size.

    Raises when it is called, not on a worker: what the function raises, TypeError for what is no
    Dask array, and ValueError for chunks of unknown size, or that cut what the activation needs
    whole. Only what a function of your own returns is checked when it has run.
    """
    check_dask("x", x)
    kernel = dtypes.read_array("kernel", kernel)
    spec = ConvSpec.for_kernel(kernel.shape, strides, padding, dilation_rate, data_format)
    result = _result_dtype(x.dtype, kernel.dtype, dtype)
    fused, after = split_activation(activation, result)
    if bias is not None:
        bias = dtypes.read_array("bias", bias)
        dtypes.check_castable(bias.dtype, result, "bias")
        dtypes.check_in_range(bias, dtypes.compute_dtype(result), "bias")
    spec.check_array_shape("x", x.shape)
    spec.check_kernel(kernel.shape, x.shape)
    linear_shape = spec.output_shape(x.shape)
    y_shape = activated_shape(after, linear_shape)
    if bias is not None:
        spec.check_bias(bias.shape, x.shape)
    if dtype is not None:
        kernel = casts.cast(kernel, result)
        bias = None if bias is None else casts.cast(bias, result)
    recipe = Recipe(
        spec,
        result,
        fused,
        read_num_threads(num_threads),
        config.denormals() == "ieee",
        cast_first=dtype is not None,
    )
    whole = _axes_of(after)
    if isinstance(after, Activation) and after.registered is None:
        activated(after, np.ones((2,) * 4, dtypes.compute_dtype(result)))  # for its errors
    y_chunks = _output_chunks(x, spec, y_shape, result, chunks, whole)
    return _convolution(x, kernel, bias, recipe, y_chunks, linear_shape, after, whole)


def apply(layer: Any, x: Any, *, num_threads: Any = 1) -> Any:
    """What a built `DepthwiseConv2D`, or a `Sequential` of such layers, makes of a Dask array.

    x: (N, H, W, C), or as the layer's data_format says. The weights are those of this moment.
    Activity regularizers record nothing. ValueError for a layer that is not built, and with
    `depthwise_conv2d`'s errors; TypeError for any other kind of layer.
    """
    if isinstance(layer, Sequential):
        if not layer.layers:
            raise ValueError("expected a model with a layer; it has none")
        return functools.reduce(
            lambda y, part: apply(part, y, num_threads=num_threads), layer.layers, x
        )
    if not isinstance(layer, DepthwiseConv2D):
        raise TypeError(
            f"layer: expected a DepthwiseConv2D or a Sequential of them; received {type(layer)}"
        )
    if not layer.built:
        raise ValueError(f"layer: expected a layer with weights; received {layer.name!r}, unbuilt")
    kernel, *bias = layer.get_weights()
    return depthwise_conv2d(
        x,
        kernel,
        bias[0] if bias else None,
        strides=layer.strides,
        padding=layer.padding,
        dilation_rate=layer.dilation_rate,
        data_format=layer.data_format,
        activation=layer.activation,
        dtype=layer.compute_dtype,
        num_threads=num_threads,
    )


# ---- graphs --------------------------------------------------------------------------------------


def _convolution(
    x: Any,
    kernel: Array,
    bias: Array | None,
    recipe: Recipe,
    y_chunks: tuple[Cuts, ...],
    linear_shape: Sequence[Any],
    after: Any,
    whole: Axes,
) -> Any:
    """The graph: weights of each group of channels, slices, one task for each chunk."""
    spec, multiplier = recipe.spec, recipe.spec.depth_multiplier
    # `repr` of a function of the user's is no name for it.
    name = "dwconv-" + tokenize(x.name, kernel, bias, repr(recipe), y_chunks, after)
    chunks = tuple(  # those of the convolution: glu changes a size afterwards
        (linear_shape[axis],) if axis in whole else cuts for axis, cuts in enumerate(y_chunks)
    )
    batch, rows, columns, outputs = spec.to_nhwc(chunks)
    _, height, width, _ = spec.to_nhwc(x.shape)
    vertical, horizontal = spec.padding_for(height, width)
    row_windows = _windows(spec, 0, height, vertical, rows)
    column_windows = _windows(spec, 1, width, horizontal, columns)
    channels = list(ranges(tuple(size // multiplier for size in outputs)))
    gather = Gather(x, name)
    graph = gather.graph
    for index, (start, stop) in enumerate(channels):
        part = None if bias is None else bias[start * multiplier : stop * multiplier]
        graph[f"weights-{name}", index] = (Constant(Weights(kernel[:, :, start:stop], part)),)
    last = [] if after is None else [f"activation-{name}"]
    for each in last:
        graph[each] = (Constant(_After(after, tuple(linear_shape), whole)),)
    places = itertools.product(
        enumerate(ranges(batch)),
        enumerate(row_windows),
        enumerate(column_windows),
        enumerate(channels),
    )
    for (n, images), (i, row), (j, column), (c, group) in places:
        grid, pieces = gather(spec.from_nhwc(images, row.source, column.source, group))
        task = _Convolve(
            replace(recipe, spec=replace(spec, padding=(row.padding, column.padding))),
            grid,
            (row.count, column.count),
        )
        key = (name, *spec.from_nhwc(n, i, j, c))
        graph[key] = (task, (f"weights-{name}", c), pieces, *last)
    return lazy(name, graph, [x], y_chunks, recipe.dtype)


@dataclass(frozen=True)
class _Window:
    """One chunk of output rows or columns: what it reads of the image, and padding around that."""

    count: int
    source: Range
    padding: Pair


def _windows(spec: ConvSpec, axis: int, size: int, padding: Pair, cuts: Cuts) -> list[_Window]:
    """Those of all chunks of the output's rows (axis 0) or columns (axis 1)."""
    stride = spec.strides[axis]
    reach = spec.dilation_rate[axis] * (spec.kernel_size[axis] - 1) + 1
    windows = []
    for start, stop in ranges(cuts):
        first = start * stride - padding[0]
        last = (stop - 1) * stride - padding[0] + reach
        source = max(first, 0), min(last, size)
        sides = source[0] - first, last - source[1]
        if source[0] >= source[1]:  # all padding: any pixel will do that comes after all taps
            source, sides = (0, 1), (last - first, 0)
        windows.append(_Window(stop - start, source, sides))
    return windows


def _output_chunks(
    x: Any, spec: ConvSpec, y_shape: Any, dtype: dtypes.DType, chunks: Any, whole: Axes
) -> Any:
    """The chunks of the output, as Dask writes them; ValueError for some that cannot be."""
    multiplier = spec.depth_multiplier
    batch, rows, columns, channels = spec.to_nhwc(x.chunks)
    _, height, width, _ = spec.to_nhwc(x.shape)
    sides = spec.padding_for(height, width)
    _, out_height, out_width, _ = spec.to_nhwc(y_shape)
    own: tuple[Any, ...] = spec.from_nhwc(
        batch,
        _cuts_after(spec, 0, sides[0], rows, out_height),
        _cuts_after(spec, 1, sides[1], columns, out_width),
        tuple(size * multiplier for size in channels if size),
    )
    count = math.prod(map(len, own))
    own = tuple((y_shape[axis],) if axis in whole else cuts for axis, cuts in enumerate(own))
    if chunks is None and len(whole) == 4 and count > 1:
        warnings.warn(
            f"activation: a function of the whole output makes one chunk of {count}; "
            "map_blocks applies one to each chunk",
            da.PerformanceWarning,
            stacklevel=3,
        )
    asked = asked_chunks(chunks, y_shape, dtype, own)
    for axis in sorted(whole):
        if len(asked[axis]) > 1:
            raise ValueError(
                f"chunks: expected one chunk along axis {axis}, on which the activation acts; "
                f"received {asked[axis]}"
            )
    wrong = [size for size in asked[spec.channel_axis] if size % multiplier]
    if wrong and spec.channel_axis not in whole:
        raise ValueError(
            f"chunks: expected multiples of M = {multiplier} along channels; received {wrong[0]}"
        )
    return asked


def _cuts_after(spec: ConvSpec, axis: int, padding: Pair, cuts: Cuts, size: int) -> Cuts:
    """Chunks of an output axis: an output belongs to the chunk that holds the middle of its taps,
    so each reads as little as can be of its neighbours.
    """
    stride = spec.strides[axis]
    middle = spec.dilation_rate[axis] * (spec.kernel_size[axis] - 1) // 2
    return cuts_at([-((middle - padding[0] - end) // stride) for _, end in ranges(cuts)][:-1], size)


def _result_dtype(x: dtypes.DType, kernel: dtypes.DType, wanted: Any) -> dtypes.DType:
    if wanted is None:
        return dtypes.result_dtype(x, kernel)
    dtype = dtypes.named(wanted)
    if dtype is None or dtype.name not in dtypes.COMPUTE:
        raise TypeError(f"dtype: expected one of {list(dtypes.COMPUTE)}; received {wanted!r}")
    dtypes.check_castable(x, dtype, "x")
    dtypes.check_castable(kernel, dtype, "kernel")
    return dtype


def _axes_of(after: Any) -> Axes:
    """The axes of the output that a call of the activation must see as a whole."""
    if after is None:
        return frozenset()
    if isinstance(after, Activation):
        if after.backward_function is not None:
            axis = after.parameters.get("axis", after.defaults["axis"])
            return frozenset({axis % 4}) if -4 <= axis < 4 else frozenset()
        if after.registered is None or after.derivative_function is not None:
            return frozenset()
    return frozenset(range(4))


# ---- tasks: what runs on a worker ----------------------------------------------------------------


@kept
def plan_of(recipe: Recipe, x_shape: tuple[int, ...], weights: Weights) -> Any:
    """The plan of chunks of that shape, kept by the process: tasks come and go."""
    return make_plan(
        recipe.spec,
        x_shape,
        weights.kernel,
        weights.bias,
        recipe.fused,
        num_threads=recipe.num_threads,
        dtype=recipe.dtype,
        ieee=recipe.ieee,
    )


@dataclass(frozen=True)
class _After:
    """An activation that the core does not fuse, on a chunk of the output of `shape`."""

    activation: Any
    shape: tuple[int, ...]
    whole: Axes

    def __call__(self, y: Array) -> Array:
        # NumPy sums along an axis in another order if each axis after it has size 1. Where only the
        # chunk has such sizes, it is given every pixel twice.
        doubled = len(self.whole) == 1 and any(
            math.prod(y.shape[axis + 1 :]) == 1 < math.prod(self.shape[axis + 1 :])
            for axis in self.whole
        )
        if not doubled:
            return activated(self.activation, y)
        axis = max(axis for axis in range(y.ndim) if self.shape[axis] > 1)
        return activated(self.activation, np.repeat(y, 2, axis)).take([0], axis)


@dataclass(frozen=True)
class _Convolve:
    """One chunk of the output."""

    recipe: Recipe
    grid: Grid
    count: Pair

    def __call__(self, weights: Weights, pieces: list[Any], after: _After | None = None) -> Array:
        recipe, spec = self.recipe, self.recipe.spec
        x = joined(pieces, self.grid)
        if recipe.cast_first:
            x = casts.cast(x, recipe.dtype)
        dtype = recipe.dtype if after is None else dtypes.compute_dtype(recipe.dtype)
        y = run(plan_of(recipe, x.shape, weights), x, dtype=dtype)
        rows, columns = (slice(0, count) for count in self.count)
        every = slice(None)
        y = y[spec.from_nhwc(every, rows, columns, every)]
        if after is not None:
            with np.errstate(all="ignore"):
                y = casts.cast(after(np.ascontiguousarray(y)), recipe.dtype)
        return y
