"""`DepthwiseConv` for Flax's nnx: a module with the parameters of a depthwise `nnx.Conv`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from flax import nnx
from flax.nnx.nn import dtypes

from .layout import explicit_padding, pair, to_depthwise
from .operators import depthwise_conv2d

_NORMAL, _ZEROS = nnx.initializers.lecun_normal(), nnx.initializers.zeros_init()


class DepthwiseConv(nnx.Module):
    """`flax.nnx.Conv(C, features, kernel_size, feature_group_count=C)`, computed by dwconv.

    in_features is C, out_features a multiple of it; None: the same. The parameters are those of
    `nnx.Conv`: kernel (kh, kw, 1, C*M), bias (C*M,) or None. strides, padding, kernel_dilation,
    use_bias, dtype, param_dtype, kernel_init, bias_init: as there. Also activation, as in
    `dwconv.jax.depthwise_conv2d`.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int | None = None,
        kernel_size: int | Sequence[int] = (3, 3),
        strides: int | Sequence[int] = 1,
        *,
        padding: Any = "SAME",
        kernel_dilation: int | Sequence[int] = 1,
        use_bias: bool = True,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        kernel_init: Callable[..., Any] = _NORMAL,
        bias_init: Callable[..., Any] = _ZEROS,
        activation: Any = None,
        rngs: nnx.Rngs,
    ) -> None:
        out_features = in_features if out_features is None else out_features
        if out_features % in_features:
            raise ValueError(
                f"out_features: expected a multiple of in_features, {in_features}; "
                f"received {out_features}"
            )
        kernel_shape = (*pair("kernel_size", kernel_size), 1, out_features)
        self.kernel = nnx.Param(kernel_init(rngs.params(), kernel_shape, param_dtype))
        self.bias = nnx.data(
            nnx.Param(bias_init(rngs.params(), (out_features,), param_dtype)) if use_bias else None
        )
        self.in_features, self.out_features = in_features, out_features
        self.strides = pair("strides", strides)
        self.padding = explicit_padding(padding)
        self.kernel_dilation = pair("kernel_dilation", kernel_dilation)
        self.dtype, self.activation = dtype, activation

    def __call__(self, inputs: Any) -> Any:
        """(..., H, W, C) -> (..., OH, OW, C*M); (H, W, C) is one image."""
        bias = None if self.bias is None else self.bias[...]
        inputs, kernel, bias = dtypes.promote_dtype(
            (inputs, self.kernel[...], bias), dtype=self.dtype
        )
        batch = inputs.shape[:-3]
        y = depthwise_conv2d(
            inputs.reshape(-1, *inputs.shape[-3:]),
            to_depthwise(kernel, self.in_features),
            bias,
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.kernel_dilation,
            activation=self.activation,
        )
        return y.reshape(*batch, *y.shape[1:])
