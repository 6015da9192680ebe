"""Dask arrays: a depthwise convolution by tasks, with the bits of one call on the whole array.

Each chunk of the output is one task. It takes exactly the pixels that its taps reach, as slices of
the chunks that hold them, and pads only where the image ends. So strided axes have no halo that is
not needed, and no task holds a neighbour as a whole. The extra `dwconv[dask]` installs Dask.

Shape letters: N batch, H height, W width, C input channels, M depth multiplier, kh/kw kernel
height/width, OH/OW output height/width.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph
from numpy.typing import ArrayLike, NDArray

from . import casts, config, dtypes
from .arguments import ExplicitPadding, Pair, read_four_sizes, read_num_threads
from .layers.depthwise_conv2d import DepthwiseConv2D
from .layers.sequential import Sequential
from .ops import gradients
from .ops.convolution import Fused, split_activation
from .ops.epilogue import run
from .ops.plan import make_plan
from .ops.spec import ConvSpec

__all__ = ["apply", "depthwise_conv2d", "depthwise_conv2d_kernel_grad"]

Array: TypeAlias = NDArray[Any]
Range: TypeAlias = tuple[int, int]  # start, stop
Cuts: TypeAlias = tuple[int, ...]  # the sizes of the chunks of an axis
Graph: TypeAlias = dict[Any, Any]

_PLANS = 64  # of a worker process: an image has nine kinds of chunks, edges and corners included


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
        activation: None, or a name or object of `dwconv.activations` that the core fuses: another
            one may need values of several chunks.
        dtype: of the result, to which x is cast, as a layer of that dtype does; None: by the rule
            of `dwconv.dtypes`.
        num_threads: of each task. 1 unless you give a worker fewer threads than it has CPUs.
        chunks: of the output, in any form that Dask takes. None: those of x, cut where its chunks
            end. Along channels a chunk must hold all M outputs of its channels.

    Returns:
        A Dask array, (N, OH, OW, C*M) or (N, C*M, OH, OW).

    Raises when it is called, not on a worker: what the function raises, TypeError for what is no
    Dask array, and ValueError for chunks of unknown size.
    """
    _check_dask("x", x)
    kernel = dtypes.read_array("kernel", kernel)
    spec = ConvSpec.for_kernel(kernel.shape, strides, padding, dilation_rate, data_format)
    result = _result_dtype(x.dtype, kernel.dtype, dtype)
    fused, after = split_activation(activation, result)
    if after is not None:
        raise ValueError(
            "activation: expected one that the core fuses, which needs no other chunk; "
            f"received {activation!r}"
        )
    if bias is not None:
        bias = dtypes.read_array("bias", bias)
        dtypes.check_castable(bias.dtype, result, "bias")
        dtypes.check_in_range(bias, dtypes.compute_dtype(result), "bias")
    spec.check_array_shape("x", x.shape)
    y_shape = spec.output_shape(x.shape)
    spec.check_kernel(kernel.shape, x.shape)
    if bias is not None:
        spec.check_bias(bias.shape, x.shape)
    recipe = _Recipe(
        spec,
        result,
        fused,
        read_num_threads(num_threads),
        config.denormals() == "ieee",
        cast_first=dtype is not None,
    )
    return _convolution(x, kernel, bias, recipe, _output_chunks(x, spec, y_shape, result, chunks))


