"""Gradients of the convolution over Dask arrays, with the bits of the functions.

Those of kernel and bias are sums over images: a task computes the sums of each image of a chunk,
which are then added in order, as csrc/dwconv.h says. Cuts along H and W are mended, since the sum
of an image has an order, too: a task takes whole images of its channels. That of x is cut anywhere.

Shape letters: N batch, H height, W width, C input channels, M depth multiplier, kh/kw kernel
height/width, OH/OW output height/width.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize
from numpy.typing import ArrayLike

from .. import casts, config, dtypes
from ..arguments import ExplicitPadding, Pair, read_num_threads
from ..ops import gradients
from ..ops.convolution import Fused
from ..ops.spec import ConvSpec
from .slices import (
    Array,
    Constant,
    Cuts,
    Gather,
    Graph,
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


def depthwise_conv2d_kernel_grad(
    dy: Any,
    x: Any,
    kernel_shape: Sequence[int],
    *,
    strides: int | tuple[int, int] = 1,
    padding: str | ExplicitPadding = "valid",
    dilation_rate: int | tuple[int, int] = 1,
    data_format: str | None = "channels_last",
    num_threads: Any = 1,
) -> Any:
    """`dwconv.depthwise_conv2d_kernel_grad` of Dask arrays: the same bits, whatever the chunks.

    dy: Dask array (N, OH, OW, C*M); x: Dask array (N, H, W, C), or both channels_first.
    kernel_shape: (kh, kw, C, M). Returns a Dask array of that shape, and raises what the function
    raises, when it is called.
    """
    check_dask("dy", dy)
    check_dask("x", x)
    spec, sizes, result = gradients.read_kernel_grad(
        dy, x, kernel_shape, strides, padding, dilation_rate, data_format
    )
    recipe = _recipe(spec, result, num_threads)
    if 0 in x.shape:
        return da.zeros(sizes, dtype=result)
    multiplier = spec.depth_multiplier
    groups = tuple(size for size in x.chunks[spec.channel_axis] if size)

    def boxes(images: Range, group: Range) -> list[tuple[Any, Sequence[Range]]]:
        outputs = group[0] * multiplier, group[1] * multiplier
        return [(dy, _images(spec, dy, images, outputs)), (x, _images(spec, x, images, group))]

    name, graph, totals = _sums_of_images("dwconv-kernel-grad-", recipe, (dy, x), groups, 1, boxes)
    for c, (total, size) in enumerate(zip(totals, groups, strict=True)):
        graph[name, 0, 0, c, 0] = (_Finish(result, spec.kernel_shape(size)), total)
    return lazy(name, graph, [dy, x], ((sizes[0],), (sizes[1],), groups, (sizes[3],)), result)


def depthwise_conv2d_bias_grad(
    dy: Any, *, data_format: str | None = "channels_last", num_threads: Any = 1
) -> Any:
    """`dwconv.depthwise_conv2d_bias_grad` of a Dask array: the same bits, whatever the chunks.

    dy: Dask array (N, OH, OW, C*M), or (N, C*M, OH, OW). Returns a Dask array (C*M,), and raises
    what the function raises, when it is called.
    """
    check_dask("dy", dy)
    result = gradients.result_dtype(dy, dy, "dy")
    spec = ConvSpec.for_kernel((1, 1, 1, 1), data_format=data_format)
    spec.check_array_shape("dy", dy.shape)
    recipe = _recipe(spec, result, num_threads)
    if 0 in dy.shape:
        return da.zeros(dy.shape[spec.channel_axis], dtype=result)
    groups = tuple(size for size in dy.chunks[spec.channel_axis] if size)

    def boxes(images: Range, group: Range) -> list[tuple[Any, Sequence[Range]]]:
        return [(dy, _images(spec, dy, images, group))]

    name, graph, totals = _sums_of_images("dwconv-bias-grad-", recipe, (dy,), groups, 2, boxes)
    for c, (total, size) in enumerate(zip(totals, groups, strict=True)):
        graph[name, c] = (_Finish(result, (size,)), total)
    return lazy(name, graph, [dy], (groups,), result)


def depthwise_conv2d_input_grad(
    dy: Any,
    kernel: ArrayLike,
    input_shape: Sequence[int],
    *,
    strides: int | tuple[int, int] = 1,
    padding: str | ExplicitPadding = "valid",
    dilation_rate: int | tuple[int, int] = 1,
    data_format: str | None = "channels_last",
    num_threads: Any = 1,
    chunks: Any = None,
) -> Any:
    """`dwconv.depthwise_conv2d_input_grad` of a Dask array: the same bits, whatever the chunks.

    dy: Dask array (N, OH, OW, C*M), or (N, C*M, OH, OW); kernel: (kh, kw, C, M), in memory.
    chunks: of the result, in any form that Dask takes; None: those of dy, cut under their ends.
    Returns a Dask array of `input_shape`, and raises what the function raises, when it is called.
    """
    check_dask("dy", dy)
    kernel = dtypes.read_array("kernel", kernel)
    spec, x_shape, result = gradients.read_input_grad(
        dy, kernel, input_shape, strides, padding, dilation_rate, data_format
    )
    recipe = _recipe(spec, result, num_threads)
    _, height, width, channels = spec.to_nhwc(x_shape)
    sides = spec.padding_for(height, width)
    batch, rows, columns, outputs = spec.to_nhwc(dy.chunks)
    groups = [-(-stop // spec.depth_multiplier) for _, stop in ranges(outputs)]
    own = spec.from_nhwc(
        batch,
        _cuts_under(spec, 0, sides[0], rows, height),
        _cuts_under(spec, 1, sides[1], columns, width),
        cuts_at(groups, channels),
    )
    return _input_gradient(dy, kernel, x_shape, asked_chunks(chunks, x_shape, result, own), recipe)


def _recipe(spec: ConvSpec, dtype: dtypes.DType, num_threads: Any) -> Recipe:
    ieee = config.denormals() == "ieee"
    return Recipe(spec, dtype, Fused("linear"), read_num_threads(num_threads), ieee)


# ---- sums over images ----------------------------------------------------------------------------


def _images(spec: ConvSpec, array: Any, images: Range, channels: Range) -> Sequence[Range]:
    """The box of these images of an array, whole ones, and of these channels."""
    _, height, width, _ = spec.to_nhwc(array.shape)
    return spec.from_nhwc(images, (0, height), (0, width), channels)


def _sums_of_images(
    prefix: str,
    recipe: Recipe,
    arrays: tuple[Any, ...],
    groups: Cuts,
    which: int,
    boxes: Callable[[Range, Range], list[tuple[Any, Sequence[Range]]]],
) -> tuple[str, Graph, list[Any]]:
    """(name, graph, keys): for each group of channels a chain of tasks, each of which adds its
    images. which: 1 for the kernel's gradient, 2 for the bias'. boxes: images and group of channels
    to the arrays and what is needed of them, dy first.
    """
    name = prefix + tokenize(*(each.name for each in arrays), repr(recipe))
    gathers = [Gather(each, f"{number}-{name}") for number, each in enumerate(arrays)]
    graph: Graph = {}
    totals = []
    for c, group in enumerate(ranges(groups)):
        total: Any = None
        for n, images in enumerate(ranges(arrays[-1].chunks[0])):
            if images[0] == images[1]:
                continue
            pairs = zip(gathers, boxes(images, group), strict=True)
            found = [gather(box) for gather, (_, box) in pairs]
            task = _ImageGradients(recipe, which, tuple(grid for grid, _ in found))
            key = (f"images-{name}", n, c)
            graph[key] = (task, *(pieces for _, pieces in found))
            added = (f"sum-{name}", n, c)
            graph[added] = (_AddImages(recipe.ieee), total, key)
            total = added
        totals.append(total)
    for gather in gathers:
        graph |= gather.graph
    return name, graph, totals


@dataclass(frozen=True)
class _ImageGradients:
    """The kernel's or the bias' gradient of each image, (n, kh*kw*C*M) or (n, C*M), in the compute
    dtype.
    """

    recipe: Recipe
    which: int
    grids: tuple[Grid, ...]

    def __call__(self, *pieces: list[Any]) -> Array:
        recipe = self.recipe
        compute = dtypes.compute_dtype(recipe.dtype)
        arrays = [
            casts.cast(joined(some, grid), compute)
            for some, grid in zip(pieces, self.grids, strict=True)
        ]
        dy, x = arrays[0], arrays[-1]
        image = (1, *x.shape[1:])
        plan = gradients.make_plan(recipe.spec, image, compute, None, ieee=recipe.ieee)
        sums = [
            gradients.run(plan, dy[n : n + 1], x[n : n + 1], recipe.num_threads, compute)
            for n in range(len(x))
        ]
        return np.stack([np.asarray(each[self.which]).reshape(-1) for each in sums])


@dataclass(frozen=True)
class _AddImages:
    """The sum so far and those of more images, added in order by the core.

    The core's gradient of a bias is that sum: of a batch of images of one pixel. NumPy's addition
    would not flush denormal numbers as the core does.
    """

    ieee: bool

    def __call__(self, total: Array | None, images: Array) -> Array:
        terms = images if total is None else np.concatenate([total[None], images])
        dy = np.ascontiguousarray(terms[:, None, None, :])
        spec = ConvSpec((1, 1))
        plan = gradients.make_plan(spec, dy.shape, dy.dtype, None, ieee=self.ieee)
        return np.asarray(gradients.run(plan, dy, dy, 1, dy.dtype)[2])


@dataclass(frozen=True)
class _Finish:
    """The gradient in its shape and dtype, rounded once."""

    dtype: dtypes.DType
    shape: tuple[int, ...]

    def __call__(self, total: Array) -> Array:
        return casts.cast(total, self.dtype).reshape(self.shape)


# ---- the gradient of x ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Reach:
    """One chunk of rows or columns of x: the outputs that its pixels lead to.

    before: pixels at its start that lead to none; count: the others; outputs: of dy; padding: the
    window's around `count` pixels, as if these were an image.
    """

    before: int
    count: int
    outputs: Range
    padding: Pair


def _reaches(spec: ConvSpec, axis: int, padding: Pair, cuts: Cuts, size: int) -> list[_Reach]:
    """Those of all chunks of x's rows (axis 0) or columns (axis 1); size: of dy."""
    stride = spec.strides[axis]
    reach = spec.dilation_rate[axis] * (spec.kernel_size[axis] - 1) + 1
    found = []
    for start, stop in ranges(cuts):
        first = max(-((reach - 1 - start - padding[0]) // stride), 0)
        last = min((stop - 1 + padding[0]) // stride, size - 1)
        if first > last:
            found.append(_Reach(stop - start, 0, (0, 0), (0, 0)))
            continue
        begin = first * stride - padding[0]  # the first pixel of the first window
        before = max(begin - start, 0)
        top = start + before - begin
        bottom = max((last - first) * stride + reach - top - (stop - start - before), 0)
        found.append(_Reach(before, stop - start - before, (first, last + 1), (top, bottom)))
    return found


def _cuts_under(spec: ConvSpec, axis: int, padding: Pair, cuts: Cuts, size: int) -> Cuts:
    """Chunks of an axis of x, cut where the middle taps of the outputs are at the ends of dy's."""
    stride = spec.strides[axis]
    middle = spec.dilation_rate[axis] * (spec.kernel_size[axis] - 1) // 2
    return cuts_at([end * stride - padding[0] + middle for _, end in ranges(cuts)][:-1], size)


def _input_gradient(
    dy: Any, kernel: Array, x_shape: tuple[int, ...], chunks: Any, recipe: Recipe
) -> Any:
    """The graph: weights of each group of channels, slices of dy, one task for each chunk."""
    spec, multiplier = recipe.spec, recipe.spec.depth_multiplier
    name = "dwconv-input-grad-" + tokenize(dy.name, kernel, repr(recipe), x_shape, chunks)
    batch, rows, columns, groups = spec.to_nhwc(chunks)
    _, height, width, _ = spec.to_nhwc(x_shape)
    _, out_height, out_width, _ = spec.to_nhwc(dy.shape)
    vertical, horizontal = spec.padding_for(height, width)
    gather = Gather(dy, name)
    graph = gather.graph
    channels = list(ranges(groups))
    for index, (start, stop) in enumerate(channels):
        graph[f"weights-{name}", index] = (Constant(Weights(kernel[:, :, start:stop], None)),)
    places = itertools.product(
        enumerate(ranges(batch)),
        enumerate(_reaches(spec, 0, vertical, rows, out_height)),
        enumerate(_reaches(spec, 1, horizontal, columns, out_width)),
        enumerate(channels),
    )
    for (n, images), (i, row), (j, column), (c, group) in places:
        outputs = group[0] * multiplier, group[1] * multiplier
        grid, pieces = gather(spec.from_nhwc(images, row.outputs, column.outputs, outputs))
        task = _InputGradient(
            replace(recipe, spec=replace(spec, padding=(row.padding, column.padding))),
            grid,
            (images[1] - images[0], row.count, column.count, group[1] - group[0]),
            (row.before, column.before),
        )
        graph[(name, *spec.from_nhwc(n, i, j, c))] = (task, (f"weights-{name}", c), pieces)
    return lazy(name, graph, [dy], chunks, recipe.dtype)


@kept
def plan_of(recipe: Recipe, x_shape: tuple[int, ...], weights: Weights) -> Any:
    """The plan of chunks of that shape, kept by the process."""
    return gradients.make_plan(recipe.spec, x_shape, recipe.dtype, weights.kernel, ieee=recipe.ieee)


@dataclass(frozen=True)
class _InputGradient:
    """One chunk of dx: of `sizes` (N, H, W, C), after rows and columns of zeros."""

    recipe: Recipe
    grid: Grid
    sizes: tuple[int, int, int, int]
    before: Pair

    def __call__(self, weights: Weights, pieces: list[Any]) -> Array:
        recipe, spec = self.recipe, self.recipe.spec
        x_shape = spec.from_nhwc(*self.sizes)
        if 0 in x_shape:  # no image, or no pixel that leads to an output
            part = np.zeros(x_shape, recipe.dtype)
        else:
            dy = joined(pieces, self.grid)
            plan = plan_of(recipe, x_shape, weights)
            part = np.asarray(gradients.run(plan, dy, None, recipe.num_threads, recipe.dtype)[0])
        if not any(self.before):
            return part
        rows, columns = self.before
        return np.pad(part, spec.from_nhwc((0, 0), (rows, 0), (columns, 0), (0, 0)))
