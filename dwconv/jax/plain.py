"""The same operations by JAX's own, for platforms without the C core and for derivatives of any
order.

Shape letters: N batch, H height, W width, C input channels, M depth multiplier, kh/kw kernel
height/width, OH/OW output height/width. dtypes: float32 and float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

from ..activations import Fused
from ..ops.spec import ConvSpec

Array: TypeAlias = Any  # of JAX


def convolution(x: Array, kernel: Array, spec: ConvSpec) -> Array:
    """x (N, H, W, C), or (N, C, H, W); kernel (kh, kw, C, M) -> y (N, OH, OW, C*M), or first."""
    kernel_h, kernel_w, channels, multiplier = kernel.shape
    letters = "NCHW" if spec.channels_first else "NHWC"
    return lax.conv_general_dilated(
        x,
        kernel.reshape(kernel_h, kernel_w, 1, channels * multiplier),
        spec.strides,
        spec.padding,
        rhs_dilation=spec.dilation_rate,
        dimension_numbers=(letters, "HWIO", letters),
        feature_group_count=channels,
    )


def add_bias(y: Array, bias: Array, spec: ConvSpec) -> Array:
    """y + bias (C*M,)"""
    return y + (bias[:, None, None] if spec.channels_first else bias)


def gradients(dy: Array, x: Array, kernel: Array, spec: ConvSpec) -> tuple[Array, Array, Array]:
    """(dx, dkernel, dbias)"""
    _, pull = jax.vjp(lambda x, kernel: convolution(x, kernel, spec), x, kernel)
    dx, dkernel = pull(dy)
    axes = tuple(axis for axis in range(4) if axis != spec.channel_axis)
    return dx, dkernel, dy.sum(axes)


def activate(y: Array, activation: Fused) -> Array:
    """What the C core fuses, by formula."""
    return _FORMULAS[activation.name](y, activation.alpha)


_FORMULAS: dict[str, Callable[[Array, float], Array]] = {
    "linear": lambda y, _: y,
    "relu": lambda y, _: jax.nn.relu(y),
    "relu6": lambda y, _: jax.nn.relu6(y),
    "leaky_relu": lambda y, alpha: jnp.where(y > 0, y, alpha * y),
    "hard_sigmoid": lambda y, _: jax.nn.hard_sigmoid(y),
    "hard_silu": lambda y, _: jax.nn.hard_silu(y),
    "sigmoid": lambda y, _: jax.nn.sigmoid(y),
    "tanh": lambda y, _: jnp.tanh(y),
    "silu": lambda y, _: jax.nn.silu(y),
    "gelu": lambda y, _: jax.nn.gelu(y, approximate=False),
    "gelu_tanh": lambda y, _: jax.nn.gelu(y, approximate=True),
    "elu": lambda y, alpha: jax.nn.elu(y, alpha),
}
