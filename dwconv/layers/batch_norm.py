"""Batch normalization as part of the layer before it.

Shape letters: C input channels, M depth multiplier, kh/kw kernel height/width.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import activations, casts
from ..arguments import read_number
from ..dtypes import check_numeric, is_integer, read_array
from .depthwise_conv import DepthwiseConv
from .depthwise_conv1d import DepthwiseConv1D
from .depthwise_conv2d import DepthwiseConv2D

L = TypeVar("L", bound=DepthwiseConv)


class Affine(NamedTuple):
    """y = scale * x + shift, per output channel c*M + m; float64."""

    scale: NDArray[np.float64]
    shift: NDArray[np.float64]

    def then(self, after: Affine) -> Affine:
        """Both as one: first self, then `after`."""
        return Affine(after.scale * self.scale, after.scale * self.shift + after.shift)


def fold_batch_norm(
    layer: L,
    gamma: ArrayLike | None,
    beta: ArrayLike | None,
    mean: ArrayLike,
    variance: ArrayLike,
    epsilon: float = 1e-3,
) -> L:
    """A layer that computes what `layer` and a batch normalization of its output compute together.

    With s = gamma / sqrt(variance + epsilon) the new layer has the kernel kernel[i, j, c, m] *
    s[c*M + m] and the bias (bias - mean) * s + beta. That is the batch normalization of inference,
    gamma * (y - mean) / sqrt(variance + epsilon) + beta (Ioffe and Szegedy, "Batch Normalization",
    2015, algorithm 2, line 11), with the convolution put in for y. It is exact except for rounding.
    The weights are computed in float64 and rounded once to the layer's dtype.

    The new layer always has a bias. It has the name, shapes, threads and trainable state of
    `layer`, but no regularizers and no constraints, since those are about the old weights. `layer`
    itself does not change. An activation after the batch normalization may be set on the new layer.

    Args:
        layer: a built layer of floats whose activation is linear.
        gamma: the scale (C*M,), or None: 1 (Keras' `scale=False`).
        beta: the offset (C*M,), or None: 0 (Keras' `center=False`).
        mean: the moving mean (C*M,).
        variance: the moving variance (C*M,), not its root.
        epsilon: what is added to the variance. Keras' default is 0.001, PyTorch's is 1e-5.

    Raises:
        ValueError: a layer that is not built or has another activation; an array of another shape;
            variance + epsilon that is not positive; weights that are too large for the layer's
            dtype.
        TypeError: a layer of integers; arrays that do not hold real numbers.

    Example:
        >>> layer = DepthwiseConv2D(1, weights=[np.full((1, 1, 2, 1), 3.0), np.zeros(2)])
        >>> layer.build((None, 4, 4, 2))
        >>> folded = fold_batch_norm(layer, [2, 2], [1, 0], [5, 0], [4, 4], epsilon=0)
        >>> folded.kernel.ravel(), folded.bias
        (array([3., 3.], dtype=float32), array([-4.,  0.], dtype=float32))
    """
    return folded(layer, affine(layer, gamma, beta, mean, variance, epsilon))


def affine(
    layer: DepthwiseConv,
    gamma: ArrayLike | None,
    beta: ArrayLike | None,
    mean: ArrayLike,
    variance: ArrayLike,
    epsilon: float,
) -> Affine:
    """What a batch normalization of a layer's output does. Raises as `fold_batch_norm`."""
    kernel = layer.kernel
    if kernel is None:
        raise ValueError(f"layer: expected a built layer; received {layer.name!r}, which is not")
    channels = kernel.shape[-2] * kernel.shape[-1]

    def read(name: str, values: ArrayLike) -> NDArray[np.float64]:
        array = read_array(name, values)
        check_numeric(array.dtype, name)
        if array.shape != (channels,):
            raise ValueError(f"{name}: expected shape ({channels},); received {array.shape}")
        return array.astype(np.float64)

    spread = read("variance", variance) + read_number("epsilon", epsilon)
    wrong = ~(spread > 0)
    if wrong.any():
        raise ValueError(
            "variance: expected positive values with epsilon added; "
            f"received {float(spread[wrong][0])} for channel {int(np.argmax(wrong))}"
        )
    with np.errstate(all="ignore"):  # what is not finite is an error when it is folded
        scale = 1 / np.sqrt(spread)
        if gamma is not None:
            scale = read("gamma", gamma) * scale
        shift = -read("mean", mean) * scale
        return Affine(scale, shift if beta is None else shift + read("beta", beta))


def folded(layer: L, after: Affine) -> L:
    """`layer` with what follows it in its weights. Raises as `fold_batch_norm`."""
    if is_integer(layer.variable_dtype):
        raise TypeError(f"layer: expected a layer of floats; received {layer.dtype_policy.name}")
    if layer.activation != activations.linear:
        name = getattr(layer.activation, "name", layer.activation)
        raise ValueError(f"layer: expected the activation linear; received {name}")
    assert layer.kernel is not None
    wide = np.dtype(np.float64)
    scale = after.scale.reshape(layer.kernel.shape[-2:])
    # What is not finite is an error below.
    kernel = casts.elementwise(np.multiply, casts.cast(layer.kernel, wide), scale, dtype=wide)
    bias = after.shift
    if layer.bias is not None:
        with np.errstate(all="ignore"):
            bias = layer.bias.astype(np.float64) * after.scale + bias
    make: Any = DepthwiseConv1D if layer._rank == 1 else DepthwiseConv2D
    new: L = make(
        layer.kernel_size,
        layer.strides,
        layer.padding,
        layer.depth_multiplier,
        layer.data_format,
        dilation_rate=layer.dilation_rate,
        depthwise_initializer=layer.depthwise_initializer,
        bias_initializer=layer.bias_initializer,
        batch_input_shape=layer.input_shape,
        dtype=layer.dtype_policy,
        name=layer.name,
        trainable=layer.trainable,
        weights=[kernel, bias],
        num_threads=layer.num_threads,
        allow_strided_dilation=layer.allow_strided_dilation,
    )
    new.build()
    for name, array in zip(("kernel", "bias"), new.weights, strict=True):
        computed = casts.cast(array, new.compute_dtype)
        pieces = (computed[piece] for piece in casts.pieces(computed.shape))
        if not all(np.isfinite(some.astype(np.float64)).all() for some in pieces):
            raise ValueError(
                f"layer: expected a folded {name} that {new.compute_dtype} holds; "
                "received values that are not finite"
            )
    return new
