"""The convolution in the tensors of Keras' backend.

Shape letters: N batch, H height, W width, C input channels, M depth multiplier, kh/kw kernel
height/width, OH/OW output height/width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import keras

from ..activations import Fused
from ..arguments import Pair
from ..ops.spec import ConvSpec

Tensor: TypeAlias = Any  # of the backend

LINEAR = Fused("linear")

#: (x, kernel (kh, kw, C, M), bias or None, spec, activation) -> y
Convolution: TypeAlias = Callable[[Tensor, Tensor, Tensor, ConvSpec, Fused], Tensor]


def convolution() -> Convolution | None:
    """That of the backend; None for one that keeps its own."""
    return {"jax": _jax, "torch": _torch}.get(keras.backend.backend(), lambda: None)()


def fused(activation: Any) -> Fused | None:
    """What the C core computes of a Keras activation; None if it comes after the convolution."""
    name = _NAMES.get(activation)
    return None if name is None else Fused(name)


_NAMES: dict[Any, str] = {
    keras.activations.linear: "linear",
    keras.activations.relu: "relu",
    keras.activations.relu6: "relu6",
    keras.activations.silu: "silu",
    keras.activations.hard_silu: "hard_silu",
    keras.activations.hard_sigmoid: "hard_sigmoid",
    keras.activations.sigmoid: "sigmoid",
    keras.activations.tanh: "tanh",
}


def _jax() -> Convolution | None:
    try:
        from ..jax import depthwise_conv2d
    except ImportError:  # this build has no _ffi
        return None

    def run(x: Tensor, kernel: Tensor, bias: Tensor, spec: ConvSpec, activation: Fused) -> Tensor:
        return depthwise_conv2d(
            x,
            kernel,
            bias,
            strides=spec.strides,
            padding=spec.padding,
            dilation_rate=spec.dilation_rate,
            data_format=spec.data_format,
            activation=activation.name,
        )

    return run


def _torch() -> Convolution | None:
    from ..torch.operators import call

    def run(x: Tensor, kernel: Tensor, bias: Tensor, spec: ConvSpec, activation: Fused) -> Tensor:
        first = spec.channels_first
        height, width = x.shape[2:] if first else x.shape[1:3]
        (top, bottom), (left, right) = spec.padding_for(height, width)
        weight = kernel.permute(2, 3, 0, 1).reshape(-1, 1, *spec.kernel_size)
        y = call(
            x if first else x.permute(0, 3, 1, 2),
            weight,
            bias,
            list(spec.strides),
            [top, bottom, left, right],
            list(spec.dilation_rate),
            activation.name,
            activation.alpha,
        )
        return y if first else y.permute(0, 2, 3, 1)

    return run


def spec_of(layer: Any, kernel_size: Pair, multiplier: int) -> ConvSpec:
    """The geometry of a DepthwiseConv2D or a SeparableConv2D."""
    return ConvSpec(
        tuple(kernel_size),  # type: ignore[arg-type]
        tuple(layer.strides),
        layer.padding,
        tuple(layer.dilation_rate),
        multiplier,
        layer.data_format,
    )
