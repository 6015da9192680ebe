"""The backward pass of layers and models: vector-Jacobian products, gradients of penalties.

`layer.vjp`, `layer.loss_gradients` and those of `Sequential` call the functions here. Shape
letters: N batch, H height, W width, C input channels, M depth multiplier, kh/kw kernel
height/width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from .. import activations, casts, dtypes, ops
from ..messages import short
from ..ops import gradients
from .weights import Array, LayerWeights


@dataclass(frozen=True, eq=False)
class Gradients:
    """The gradients of one layer; None for one that was not asked for or does not exist.

    input: of x, in its shape and the layer's compute dtype. kernel (kh, kw, C, M) and bias (C*M,):
    in the dtype of the weights.
    """

    input: Array | None = None
    kernel: Array | None = None
    bias: Array | None = None

    def __add__(self, other: Gradients) -> Gradients:
        """The sums; None counts as zero. For the gradients of a loss and of its penalties."""
        if not isinstance(other, Gradients):
            return NotImplemented
        return Gradients(
            _sum(self.input, other.input),
            _sum(self.kernel, other.kernel),
            _sum(self.bias, other.bias),
        )


@dataclass(frozen=True, eq=False)
class ModelGradients:
    """The gradients of a model: of its input, or None, and what each layer gave, in order.

    layers: a `Gradients` or, for a model within the model, a `ModelGradients`; of a foreign layer
    whatever its pullback returned.
    """

    input: Array | None
    layers: tuple[Any, ...]

    def __add__(self, other: ModelGradients) -> ModelGradients:
        """The sums, layer by layer; None counts as zero."""
        if not isinstance(other, ModelGradients):
            return NotImplemented
        pairs = zip(self.layers, other.layers, strict=True)
        return ModelGradients(
            _sum(self.input, other.input), tuple(_sum(mine, theirs) for mine, theirs in pairs)
        )


class Pullback(Protocol):
    """The way back through a layer, from `DepthwiseConv2D.vjp`."""

    def __call__(self, dy: ArrayLike, input: bool = True) -> Gradients:  # noqa: A002 (as below)
        """The gradients, for dy, in the output's shape; without that of x unless `input`."""


class ModelPullback(Protocol):
    """The way back through a model, from `Sequential.vjp`."""

    def __call__(self, dy: ArrayLike, input: bool = True) -> ModelGradients:  # noqa: A002
        """The gradients, for dy, in the output's shape; without that of x unless `input`."""


def _sum(a: Any, b: Any) -> Any:
    if a is None or b is None:
        return b if a is None else a
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and a.shape == b.shape:
        return casts.elementwise(np.add, a, b, dtype=np.result_type(a, b))
    with np.errstate(all="ignore"):
        return a + b


# ---- a layer -------------------------------------------------------------------------------------


def layer_vjp(layer: Any, weights: LayerWeights, x: Array) -> tuple[Array, Pullback]:
    """What `DepthwiseConv2D.vjp` says, for a layer that is built and has these weights."""
    if not dtypes.is_float(layer.compute_dtype):
        raise TypeError(
            f"{layer.name}: expected a layer of floats to differentiate; "
            f"received one of {layer.compute_dtype}"
        )
    y = layer(x)
    x = casts.cast(x, layer.compute_dtype)
    return y, _LayerPullback(layer, weights, x, y.shape)


@dataclass(frozen=True, eq=False, repr=False)
class _LayerPullback:
    layer: Any
    weights: LayerWeights
    x: Array
    y_shape: tuple[int, ...]

    def __call__(self, dy: ArrayLike, input: bool = True) -> Gradients:  # noqa: A002 (as above)
        return _pull(self.layer, self.weights, self.x, self.y_shape, dy, input)

    def __repr__(self) -> str:
        return f"<pullback of {self.layer.name!r}, dy {self.y_shape} -> input {self.x.shape}>"


def _pull(
    layer: Any, weights: LayerWeights, x: Array, y_shape: tuple[int, ...], dy: Any, want_input: bool
) -> Gradients:
    dy = dtypes.read_array("dy", dy)
    dtypes.check_numeric(dy.dtype, "dy")
    if dy.shape != y_shape:
        raise ValueError(f"dy: expected shape {y_shape}, the output's; received {dy.shape}")
    compute = layer.compute_dtype
    wide = dtypes.compute_dtype(compute)
    with np.errstate(all="ignore"):
        dy = casts.cast(dy, wide)
        kernel, *bias = (casts.cast(array, compute) for array in weights.arrays())
        dz = _before_activation(layer, kernel, bias, x, dy)
        plan = gradients.make_plan(
            layer._config.spec, x.shape, compute, kernel if want_input else None
        )
        dx, dkernel, dbias = gradients.run(
            plan,
            dz,
            x if layer.trainable else None,
            layer.num_threads,
            compute,
            layer.variable_dtype,
        )
        return Gradients(dx, dkernel, dbias if bias else None)


