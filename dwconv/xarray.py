"""Labelled arrays: a depthwise convolution along two dimensions of an xarray.DataArray.

The extra `dwconv[dask]` installs xarray and Dask.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray
from numpy.typing import ArrayLike

from .arguments import ExplicitPadding
from .ops.convolution import depthwise_conv2d as _of_numpy
from .ops.spec import ConvSpec

__all__ = ["depthwise_conv2d"]


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
        strides, padding, dilation_rate, activation: as for the function.
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
    data = ordered.data
    shape = (*dims_sizes(x, dims), 1 if channel is None else x.sizes[channel])
    arguments: dict[str, Any] = {
        "strides": spec.strides,
        "padding": spec.padding,
        "dilation_rate": spec.dilation_rate,
        "activation": activation,
        "num_threads": num_threads,
    }
    images = data.reshape((-1 if 0 not in batch else 0, *shape)) if _in_memory(data) else None
    if images is not None:
        y = _of_numpy(images, kernel, bias, **arguments)
        y = y.reshape((*batch, *y.shape[1:3], *([] if channel is None else [y.shape[3]])))
    else:
        y = _lazy(data, len(others), channel is not None, kernel, bias, arguments)
    result = xarray.DataArray(y, dims=ordered.dims, coords=_coordinates(x, spec, dims, y.shape))
    if keep_attrs is None:
        keep_attrs = _keeps_attributes()
    if keep_attrs:
        result.attrs.update(x.attrs)
        result.name = x.name
    return result.transpose(*x.dims)


def dims_sizes(x: xarray.DataArray, dims: tuple[str, str]) -> tuple[int, int]:
    """Height and width."""
    return x.sizes[dims[0]], x.sizes[dims[1]]


def _in_memory(data: Any) -> bool:
    return not hasattr(data, "dask")