def apply(layer: Any, x: Any, *, num_threads: Any = 1) -> Any:
    """What a built `DepthwiseConv2D`, or a `Sequential` of such layers, makes of a Dask array.

    x: (N, H, W, C), or as the layer's data_format says. The weights are those of this moment.
    ValueError for a layer that is not built, and with `depthwise_conv2d`'s errors; TypeError for
    any other kind of layer.
    """
    if isinstance(layer, Sequential):
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

    A task computes the gradient of each image of a chunk. The images are then added in order, as
    csrc/dwconv.h says. Cuts along H and W are mended: a task takes whole images of its channels.

    dy: Dask array (N, OH, OW, C*M); x: Dask array (N, H, W, C), or both channels_first.
    kernel_shape: (kh, kw, C, M). Returns a Dask array of that shape, and raises what the function
    raises, when it is called.
    """
    _check_dask("dy", dy)
    _check_dask("x", x)
    result = gradients.result_dtype(dy, x, "x")
    sizes = read_four_sizes("kernel_shape", kernel_shape, batch=False)
    spec = ConvSpec.for_kernel(sizes, strides, padding, dilation_rate, data_format)
    spec.check_array_shape("x", x.shape)
    spec.check_kernel(sizes, x.shape)
    gradients.check_dy(dy, spec, x.shape)
    if 0 in x.shape:
        return da.zeros(sizes, result)
    recipe = _Recipe(
        spec, result, Fused("linear"), read_num_threads(num_threads), config.denormals() == "ieee"
    )
    return _kernel_gradient(dy, x, sizes, recipe)


# ---- graphs --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Recipe:
    """What all tasks of a convolution have in common. `ieee` is the caller's setting: the result
    must not depend on a worker's.
    """

    spec: ConvSpec
    dtype: dtypes.DType
    fused: Fused
    num_threads: int | None
    ieee: bool
    cast_first: bool = False  # x to dtype, before it is cast to what is computed in


def _convolution(x: Any, kernel: Array, bias: Array | None, recipe: _Recipe, chunks: Any) -> Any:
    """The graph: weights of each group of channels, slices, one task for each chunk."""
    spec, multiplier = recipe.spec, recipe.spec.depth_multiplier
    name = "dwconv-" + tokenize(x.name, kernel, bias, repr(recipe), chunks)
    batch, rows, columns, outputs = spec.to_nhwc(chunks)
    _, height, width, _ = spec.to_nhwc(x.shape)
    vertical, horizontal = spec.padding_for(height, width)
    row_windows = _windows(spec, 0, height, vertical, rows)
    column_windows = _windows(spec, 1, width, horizontal, columns)
    channels = list(_ranges(tuple(size // multiplier for size in outputs)))
    gather = _Gather(x, name)
    graph = gather.graph
    for index, (start, stop) in enumerate(channels):
        part = None if bias is None else bias[start * multiplier : stop * multiplier]
        graph[f"weights-{name}", index] = (_Constant(_Weights(kernel[:, :, start:stop], part)),)
    places = itertools.product(
        enumerate(_ranges(batch)),
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
        graph[(name, *spec.from_nhwc(n, i, j, c))] = (task, (f"weights-{name}", c), pieces)
    layers = HighLevelGraph.from_collections(name, graph, dependencies=[x])
    return _lazy(layers, name, chunks, recipe.dtype)


def _kernel_gradient(dy: Any, x: Any, sizes: tuple[int, ...], recipe: _Recipe) -> Any:
    """The graph: for each group of channels a chain of tasks, each of which adds its images."""
    spec, multiplier = recipe.spec, recipe.spec.depth_multiplier
    name = "dwconv-grad-" + tokenize(dy.name, x.name, sizes, repr(recipe))
    of_x, of_dy = _Gather(x, f"x-{name}"), _Gather(dy, f"dy-{name}")
    batch, _, _, groups = spec.to_nhwc(x.chunks)
    groups = tuple(size for size in groups if size)
    _, height, width, _ = spec.to_nhwc(x.shape)
    _, out_height, out_width, _ = spec.to_nhwc(dy.shape)
    graph: Graph = {}
    for c, (start, stop) in enumerate(_ranges(groups)):
        total: Any = None
        for n, images in enumerate(_ranges(batch)):
            if images[0] == images[1]:
                continue
            outputs = start * multiplier, stop * multiplier
            dy_box = spec.from_nhwc(images, (0, out_height), (0, out_width), outputs)
            x_box = spec.from_nhwc(images, (0, height), (0, width), (start, stop))
            dy_grid, dy_pieces = of_dy(dy_box)
            x_grid, x_pieces = of_x(x_box)
            task = _ImageGradients(recipe, (dy_grid, x_grid))
            key = (f"images-{name}", n, c)
            graph[key] = (task, dy_pieces, x_pieces)
            added = (f"sum-{name}", n, c)
            graph[added] = (_AddImages(recipe.ieee), total, key)
            total = added
        graph[name, 0, 0, c, 0] = (
            _Finish(recipe.dtype, spec.kernel_shape(stop - start)),
            total,
        )
    graph |= of_x.graph | of_dy.graph
    layers = HighLevelGraph.from_collections(name, graph, dependencies=[dy, x])
    chunks = ((sizes[0],), (sizes[1],), groups, (sizes[3],))
    return _lazy(layers, name, chunks, recipe.dtype)


def _lazy(layers: Any, name: str, chunks: Any, dtype: dtypes.DType) -> Any:
    make: Any = da.Array  # for mypy: Dask has no types
    return make(layers, name, chunks, meta=np.empty((0, 0, 0, 0), dtype))


class _Gather:
    """Tasks that cut boxes out of an array's chunks."""

    def __init__(self, x: Any, name: str) -> None:
        self.graph: Graph = {}
        self._x, self._name = x, f"slice-{name}"

    def __call__(self, box: Sequence[Range]) -> tuple[tuple[int, ...], list[Any]]:
        """How many pieces a box is made of along each axis, and their keys, the last axis first
        to change. A piece that is not a whole chunk is a task of its own, where the chunk is.
        """
        axes = [
            list(_overlaps(cuts, *limits)) for cuts, limits in zip(self._x.chunks, box, strict=True)
        ]
        keys: list[Any] = []
        for parts in itertools.product(*axes):
            key = (self._x.name, *(part[0] for part in parts))
            limits = tuple(part[1] for part in parts)
            if not all(part[2] for part in parts):
                cut = (self._name, *key[1:], *itertools.chain(*limits))
                self.graph[cut] = (_Take(limits), key)
                key = cut
            keys.append(key)
        return tuple(map(len, axes)), keys


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
    for start, stop in _ranges(cuts):
        first = start * stride - padding[0]
        last = (stop - 1) * stride - padding[0] + reach
        source = max(first, 0), min(last, size)
        sides = source[0] - first, last - source[1]
        if source[0] >= source[1]:  # all padding: any pixel will do that comes after all taps
            source, sides = (0, 1), (last - first, 0)
        windows.append(_Window(stop - start, source, sides))
    return windows


