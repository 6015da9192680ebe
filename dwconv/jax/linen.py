"""`DepthwiseConv` for Flax's linen: a module with the parameters of a depthwise `nn.Conv`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype

from .layout import explicit_padding, pair, to_depthwise
from .operators import depthwise_conv2d


class DepthwiseConv(nn.Module):
    """`flax.linen.Conv(features, kernel_size, feature_group_count=C)`, computed by dwconv.

    C is the size of the last axis of the input, features a multiple of it; None: the same. The
    parameters are those of `nn.Conv`, with their names and shapes: kernel (kh, kw, 1, C*M), bias
    (C*M,). So its checkpoints load, and the other way round.

    strides, padding, kernel_dilation, use_bias, dtype, param_dtype, kernel_init, bias_init: as in
    `nn.Conv`. Also activation, as in `dwconv.jax.depthwise_conv2d`.
    """

    features: int | None = None
    kernel_size: int | Sequence[int] = (3, 3)
    strides: int | Sequence[int] | None = 1
    padding: Any = "SAME"
    kernel_dilation: int | Sequence[int] | None = 1
    use_bias: bool = True
    dtype: Any = None
    param_dtype: Any = jnp.float32
    kernel_init: Callable[..., Any] = nn.initializers.lecun_normal()
    bias_init: Callable[..., Any] = nn.initializers.zeros_init()
    activation: Any = None

    @nn.compact
    def __call__(self, inputs: Any) -> Any:
        """(..., H, W, C) -> (..., OH, OW, C*M); (H, W, C) is one image."""
        channels = inputs.shape[-1]
        features = channels if self.features is None else self.features
        if features % channels:
            raise ValueError(
                f"features: expected a multiple of the {channels} channels of the input; "
                f"received {features}"
            )
        kernel_size = pair("kernel_size", self.kernel_size)
        kernel = self.param(
            "kernel", self.kernel_init, (*kernel_size, 1, features), self.param_dtype
        )
        bias = None
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (features,), self.param_dtype)
        inputs, kernel, bias = promote_dtype(inputs, kernel, bias, dtype=self.dtype)
        batch = inputs.shape[:-3]
        y = depthwise_conv2d(
            inputs.reshape(-1, *inputs.shape[-3:]),
            to_depthwise(kernel, channels),
            bias,
            strides=pair("strides", 1 if self.strides is None else self.strides),
            padding=explicit_padding(self.padding),
            dilation_rate=pair("kernel_dilation", self.kernel_dilation or 1),
            activation=self.activation,
        )
        return y.reshape(*batch, *y.shape[1:])
