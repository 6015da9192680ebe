"""The layout of PyTorch's depthwise weights, and back; PyTorch itself is not needed."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from . import casts
from .arguments import IntLike, read_positive_int
from .dtypes import read_array


def from_torch_weight(weight: Any, depth_multiplier: IntLike = 1) -> NDArray[Any]:
    """The kernel (kh, kw, C, M) of a depthwise `torch.nn.Conv2d`'s weight (C*M, 1, kh, kw).

    Output channel c*M + m belongs to input channel c, in PyTorch (groups=C) as here. Neither flips
    the kernel.

    Args:
        weight: a tensor, also one that requires gradients, or an array.
        depth_multiplier: M, which the weight's shape does not tell: out_channels // in_channels.

    Returns:
        A new C-contiguous array of the weight's dtype.

    Raises ValueError for another shape, or where M does not divide C*M; TypeError for what is not
    real numbers.

    Example:
        >>> kernel = from_torch_weight(np.zeros((6, 1, 3, 5)), depth_multiplier=2)
        >>> kernel.shape
        (3, 5, 3, 2)
    """
    multiplier = read_positive_int("depth_multiplier", depth_multiplier)
    detach = getattr(weight, "detach", None)
    array = read_array("weight", weight if detach is None else detach())
    if array.ndim != 4 or array.shape[1] != 1 or array.shape[0] % multiplier:
        raise ValueError(
            "weight: expected shape (C*M, 1, kh, kw), of a convolution with groups=C, with "
            f"M = {multiplier}; received shape {array.shape}"
        )
    return casts.copy(kernel_view(array, array.shape[0] // multiplier, multiplier))


def to_torch_weight(kernel: Any) -> NDArray[Any]:
    """The weight (C*M, 1, kh, kw) for `torch.nn.Conv2d(C, C*M, (kh, kw), groups=C)` of a kernel
    (kh, kw, C, M): a new C-contiguous array of the same dtype, for `torch.from_numpy`.

    Raises ValueError for another rank; TypeError for what is not real numbers.

    Example:
        >>> to_torch_weight(np.zeros((3, 5, 3, 2))).shape
        (6, 1, 3, 5)
    """
    array = read_array("kernel", kernel)
    if array.ndim != 4:
        raise ValueError(f"kernel: expected shape (kh, kw, C, M); received shape {array.shape}")
    kernel_h, kernel_w, channels, multiplier = array.shape
    moved = casts.copy(array.transpose(2, 3, 0, 1))
    return moved.reshape(channels * multiplier, 1, kernel_h, kernel_w)


def kernel_view(weight: NDArray[Any], channels: int, multiplier: int) -> NDArray[Any]:
    """The kernel (kh, kw, C, M) of a weight (C*M, 1, kh, kw); a view if that is contiguous."""
    split = weight.reshape(channels, multiplier, *weight.shape[2:])
    return split.transpose(2, 3, 0, 1)
