"""Labelled arrays: a depthwise convolution along two dimensions of an xarray.DataArray.

The extra `dwconv[dask]` installs xarray and Dask.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray
from numpy.typing import ArrayLike

from .arguments import ExplicitPadding
from .ops.convolution import depthwise_conv2d as _of_numpy
from .ops.spec import ConvSpec

__all__ = ["depthwise_conv2d"]

# What the option 'default' means for operations on an array, asked of the installed xarray: its
# versions differ.
_KEEP_BY_DEFAULT = bool((xarray.DataArray([0.0], attrs={"a": 1}) + 1).attrs)


def depthwise_conv2d(
    x: xarray.DataArray,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    dims: tuple[str, str] = ("y", "x"),
    channel: str | None = None,
    strides: int | tuple[int, int] = 1,
    padding: str | ExplicitPadding = "same",
    dilation_rate: int | tuple[int, int] = 1,
    activation: Any = None,
    keep_attrs: bool | None = None,
    num_threads: Any = 1,
) -> xarray.DataArray:
    """`dwconv.depthwise_conv2d` along `dims`, with the same bits; lazy if x holds a Dask array.

    Args:
        x: any dimensions; those beside `dims` and `channel` are the batch, N.
        kernel: (kh, kw, C, 1): a multiplier M > 1 would make channels that have no label.
        bias: (C,), or None for zeros.
        dims: the dimensions of height and width.
        channel: the dimension of C; None: x has one channel.
        strides: as for the function.
        padding: as for the function; here 'same' is the default.
        dilation_rate: as for the function.
        activation: as for the function; it sees (N, H, W, C).
        keep_attrs: whether attributes are kept; None: xarray's option `keep_attrs`, and its
            default for computations.
        num_threads: of each task, or of the call if x is in memory.

    Returns:
        A DataArray with x's dimensions in x's order. A coordinate along one of `dims` is that of
        the pixel under the middle tap of each output, the left or upper one of two. It is left out
        if such a pixel lies in the padding for some output.

    Raises what the function raises, and ValueError for dimensions that x does not have.
    """
    wanted = [*dims, *([] if channel is None else [channel])]
    if len(dims) != 2 or len(set(wanted)) != len(wanted) or not set(wanted) <= set(x.dims):
        raise ValueError(f"dims: expected distinct dimensions of {x.dims}; received {wanted}")
    kernel = np.asarray(kernel)
    spec = ConvSpec.for_kernel(kernel.shape, strides, padding, dilation_rate)
    if spec.depth_multiplier != 1:
        raise ValueError(f"kernel: expected shape (kh, kw, C, 1); received {kernel.shape}")
    others = [name for name in x.dims if name not in wanted]
    ordered = x.transpose(*others, *wanted)
    batch = ordered.shape[: len(others)]
    channels = 1 if channel is None else x.sizes[channel]
    shape = (math.prod(batch), x.sizes[dims[0]], x.sizes[dims[1]], channels)
    images, options = ordered.data, {}
    function: Any = _of_numpy
    if x.chunks is not None:
        from .dask import depthwise_conv2d as function

        options = {"merge_chunks": False}
    y = function(
        images.reshape(shape, **options),
        kernel,
        bias,
        strides=spec.strides,
        padding=spec.padding,
        dilation_rate=spec.dilation_rate,
        activation=activation,
        num_threads=num_threads,
    )
    labels = () if channel is None else (y.shape[3],)
    y = y.reshape((*batch, *y.shape[1:3], *labels), **options)
    result = xarray.DataArray(y, dims=ordered.dims, coords=_coordinates(x, spec, dims))
    result.name = x.name
    if keep_attrs is None:
        options_of_xarray: Any = xarray.get_options  # for mypy: it has no types
        option = options_of_xarray()["keep_attrs"]
        keep_attrs = _KEEP_BY_DEFAULT if option == "default" else option
    if keep_attrs:
        result.attrs.update(x.attrs)
    return result.transpose(*x.dims)


def _coordinates(x: xarray.DataArray, spec: ConvSpec, dims: tuple[str, str]) -> dict[Any, Any]:
    """Those of the result: of x, at the pixels under the middle taps."""
    height, width = x.sizes[dims[0]], x.sizes[dims[1]]
    sides = spec.padding_for(height, width)
    _, *sizes, _ = spec.output_shape((1, height, width, 1))
    places: dict[Any, Any] = {}
    dropped = set()
    for axis, name in enumerate(dims):
        middle = spec.dilation_rate[axis] * ((spec.kernel_size[axis] - 1) // 2)
        first = middle - sides[axis][0]
        last = first + (sizes[axis] - 1) * spec.strides[axis]  # type: ignore[operator]
        if first < 0 or last >= x.sizes[name]:
            dropped.add(name)
        else:
            places[name] = slice(first, last + 1, spec.strides[axis])
    coords = x.coords.to_dataset().isel(places, missing_dims="ignore").coords
    return {
        name: coordinate.variable
        for name, coordinate in coords.items()
        if not dropped & set(coordinate.dims)
    }