def _output_chunks(x: Any, spec: ConvSpec, y_shape: Any, dtype: dtypes.DType, chunks: Any) -> Any:
    """The chunks of the output, as Dask writes them; ValueError for some that cannot be."""
    multiplier = spec.depth_multiplier
    batch, rows, columns, channels = spec.to_nhwc(x.chunks)
    _, height, width, _ = spec.to_nhwc(x.shape)
    sides = spec.padding_for(height, width)
    _, out_height, out_width, _ = spec.to_nhwc(y_shape)
    own = spec.from_nhwc(
        batch,
        _cuts_after(spec, 0, sides[0], rows, out_height),
        _cuts_after(spec, 1, sides[1], columns, out_width),
        tuple(size * multiplier for size in channels if size),
    )
    if chunks is None:
        return own
    if isinstance(chunks, dict):
        chunks = tuple(chunks.get(axis, own[axis]) for axis in range(4))
    normalize: Any = da.core.normalize_chunks  # for mypy: Dask has no types
    asked = normalize(chunks, y_shape, dtype=dtype, previous_chunks=own)
    asked = tuple(
        cuts if axis == 0 else tuple(size for size in cuts if size)
        for axis, cuts in enumerate(asked)
    )
    wrong = [size for size in asked[spec.channel_axis] if size % multiplier]
    if wrong:
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
    ends = [-((middle - padding[0] - end) // stride) for _, end in _ranges(cuts)][:-1]
    edges = sorted({0, size, *(min(max(end, 0), size) for end in ends)})
    return tuple(stop - start for start, stop in itertools.pairwise(edges))


def _ranges(cuts: Cuts) -> Iterator[Range]:
    """(start, stop) of each chunk."""
    stops = list(itertools.accumulate(cuts))
    return zip([0, *stops[:-1]], stops, strict=True) if stops else iter(())


def _overlaps(cuts: Cuts, start: int, stop: int) -> Iterator[tuple[int, Range, bool]]:
    """Of the chunks that overlap start:stop their number, the part in them, and whether that is
    all. An empty range takes nothing of one chunk.
    """
    found = False
    for index, (low, high) in enumerate(_ranges(cuts)):
        first, last = max(start, low), min(stop, high)
        if first < last or (start == stop and not found and low <= start <= high):
            found = True
            yield index, (first - low, last - low), (first, last) == (low, high)


def _check_dask(argument: str, x: Any) -> None:
    if not isinstance(x, da.Array):
        raise TypeError(f"{argument}: expected a Dask array; received {type(x)}")
    if any(math.isnan(size) for size in x.shape):
        raise ValueError(
            f"{argument}: expected chunks of known sizes (compute_chunk_sizes finds them); "
            f"received shape {x.shape}"
        )
    if isinstance(x._meta, np.ma.MaskedArray):
        dtypes.read_array(argument, x._meta)  # for its error


def _result_dtype(x: dtypes.DType, kernel: dtypes.DType, wanted: Any) -> dtypes.DType:
    if wanted is None:
        return dtypes.result_dtype(x, kernel)
    dtype = dtypes.named(wanted)
    if dtype is None or dtype.name not in dtypes.COMPUTE:
        raise TypeError(f"dtype: expected one of {list(dtypes.COMPUTE)}; received {wanted!r}")
    dtypes.check_castable(x, dtype, "x")
    dtypes.check_castable(kernel, dtype, "kernel")
    return dtype


# ---- tasks: what runs on a worker ----------------------------------------------------------------


class _Weights:
    """Kernel and bias of some channels; two of equal bytes are the same key of a cache."""

    def __init__(self, kernel: Array, bias: Array | None) -> None:
        self.kernel, self.bias = kernel.copy(), None if bias is None else bias.copy()
        digest = hashlib.sha256()
        for array in (self.kernel, self.bias):
            if array is not None:
                digest.update(f"{array.dtype.str}{array.shape}".encode())
                digest.update(array.tobytes())
        self._digest = digest.digest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Weights) and self._digest == other._digest

    def __hash__(self) -> int:
        return hash(self._digest)


@functools.lru_cache(_PLANS)
def _plan(recipe: _Recipe, x_shape: tuple[int, ...], weights: _Weights) -> Any:
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
class _Constant:
    """A task without inputs: its value goes to a worker once, not with each task that uses it."""

    value: Any

    def __call__(self) -> Any:
        return self.value


@dataclass(frozen=True)
class _Take:
    """A part of a chunk, copied: a view would keep the whole chunk in memory."""

    limits: tuple[Range, ...]

    def __call__(self, chunk: Any) -> Array:
        part = np.asarray(chunk)[tuple(slice(*limits) for limits in self.limits)]
        return part.copy()


@dataclass(frozen=True)
class _Convolve:
    """One chunk of the output."""

    recipe: _Recipe
    grid: tuple[int, ...]
    count: Pair

    def __call__(self, weights: _Weights, pieces: list[Any]) -> Array:
        recipe, spec = self.recipe, self.recipe.spec
        x = _joined(pieces, self.grid)
        if recipe.cast_first:
            x = casts.cast(x, recipe.dtype)
        y = run(_plan(recipe, x.shape, weights), x, dtype=recipe.dtype)
        rows, columns = (slice(0, count) for count in self.count)
        every = slice(None)
        return y[spec.from_nhwc(every, rows, columns, every)]


@dataclass(frozen=True)
class _ImageGradients:
    """The kernel's gradient of each image, (n, kh*kw*C*M), in the compute dtype."""

    recipe: _Recipe
    grids: tuple[tuple[int, ...], ...]

    def __call__(self, dy_pieces: list[Any], x_pieces: list[Any]) -> Array:
        recipe = self.recipe
        compute = dtypes.compute_dtype(recipe.dtype)
        dy, x = (
            casts.cast(_joined(pieces, grid), compute)
            for pieces, grid in zip((dy_pieces, x_pieces), self.grids, strict=True)
        )
        spec = recipe.spec
        image = (1, *x.shape[1:])
        plan = gradients.make_plan(spec, image, compute, None, ieee=recipe.ieee)
        sums = [
            gradients.run(plan, dy[n : n + 1], x[n : n + 1], recipe.num_threads, compute)[1]
            for n in range(len(x))
        ]
        return np.stack([np.asarray(each).reshape(-1) for each in sums])


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


def _joined(pieces: list[Any], grid: tuple[int, ...]) -> Array:
    """One array of the pieces of a box."""
    arrays = [np.asarray(piece) for piece in pieces]
    for axis in reversed(range(len(grid))):
        step = grid[axis]
        if step > 1:
            arrays = [
                np.concatenate(arrays[i : i + step], axis) for i in range(0, len(arrays), step)
            ]
    (array,) = arrays
    return array