def _before_activation(
    layer: Any,
    kernel: Array,
    bias: Sequence[Array],
    x: Array,
    dy: Array,
) -> Array:
    """dL/dz, z the convolution before the activation, from dL/dy and the activity penalty.

    z is computed again, since the caller may have changed y in the meantime.
    """
    activation, penalty = layer.activation, layer.activity_regularizer
    linear = activations.get("linear") == activation  # not the same object in a copy of a layer
    if linear and penalty is None:
        return dy
    plan = ops.make_plan(
        layer._config.spec,
        x.shape,
        kernel,
        bias[0] if bias else None,
        num_threads=layer.num_threads,
    )
    z = ops.run(plan, x, dtype=dy.dtype)
    if penalty is not None and len(z):  # the penalty is divided by N
        y = z if linear else ops.activated(activation, z, layer.name)
        slope_of_y = casts.cast(_gradient_of(penalty, "activity_regularizer")(y), dy.dtype)
        count = len(z)
        dy = casts.elementwise(lambda d, s: d + s / count, dy, slope_of_y, dtype=dy.dtype)
    if linear:
        return dy
    slope = getattr(activation, "gradient", None)
    if slope is None:
        raise NotImplementedError(
            f"activation: expected one with gradient(x, upstream); received {short(activation)}"
        )
    return np.asarray(slope(z, dy), dy.dtype)


def loss_gradients(layer: Any) -> Gradients:
    """What `DepthwiseConv2D.loss_gradients` says."""
    found: list[Array | None] = [None, None]
    penalties = (
        ("depthwise_regularizer", layer.depthwise_regularizer),
        ("bias_regularizer", layer.bias_regularizer),
    )
    # Not trainable or not built: no weights, no gradients.
    for i, array in enumerate(layer.trainable_weights):
        name, penalty = penalties[i]
        if penalty is not None:
            with np.errstate(all="ignore"):
                found[i] = np.asarray(_gradient_of(penalty, name)(array), array.dtype)
    return Gradients(None, *found)


def _gradient_of(penalty: Any, argument: str) -> Callable[[Array], Array]:
    slope = getattr(penalty, "gradient", None)
    if slope is None:
        raise NotImplementedError(
            f"{argument}: expected a regularizer with gradient(x); received {short(penalty)}"
        )
    return slope  # type: ignore[no-any-return]


# ---- a model -------------------------------------------------------------------------------------


def model_vjp(layers: Iterable[Any], x: Any) -> tuple[Array, ModelPullback]:
    """What `Sequential.vjp` says, for a model's layers; it is built."""
    layers = list(layers)
    for layer in layers:
        if not hasattr(layer, "vjp"):
            raise NotImplementedError(f"expected layers with vjp; received {short(layer)}")
    pullbacks = []
    for layer in layers:
        x, back = layer.vjp(x)
        pullbacks.append(back)
    return x, _ModelPullback(layers, pullbacks)


@dataclass(frozen=True, eq=False, repr=False)
class _ModelPullback:
    layers: list[Any]
    pullbacks: list[Any]

    def __call__(self, dy: Any, input: bool = True) -> ModelGradients:  # noqa: A002 (as above)
        found: list[Any] = []
        for i in reversed(range(len(self.layers))):
            before = self.layers[:i]
            further = input or any(getattr(layer, "trainable", False) for layer in before)
            found.append(self.pullbacks[i](dy, input=further))
            dy = found[-1].input
            if not further:  # no weights before this layer, either
                found += [None] * i
                break
        return ModelGradients(dy, tuple(reversed(found)))

    def __repr__(self) -> str:
        return f"<pullback of {len(self.layers)} layers: {short(self.pullbacks)}>"


def model_loss_gradients(layers: Iterable[Any]) -> ModelGradients:
    """What `Sequential.loss_gradients` says."""
    return ModelGradients(
        None,
        tuple(
            layer.loss_gradients() if hasattr(layer, "loss_gradients") else None for layer in layers
        ),
    )
