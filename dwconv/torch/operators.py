"""The operators `dwconv::depthwise_conv2d` and `dwconv::depthwise_conv2d_backward` of PyTorch.

Shape letters: N batch, H height, W width, C input channels, M depth multiplier, kh/kw kernel
height/width, OH/OW output height/width. Shapes are PyTorch's: x (N, C, H, W), weight (C*M, 1, kh,
kw), bias (C*M,), y (N, C*M, OH, OW). A channels_last tensor is read as (N, H, W, C) and gives a
channels_last result; any other is read as (N, C, H, W). Neither is copied in float32 and float64.
float16 and bfloat16 are computed in float32 and rounded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..arguments import read_pair
from ..ops import gradients
from ..ops.convolution import depthwise_conv2d as _on_arrays
from ..ops.spec import ConvSpec
from ..torch_weights import kernel_view, to_torch_weight

#: dtype of a tensor -> dtype in which it is computed.
_COMPUTE = {
    torch.float16: torch.float32,
    torch.bfloat16: torch.float32,
    torch.float32: torch.float32,
    torch.float64: torch.float64,
}

# Inductor must hand over a tensor in the memory format that the model gives it.
_TAGS = (torch.Tag.needs_fixed_stride_order,)


def depthwise_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
) -> Tensor:
    """What `torch.nn.functional.conv2d(..., groups=C)` computes, with gradients of first order.

    Args:
        x: (N, C, H, W); float16, bfloat16, float32 or float64, on the CPU. N may be 0.
        weight: (C*M, 1, kh, kw), of x's dtype.
        bias: (C*M,), of x's dtype; or None.
        stride: an int or two, (height, width), in pixels.
        padding: 'valid', 'same' (only with stride 1), an int, or two, (height, width), in pixels.
        dilation: an int or two, (height, width), in pixels.

    Returns:
        A new tensor (N, C*M, OH, OW) of x's dtype, in x's memory format. Under autocast, of
        autocast's dtype, to which the arguments are cast. As many threads as
        `torch.get_num_threads()` compute it, at most.

    Raises TypeError for other dtypes, ValueError for other shapes and arguments.
    """
    strides, dilations = read_pair("stride", stride), read_pair("dilation", dilation)
    if torch.is_autocast_enabled("cpu") and x.dtype != torch.float64:
        dtype = torch.get_autocast_dtype("cpu")
        x, weight = x.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    _check(x, weight, bias)
    sides = explicit_sides(padding, weight.shape[2:], strides, dilations)
    return torch.ops.dwconv.depthwise_conv2d(  # type: ignore[no-any-return]
        x, weight, bias, list(strides), sides, list(dilations)
    )


def explicit_sides(
    padding: str | int | Sequence[int],
    kernel_size: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> list[int]:
    """[top, bottom, left, right] in pixels for a `padding` of `torch.nn.Conv2d`.

    'same' is PyTorch's: an odd pixel goes to the bottom and to the right.
    """
    if padding == "valid":
        return [0, 0, 0, 0]
    if padding == "same":
        if tuple(strides) != (1, 1):
            raise ValueError(f"padding: expected stride 1 with 'same'; received stride {strides}")
        totals = [d * (k - 1) for k, d in zip(kernel_size, dilations, strict=True)]
        return [side for total in totals for side in (total // 2, total - total // 2)]
    sizes = (padding, padding) if isinstance(padding, int) else padding
    if (
        isinstance(sizes, str)
        or len(sizes) != 2
        or any(not isinstance(size, int) or size < 0 for size in sizes)
    ):
        raise ValueError(
            f"padding: expected 'valid', 'same' or one or two ints >= 0; received {padding!r}"
        )
    return [side for size in sizes for side in (size, size)]


def _check(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    if x.dtype not in _COMPUTE:
        raise TypeError(f"x: expected a tensor of floats; received dtype {x.dtype}")
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and tensor.dtype != x.dtype:
            raise TypeError(f"{name}: expected dtype {x.dtype}, x's; received {tensor.dtype}")
    if x.dim() != 4:
        raise ValueError(f"x: expected rank 4, (N, C, H, W); received shape {tuple(x.shape)}")
    if x.shape[1] == 0 or weight.dim() != 4 or weight.shape[1] != 1 or weight.shape[0] % x.shape[1]:
        raise ValueError(
            f"weight: expected shape (C*M, 1, kh, kw), with C = {x.shape[1]}, the channels of x; "
            f"received shape {tuple(weight.shape)}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(
            f"bias: expected shape (C*M,) = ({weight.shape[0]},); "
            f"received shape {tuple(bias.shape)}"
        )


# ---- between tensors and arrays ------------------------------------------------------------------


def _channels_last(x: Tensor) -> bool:
    """Whether x is read as (N, H, W, C). A tensor in both formats counts as contiguous."""
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def _array(x: Tensor, last: bool) -> np.ndarray[Any, Any]:
    """x in its compute dtype, as (N, H, W, C) or (N, C, H, W); a view where that is possible."""
    x = x.detach().to(_COMPUTE[x.dtype])
    return (x.permute(0, 2, 3, 1) if last else x).numpy()


def _kernel(weight: Tensor, channels: int) -> np.ndarray[Any, Any]:
    """(kh, kw, C, M) of a weight (C*M, 1, kh, kw)."""
    return kernel_view(_array(weight, False), channels, weight.shape[0] // channels)


def _tensor(array: np.ndarray[Any, Any], dtype: torch.dtype, last: bool) -> Tensor:
    y = torch.from_numpy(array).to(dtype)
    return y.permute(0, 3, 1, 2) if last else y


def _geometry(
    stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int], last: bool
) -> dict[str, Any]:
    top, bottom, left, right = padding
    return {
        "strides": tuple(stride),
        "padding": ((top, bottom), (left, right)),
        "dilation_rate": tuple(dilation),
        "data_format": "channels_last" if last else "channels_first",
    }


# ---- the operators -------------------------------------------------------------------------------


@torch.library.custom_op(
    "dwconv::depthwise_conv2d",
    mutates_args=(),
    device_types="cpu",
    schema="(Tensor x, Tensor weight, Tensor? bias, int[] stride, int[] padding, int[] dilation)"
    " -> Tensor",
    tags=_TAGS,
)
def _forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    last = _channels_last(x)
    y = _on_arrays(
        _array(x, last),
        _kernel(weight, x.shape[1]),
        None if bias is None else _array(bias, False),
        num_threads=torch.get_num_threads(),
        **_geometry(stride, padding, dilation, last),
    )
    return _tensor(y, x.dtype, last)


@_forward.register_fake
def _(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    top, bottom, left, right = padding
    reach_h = dilation[0] * (weight.shape[2] - 1) + 1
    reach_w = dilation[1] * (weight.shape[3] - 1) + 1
    return torch.empty(
        (
            x.shape[0],
            weight.shape[0],
            (x.shape[2] + top + bottom - reach_h) // stride[0] + 1,
            (x.shape[3] + left + right - reach_w) // stride[1] + 1,
        ),
        dtype=x.dtype,
        device=x.device,
        memory_format=torch.channels_last if _channels_last(x) else torch.contiguous_format,
    )


@torch.library.custom_op(
    "dwconv::depthwise_conv2d_backward",
    mutates_args=(),
    device_types="cpu",
    schema="(Tensor dy, Tensor x, Tensor weight, int[] stride, int[] padding, int[] dilation,"
    " bool want_x, bool want_weight) -> (Tensor, Tensor, Tensor)",
    tags=_TAGS,
)
def _backward(
    dy: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    want_x: bool,
    want_weight: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """(dx, dweight, dbias); those that are not wanted are empty."""
    last, channels = _channels_last(x), x.shape[1]
    source, kernel = _array(x, last), _kernel(weight, channels)
    spec = ConvSpec.for_kernel(kernel.shape, **_geometry(stride, padding, dilation, last))
    plan = gradients.make_plan(spec, source.shape, source.dtype, kernel if want_x else None)
    dx, dkernel, dbias = gradients.run(
        plan, _array(dy, last), source if want_weight else None, torch.get_num_threads()
    )
    return (
        x.new_empty(0) if dx is None else _tensor(dx, x.dtype, last),
        x.new_empty(0) if dkernel is None else _tensor(to_torch_weight(dkernel), x.dtype, False),
        x.new_empty(0) if dbias is None else _tensor(dbias, x.dtype, False),
    )


@_backward.register_fake
def _(
    dy: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    want_x: bool,
    want_weight: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    memory_format = torch.channels_last if _channels_last(x) else torch.contiguous_format
    return (
        x.new_empty(x.shape).to(memory_format=memory_format) if want_x else x.new_empty(0),
        weight.new_empty(weight.shape) if want_weight else x.new_empty(0),
        weight.new_empty(weight.shape[0]) if want_weight else x.new_empty(0),
    )


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, bias, *geometry = inputs
    ctx.save_for_backward(x, weight)
    ctx.geometry, ctx.has_bias = geometry, bias is not None


def _differentiate(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    want_x, want_weight, want_bias = ctx.needs_input_grad[:3]
    dx, dweight, dbias = torch.ops.dwconv.depthwise_conv2d_backward(
        dy, x, weight, *ctx.geometry, want_x, want_weight or want_bias
    )
    return (
        dx if want_x else None,
        dweight if want_weight else None,
        dbias if ctx.has_bias and want_bias else None,
        *(None, None, None),
    )


_forward.register_autograd(_differentiate, setup_context=_keep)
