"""The operators `dwconv::depthwise_conv2d` and `dwconv::depthwise_conv2d_backward` of PyTorch.

Shape letters: N batch, H height, W width, C input channels, M depth multiplier, kh/kw kernel
height/width, OH/OW output height/width. Shapes are PyTorch's: x (N, C, H, W), weight (C*M, 1, kh,
kw), bias (C*M,), y (N, C*M, OH, OW). A channels_last tensor is read as (N, H, W, C) and gives a
channels_last result; any other is read as (N, C, H, W). Neither is copied in float32 and float64.
float16 and bfloat16 are computed in float32 and rounded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from .. import config
from ..arguments import read_pair
from ..locks import Lock
from ..ops import gradients
from ..ops.convolution import FUSED_ACTIVATIONS, Fused
from ..ops.epilogue import as_the_core_takes_it
from ..ops.plan import make_plan
from ..ops.spec import ConvSpec
from ..torch_weights import kernel_view, to_torch_weight

#: dtype of a tensor -> dtype in which it is computed.
_COMPUTE = {
    torch.float16: torch.float32,
    torch.bfloat16: torch.float32,
    torch.float32: torch.float32,
    torch.float64: torch.float64,
}

# Inductor may hand over a tensor in the memory format that suits its convolutions; the result has
# the same. Had it to keep the model's, contiguous models would lose: docs/models.md.
_TAGS = (torch.Tag.flexible_layout,)


def depthwise_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    *,
    activation: str = "linear",
    alpha: float = 0.0,
) -> Tensor:
    """What `torch.nn.functional.conv2d(..., groups=C)` computes, with gradients of first order.

    Args:
        x: (N, C, H, W); float16, bfloat16, float32 or float64, on the CPU. N may be 0.
        weight: (C*M, 1, kh, kw), of x's dtype.
        bias: (C*M,), of x's dtype; or None.
        stride: an int or two, (height, width), in pixels.
        padding: 'valid', 'same' (only with stride 1), an int, or two, (height, width), in pixels.
        dilation: an int or two, (height, width), in pixels.
        activation: what comes after it, one of those that the C core computes: 'relu', 'relu6',
            'silu', 'hard_silu' (PyTorch's Hardswish), 'gelu', 'gelu_tanh', ... Its gradient
            computes the convolution once more instead of keeping it.
        alpha: the parameter of 'leaky_relu' and 'elu'.

    Returns:
        A new tensor (N, C*M, OH, OW) of x's dtype, in x's memory format. Under autocast, of
        autocast's dtype, to which the arguments are cast. As many threads as
        `torch.get_num_threads()` compute it, at most.

    Raises TypeError for other dtypes, ValueError for other shapes and arguments.
    """
    if torch.is_autocast_enabled("cpu") and x.dtype != torch.float64:
        dtype = torch.get_autocast_dtype("cpu")
        x, weight = x.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    read = _read_arguments if torch.compiler.is_compiling() else _remembered
    geometry = read(x, weight, bias, stride, padding, dilation, activation)
    return call(x, weight, bias, *geometry, activation, float(alpha))


_Geometry: TypeAlias = tuple[list[int], list[int], list[int]]

#: What `_read_arguments` has returned before: it takes as long as a small convolution.
_read: dict[tuple[Any, ...], _Geometry] = {}


def _remembered(x: Tensor, weight: Tensor, bias: Tensor | None, *rest: Any) -> _Geometry:
    of_bias = None if bias is None else (bias.dtype, bias.shape)
    key = (x.dtype, x.shape, weight.dtype, weight.shape, of_bias, *rest)
    try:
        found = _read.get(key)
    except TypeError:  # a list
        return _read_arguments(x, weight, bias, *rest)
    if found is None:
        found = _read_arguments(x, weight, bias, *rest)
        if len(_read) >= _MOST_PLANS:
            _read.clear()
        _read[key] = found
    return found


def _read_arguments(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    activation: str,
) -> _Geometry:
    """(stride, sides, dilation) as the operator takes them; the errors of `depthwise_conv2d`."""
    _check(x, weight, bias)
    strides, dilations = read_pair("stride", stride), read_pair("dilation", dilation)
    sides = explicit_sides(padding, weight.shape[2:], strides, dilations)
    if activation not in FUSED_ACTIVATIONS:
        raise ValueError(
            f"activation: expected one of {', '.join(FUSED_ACTIVATIONS)}; received {activation!r}"
        )
    return list(strides), sides, list(dilations)


def call(x: Tensor, weight: Tensor, bias: Tensor | None, *rest: Any) -> Tensor:
    """The operator for checked arguments. Where nothing but the result is wanted it is not asked:
    the way through PyTorch's dispatcher takes longer than a small convolution.
    """
    if (
        _kernels is not None
        and type(x) is Tensor
        and x.device.type == weight.device.type == "cpu"
        and not (torch.is_grad_enabled() and _any_requires_grad(x, weight, bias))
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and torch._C._len_torch_dispatch_stack() == 0
        and torch._C._functorch.peek_interpreter_stack() is None
    ):
        return _forward(x, weight, bias, *rest)
    return _operator(x, weight, bias, *rest)  # type: ignore[no-any-return]


def _any_requires_grad(*tensors: Tensor | None) -> bool:
    return any(tensor is not None and tensor.requires_grad for tensor in tensors)


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
    compute = _COMPUTE[x.dtype]
    # Each step that is left out saves half a microsecond to one; so does NumPy's transpose.
    if x.requires_grad:
        x = x.detach()
    if x.dtype is not compute:
        x = x.to(compute)
    array: np.ndarray[Any, Any] = x.numpy()
    return array.transpose(0, 2, 3, 1) if last else array


def _tensor(array: np.ndarray[Any, Any], dtype: torch.dtype, last: bool) -> Tensor:
    y = torch.from_numpy(array.transpose(0, 3, 1, 2) if last else array)
    return y if y.dtype is dtype else y.to(dtype)


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


# ---- plans ---------------------------------------------------------------------------------------


class _Kept(NamedTuple):
    """A plan, and the bytes of the weights that it was packed from."""

    weight: bytes
    bias: bytes | None
    plan: Any


#: (shape, layout, addresses of the weights, geometry ...) -> _Kept, the oldest first. A weight may
#: have been changed in place or have taken another's place, so its bytes are compared: an edit
#: through `.data` has no trace in a tensor's version.
_plans: dict[tuple[Any, ...], _Kept] = {}
_lock = Lock()
_MOST_PLANS = 1024


def _kernel(array: np.ndarray[Any, Any], shape: Sequence[int], last: bool) -> Any:
    """The kernel (kh, kw, C, M) in a weight (C*M, 1, kh, kw), a view, for an x of that shape."""
    channels = shape[3] if last else shape[1]
    return kernel_view(array, channels, array.shape[0] // channels)


def _make_plan(
    shape: tuple[int, ...],
    weight: np.ndarray[Any, Any],
    bias: np.ndarray[Any, Any] | None,
    geometry: dict[str, Any],
    fused: Fused,
    ieee: bool,
) -> Any:
    """The plan for an x of that shape, in the layout of the geometry; weight: (C*M, 1, kh, kw)."""
    kernel = _kernel(weight, shape, geometry["data_format"] == "channels_last")
    spec = ConvSpec.for_kernel(kernel.shape, **geometry)
    spec.output_shape(shape)  # for its errors
    return make_plan(spec, shape, kernel, bias, fused, ieee=ieee)


def _plan_for(
    shape: tuple[int, ...],
    last: bool,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    activation: str,
    alpha: float,
) -> Any:
    """The plan for an x of that shape (N, H, W, C), or (N, C, H, W)."""
    ieee = config.denormals() == "ieee"
    kernel_at, bias_at = weight.data_ptr(), None if bias is None else bias.data_ptr()
    key = (
        *(shape, last, weight.dtype, weight.shape, kernel_at, bias_at),
        *(*stride, *padding, *dilation, activation, alpha, ieee),
    )
    kept = _plans.get(key)
    array = _array(weight, False)
    offsets = None if bias is None else _array(bias, False)
    weight_bytes, bias_bytes = array.tobytes(), None if offsets is None else offsets.tobytes()
    if kept is not None and kept.weight == weight_bytes and kept.bias == bias_bytes:
        return kept.plan
    if kept is not None:
        kernel = _kernel(array, shape, last)
        plan = kept.plan.with_weights(
            as_the_core_takes_it(kernel, kernel.dtype),
            None if offsets is None else as_the_core_takes_it(offsets, kernel.dtype),
        )
    else:
        geometry = _geometry(stride, padding, dilation, last)
        plan = _make_plan(shape, array, offsets, geometry, Fused(activation, alpha), ieee)
    with _lock.held():
        while len(_plans) >= _MOST_PLANS:
            del _plans[next(iter(_plans))]
        _plans[key] = _Kept(weight_bytes, bias_bytes, plan)
    return plan


def _make_gradient(
    shape: tuple[int, ...],
    last: bool,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    want_x: bool,
) -> Any:
    kernel = _kernel(_array(weight, False), shape, last)
    spec = ConvSpec.for_kernel(kernel.shape, **_geometry(stride, padding, dilation, last))
    return gradients.make_plan(spec, shape, kernel.dtype, kernel if want_x else None)


# ---- plans for the operators in C++, which keep them ---------------------------------------------


def plan_of_tensors(
    sizes: Sequence[int],
    last: bool,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    activation: str,
    alpha: float,
) -> Any:
    """The plan for an x of these sizes (N, C, H, W), in memory (N, H, W, C) if `last`; weight and
    bias are of the dtype that is computed in.
    """
    return _make_plan(
        _shape_in_memory(sizes, last),
        _array(weight, False),
        None if bias is None else _array(bias, False),
        _geometry(stride, padding, dilation, last),
        Fused(activation, alpha),
        config.denormals() == "ieee",
    )


def gradient_of_tensors(sizes: Sequence[int], last: bool, *rest: Any) -> Any:
    """Likewise the plan for gradients: weight, stride, padding, dilation, whether dx is wanted."""
    return _make_gradient(_shape_in_memory(sizes, last), last, *rest)


def _shape_in_memory(sizes: Sequence[int], last: bool) -> tuple[int, ...]:
    n, c, h, w = sizes
    return (n, h, w, c) if last else (n, c, h, w)


# ---- the operators -------------------------------------------------------------------------------

_library = torch.library.Library("dwconv", "DEF")
_library.define(
    "depthwise_conv2d(Tensor x, Tensor weight, Tensor? bias, int[] stride, int[] padding,"
    " int[] dilation, str activation='linear', float alpha=0.0) -> Tensor",
    tags=_TAGS,
)
_library.define(
    "depthwise_conv2d_backward(Tensor dy, Tensor x, Tensor weight, int[] stride, int[] padding,"
    " int[] dilation, bool want_x, bool want_weight) -> (Tensor, Tensor, Tensor)",
    tags=_TAGS,
)


def _forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    activation: str = "linear",
    alpha: float = 0.0,
) -> Tensor:
    last = _channels_last(x)
    source = _array(x, last)
    plan = _plan_for(source.shape, last, weight, bias, stride, padding, dilation, activation, alpha)
    y = plan.run(as_the_core_takes_it(source, source.dtype), None, torch.get_num_threads())
    return _tensor(y, x.dtype, last)


def _forward_fake(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    activation: str = "linear",
    alpha: float = 0.0,
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
    last = _channels_last(x)
    source = _array(x, last)
    plan = _make_gradient(source.shape, last, weight, stride, padding, dilation, want_x)
    dx, dkernel, dbias = gradients.run(
        plan, _array(dy, last), source if want_weight else None, torch.get_num_threads()
    )
    return (
        x.new_empty(0) if dx is None else _tensor(dx, x.dtype, last),
        x.new_empty(0) if dkernel is None else _tensor(to_torch_weight(dkernel), x.dtype, False),
        x.new_empty(0) if dbias is None else _tensor(dbias, x.dtype, False),
    )


def _backward_fake(
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


#: Activation -> the gradient before it, of the gradient after it and the value before it.
_BEFORE: dict[str, Any] = {
    "relu": lambda dy, z, alpha: torch.ops.aten.threshold_backward(dy, z, 0),
    "relu6": lambda dy, z, alpha: torch.ops.aten.hardtanh_backward(dy, z, 0, 6),
    "leaky_relu": lambda dy, z, alpha: torch.ops.aten.leaky_relu_backward(dy, z, alpha, False),
    "hard_sigmoid": lambda dy, z, alpha: torch.ops.aten.hardsigmoid_backward(dy, z),
    "hard_silu": lambda dy, z, alpha: torch.ops.aten.hardswish_backward(dy, z),
    "sigmoid": lambda dy, z, alpha: torch.ops.aten.sigmoid_backward(dy, z.sigmoid()),
    "tanh": lambda dy, z, alpha: torch.ops.aten.tanh_backward(dy, z.tanh()),
    "silu": lambda dy, z, alpha: torch.ops.aten.silu_backward(dy, z),
    "gelu": lambda dy, z, alpha: torch.ops.aten.gelu_backward(dy, z),
    "gelu_tanh": lambda dy, z, alpha: torch.ops.aten.gelu_backward(dy, z, approximate="tanh"),
    "elu": lambda dy, z, alpha: torch.ops.aten.elu_backward(dy, alpha, 1, 1, False, z),
}


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, bias, *geometry, ctx.activation, ctx.alpha = inputs
    ctx.has_bias, ctx.geometry = bias is not None, geometry
    kept_bias = bias if ctx.activation != "linear" and bias is not None else None
    ctx.save_for_backward(x, weight, *(() if kept_bias is None else (kept_bias,)))


def _differentiate(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, *bias = ctx.saved_tensors
    if ctx.activation != "linear":
        z = torch.ops.dwconv.depthwise_conv2d(x, weight, bias[0] if bias else None, *ctx.geometry)
        dy = _BEFORE[ctx.activation](dy, z, ctx.alpha)
    want_x, want_weight, want_bias = ctx.needs_input_grad[:3]
    dx, dweight, dbias = torch.ops.dwconv.depthwise_conv2d_backward(
        dy, x, weight, *ctx.geometry, want_x, want_weight or want_bias
    )
    return (
        dx if want_x else None,
        dweight if want_weight else None,
        dbias if ctx.has_bias and want_bias else None,
        *(None, None, None, None, None),
    )


torch.library.register_fake("dwconv::depthwise_conv2d", _forward_fake, lib=_library)
torch.library.register_fake("dwconv::depthwise_conv2d_backward", _backward_fake, lib=_library)

#: The registration of the kernels above; None while those in C++ have taken their place.
_kernels: torch.library.Library | None = None


def use_python_kernels(use: bool) -> None:
    """Registers the kernels above, or takes them back, so that others can be registered."""
    global _kernels
    _kernels = None  # which takes them back
    if not use:
        return
    _kernels = torch.library.Library("dwconv", "FRAGMENT")
    _kernels.impl("depthwise_conv2d", _forward, "CPU")
    _kernels.impl("depthwise_conv2d_backward", _backward, "CPU")
    torch.library.register_autograd(
        "dwconv::depthwise_conv2d", _differentiate, setup_context=_keep, lib=_kernels
    )


def is_compiled() -> bool:
    """Whether the kernels are those in C++."""
    return _kernels is None


use_python_kernels(True)
_operator = torch.ops.dwconv.depthwise_conv2d.default
