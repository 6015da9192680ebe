"""The backward pass of layers and models: vector-Jacobian products, gradients of penalties.

`layer.vjp`, `layer.loss_gradients` and those of `Sequential` call the functions here. Shape
letters: N batch, H height, W width, C input channels, M depth multiplier, kh/kw kernel
height/width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike

from .. import activations, casts, dtypes, ops
from ..messages import short
from ..ops import gradients
from ..ops.epilogue import LINEAR
from .weights import Array, LayerWeights

#: What the core computes in.
_WIDE = (np.dtype(np.float32), np.dtype(np.float64))


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

    def __mul__(self, factor: float) -> Gradients:
        """Each times a number: float16 and bfloat16 ones become float32."""
        return Gradients(
            _times(self.input, factor), _times(self.kernel, factor), _times(self.bias, factor)
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

    def __mul__(self, factor: float) -> ModelGradients:
        """Each times a number: float16 and bfloat16 ones become float32."""
        return ModelGradients(
            _times(self.input, factor), tuple(_times(grads, factor) for grads in self.layers)
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


def _times(a: Any, factor: float) -> Any:
    if a is None:
        return None
    if not isinstance(a, np.ndarray):
        return a * factor
    dtype = dtypes.compute_dtype(a.dtype)
    return casts.elementwise(lambda some: casts.cast(some, dtype) * factor, a, dtype=dtype)


# ---- a layer -------------------------------------------------------------------------------------


def layer_vjp(layer: Any, weights: LayerWeights, x: Array) -> tuple[Array, Pullback]:
    """What `DepthwiseConv2D.vjp` says, for a layer that is built and has these weights."""
    if not dtypes.is_float(layer.compute_dtype):
        raise TypeError(
            f"{layer.name}: expected a layer of floats to differentiate; "
            f"received one of {layer.compute_dtype}"
        )
    # The weights are read before the config, as in a call.
    after = _After(layer.name, layer._epilogue, layer.activation, layer.activity_regularizer)
    y = layer(x)
    return y, _LayerPullback(layer, weights, after, casts.cast(x, after.epilogue.dtype), y.shape)


class _After(NamedTuple):
    """What comes after the convolution, at the time of `vjp`."""

    name: str
    epilogue: ops.Epilogue
    activation: Any
    penalty: Any

    @property
    def in_core(self) -> bool:
        """Whether the core's gradients go through all of it."""
        return self.penalty is None and self.epilogue.after is None


class _LayerPullback:
    __slots__ = ("_direct", "after", "layer", "weights", "x", "y_shape")

    def __init__(
        self,
        layer: Any,
        weights: LayerWeights,
        after: _After,
        x: Array,
        y_shape: tuple[int, ...],
    ) -> None:
        self.layer, self.weights, self.after = layer, weights, after
        self.x, self.y_shape = x, y_shape
        #: Whether the core's gradients are all there is to do, for arrays as the core takes them.
        dtype = after.epilogue.dtype
        self._direct = after.in_core and dtype == layer.variable_dtype and dtype in _WIDE

    def __call__(self, dy: ArrayLike, input: bool = True) -> Gradients:  # noqa: A002 (as above)
        if self._direct:
            layer, weights = self.layer, self.weights
            plan = self._plan()
            found = plan.pull(dy, self.x, bool(input), layer.trainable, layer._num_threads)
            if found is not NotImplemented:
                dx, dkernel, dbias = found
                return Gradients(dx, dkernel, None if weights.bias is None else dbias)
        return self._pull(dy, input)

    def _plan(self) -> Any:
        """The core's gradients: through the activation where that is all that comes after."""
        return self.weights.plans.backward("gradients", self.x.shape, self._make_plan)

    def _make_plan(self) -> Any:
        after = self.after
        kernel, bias = self.weights.cast(after.epilogue.dtype)
        return gradients.make_plan(
            self.layer._config.spec,
            self.x.shape,
            after.epilogue.dtype,
            kernel,
            fused=after.epilogue.fused if after.in_core else LINEAR,
            bias=bias,
        )

    def _pull(self, dy: Any, want_input: bool) -> Gradients:
        dy = dtypes.read_array("dy", dy)
        dtypes.check_numeric(dy.dtype, "dy")
        if dy.shape != self.y_shape:
            raise ValueError(
                f"dy: expected shape {self.y_shape}, the output's; received {dy.shape}"
            )
        layer, after = self.layer, self.after
        compute = after.epilogue.dtype
        with np.errstate(all="ignore"):
            dy = casts.cast(dy, dtypes.compute_dtype(compute))
            dx, dkernel, dbias = gradients.run(
                self._plan(),
                dy if after.in_core else self._before_activation(dy),
                self.x,
                layer.num_threads,
                compute,
                layer.variable_dtype,
                with_input=want_input,
                with_weights=layer.trainable,
            )
        return Gradients(dx, dkernel, None if self.weights.bias is None else dbias)

    def _before_activation(self, dy: Array) -> Array:
        """dL/dz, z the convolution before the activation, from dL/dy and the activity penalty.

        z is computed again, since the caller may have changed y in the meantime.
        """
        name, _, activation, penalty = self.after
        linear = activations.get("linear") == activation  # not the same object in a copied layer
        z = ops.run(
            self.weights.plans.backward("z", self.x.shape, self._make_z), self.x, dtype=dy.dtype
        )
        if penalty is not None and len(z):  # the penalty is divided by N
            y = z if linear else ops.activated(activation, z, name)
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

    def _make_z(self) -> Any:
        kernel, bias = self.weights.cast(self.after.epilogue.dtype)
        spec, threads = self.layer._config.spec, self.layer.num_threads
        return ops.make_plan(spec, self.x.shape, kernel, bias, num_threads=threads)

    def __repr__(self) -> str:
        return f"<pullback of {self.layer.name!r}, dy {self.y_shape} -> input {self.x.shape}>"


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
