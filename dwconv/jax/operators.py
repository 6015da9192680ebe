"""`depthwise_conv2d` for arrays of JAX: arguments read and checked, dtypes, the activation.

Shape letters: N batch, H height, W width, C input channels, M depth multiplier, kh/kw kernel
height/width, OH/OW output height/width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from .. import config
from ..activations import Fused
from ..arguments import ExplicitPadding, read_num_threads
from ..ops.convolution import FUSED_ACTIVATIONS, split_activation
from ..ops.spec import ConvSpec
from . import primitives

Array: TypeAlias = Any  # of JAX

#: dtype -> the one in which it is computed.
_COMPUTE = {
    np.dtype(jnp.bfloat16): np.dtype(np.float32),
    np.dtype(np.float16): np.dtype(np.float32),
    np.dtype(np.float32): np.dtype(np.float32),
    np.dtype(np.float64): np.dtype(np.float64),
}


def depthwise_conv2d(
    x: Array,
    kernel: Array,
    bias: Array | None = None,
    *,
    strides: int | tuple[int, int] = 1,
    padding: str | ExplicitPadding = "valid",
    dilation_rate: int | tuple[int, int] = 1,
    data_format: str | None = "channels_last",
    activation: str | Callable[[Array], Array] | None = None,
    num_threads: Any = None,
) -> Array:
    """`dwconv.depthwise_conv2d` of JAX's arrays, under all of JAX's transformations.

    Args:
        x: (N, H, W, C), or (N, C, H, W) if channels_first; bfloat16, float16, float32 or float64.
        kernel: (kh, kw, C, M), of a float dtype.
        bias: (C*M,), of a float dtype; or None.
        strides: an int or two, (height, width), in pixels.
        padding: 'valid', 'same' (as in TensorFlow and `jax.lax`) or
            ((top, bottom), (left, right)) in pixels.
        dilation_rate: an int or two, (height, width), in pixels.
        data_format: 'channels_last' or 'channels_first'; None is channels_last.
        activation: None, a name of what the C core computes ('relu', 'relu6', 'silu', 'hard_silu',
            'gelu', ...), or a function of JAX. Those that the core has are computed by it.
        num_threads: how many threads at most, a positive int or 'auto'; None: as many as XLA's own
            pool has. The result has the same bits with any number.

    Returns:
        (N, OH, OW, C*M), or (N, C*M, OH, OW), of the dtype that JAX promotes x and kernel to.
        bfloat16 and float16 are computed in float32 and rounded once.

    The gradients are those of `dwconv`'s layer, whose sums have a fixed order, for any number of
    threads. On another platform than the CPU it is `jax.lax.conv_general_dilated`.

    Raises TypeError for other dtypes, ValueError for shapes and arguments that do not fit.
    """
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    dtype = np.dtype(jnp.promote_types(x.dtype, kernel.dtype))
    for name, array in (("x", x), ("kernel", kernel), ("bias", bias)):
        if array is not None and np.dtype(array.dtype) not in _COMPUTE:
            raise TypeError(
                f"{name}: expected bfloat16, float16, float32 or float64; received {array.dtype}"
            )
    spec = ConvSpec.for_kernel(kernel.shape, strides, padding, dilation_rate, data_format)
    spec.check_array_shape("x", x.shape)
    spec.check_kernel(kernel.shape, x.shape)
    spec.output_shape(x.shape)  # for its errors
    if bias is not None:
        bias = jnp.asarray(bias)
        spec.check_bias(bias.shape, x.shape)
    fused, after = _split(activation)
    threads = read_num_threads(num_threads)
    _, height, width, _ = spec.to_nhwc(x.shape)
    call = primitives.Call(
        replace(spec, padding=spec.padding_for(height, width)),
        fused,
        0 if threads is None else threads,
        ieee=config.denormals() == "ieee",
    )
    compute = _COMPUTE[dtype]
    y = primitives.convolution(
        x.astype(compute),
        kernel.astype(compute),
        None if bias is None else bias.astype(compute),
        call,
    ).astype(dtype)
    return y if after is None else after(y)


#: Functions of JAX that the C core computes.
_NAMES: dict[Any, str] = {
    jax.nn.relu: "relu",
    jax.nn.relu6: "relu6",
    jax.nn.sigmoid: "sigmoid",
    jax.nn.silu: "silu",
    jax.nn.hard_silu: "hard_silu",
    jax.nn.hard_sigmoid: "hard_sigmoid",
    jnp.tanh: "tanh",
}


def _split(activation: Any) -> tuple[Fused, Callable[[Array], Array] | None]:
    """(what is fused, the function that comes after it, or None)."""
    if callable(activation):
        name = _NAMES.get(activation)
        return (primitives.LINEAR, activation) if name is None else (Fused(name), None)
    fused, after = split_activation(activation)
    if after is not None:
        raise ValueError(
            f"activation: expected None, one of {', '.join(FUSED_ACTIVATIONS)} or a function of "
            f"JAX; received {activation!r}"
        )
    return fused, None
