"""Optimizers: SGD and Adam with Keras' formulas, and loss scaling for float16.

    optimizer = dwconv.optimizers.Adam(0.01)
    y, pullback = layer.vjp(x)
    optimizer.apply(layer, pullback(dy, input=False))

An optimizer belongs to the layer or model that it is applied to: what it remembers of a weight is
kept under the weight's name, 'kernel' and 'bias' of a layer, '<name of the layer>/kernel' and so on
of a model. Float32 and float64 weights are updated in their dtype. Float16 and bfloat16 ones are
updated in float32, in which the state is kept, and rounded once; Keras computes that in 16 bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from . import casts, dtypes
from .arguments import read_bool, read_number, read_positive_int
from .layers.backward import Gradients, ModelGradients
from .messages import short
from .registry import Config, Configured

Array = NDArray[Any]
O = TypeVar("O", bound="Optimizer")  # noqa: E741 (as B and S elsewhere)

ITERATIONS, DYNAMIC_SCALE, STEP_COUNTER = "iterations", "dynamic_scale", "step_counter"
#: Gradients that are all zero are finite at any scale: it must not become infinite.
_LARGEST_SCALE = 2.0**100


class Optimizer(Configured):
    """The base class; a subclass defines `_slots`, `_update` and `get_config`.

    learning_rate: a float above 0; may be set between steps. iterations: the steps done.
    """

    #: What is remembered of each weight, zeros at first.
    _slots: ClassVar[tuple[str, ...]] = ()

    def __init__(self, learning_rate: Any) -> None:
        self.learning_rate = learning_rate
        self.iterations = 0
        self._state: dict[str, Array] = {}

    @property
    def learning_rate(self) -> float:
        """The factor of each step. ValueError for anything but a finite number above 0."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self._learning_rate = _positive("learning_rate", value)

    def apply(self, target: Any, grads: Gradients | ModelGradients) -> None:
        """One step: changes the weights by the gradients, then applies the constraints.

        target: a layer or a `Sequential`; grads: what its pullback returned, or a sum of such. A
        weight without a gradient and a layer that is not trainable stay as they are, constraints
        included.

        Raises TypeError for gradients of something else, ValueError for another shape or a state
        that belongs to other weights; then nothing has changed.
        """
        count = self.iterations + 1
        state = dict(self._state)
        changes = []
        for path, layer, layer_grads in _layers("", target, grads):
            found = {"kernel": layer_grads.kernel, "bias": layer_grads.bias}
            new = layer.get_weights()
            changed = False
            for i, (name, old) in enumerate(zip(found, new, strict=False)):
                gradient = found[name]
                if gradient is None or not layer.trainable:
                    continue
                new[i] = self._stepped(f"{path}{name}", old, gradient, state, count)
                changed = True
            if changed:
                changes.append((layer, new))
        for layer, new in changes:
            layer.set_weights(new)
            layer.apply_constraints()
        self._state, self.iterations = state, count

    def _stepped(
        self, name: str, weight: Array, gradient: Any, state: dict[str, Array], count: int
    ) -> Array:
        """The weight after the step; its part of `state` is replaced."""
        gradient = dtypes.read_array(f"{name}: gradient", gradient)
        if gradient.shape != weight.shape:
            raise ValueError(
                f"{name}: expected a gradient of shape {weight.shape}; received {gradient.shape}"
            )
        dtype = dtypes.compute_dtype(weight.dtype)
        slots = {}
        for slot in self._slots:
            old = state.get(f"{name}/{slot}", np.zeros(weight.shape, dtype))
            if old.shape != weight.shape:
                raise ValueError(
                    f"{name}/{slot}: expected a state of shape {weight.shape}; received {old.shape}"
                )
            slots[slot] = casts.cast(old, dtype)
        new = np.empty(weight.shape, weight.dtype)
        # An update that looks at one element at a time is made in pieces: Ctrl-C ends it.
        in_pieces = type(self)._update in (SGD._update, Adam._update)
        kept = {slot: np.empty(weight.shape, dtype) for slot in slots} if in_pieces else {}
        with np.errstate(all="ignore"):
            for piece in casts.pieces(weight.shape) if in_pieces else (...,):
                some = {slot: old[piece] for slot, old in slots.items()}
                step, changed = self._update(casts.cast(gradient[piece], dtype), some, count)
                casts.assign(new[piece], casts.cast(weight[piece], dtype) - step)
                for slot, value in changed.items():
                    if in_pieces:
                        kept[slot][piece] = value
                    else:
                        kept[slot] = value
        state.update({f"{name}/{slot}": value for slot, value in kept.items()})
        return new

    def _update(
        self, gradient: Array, slots: dict[str, Array], count: int
    ) -> tuple[Array, dict[str, Array]]:
        """(what is subtracted from the weight, the new slots) in step `count`, from 1."""
        raise NotImplementedError(f"{type(self).__name__} does not define a step")

    # ---- state -----------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Array]:
        """Copies of what the optimizer remembers, by name, with the 'iterations' among them.

        Together with `get_config` it is all that a training run needs to go on as if it had not
        been interrupted. `np.savez(path, **optimizer.get_state())` writes it,
        `optimizer.set_state(np.load(path))` reads it.
        """
        state = {name: casts.copy(array) for name, array in self._state.items()}
        return {ITERATIONS: np.asarray(self.iterations, np.int64), **state}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Puts copies in the place of what the optimizer remembers.

        ValueError, for what is no state of this kind of optimizer; then nothing has changed.
        """
        if ITERATIONS not in state or np.shape(state[ITERATIONS]) != ():
            raise ValueError(f"expected a state with the number {ITERATIONS!r}")
        iterations = int(state[ITERATIONS])
        if iterations < 0:
            raise ValueError(f"{ITERATIONS}: expected at least 0; received {iterations}")
        copies = {}
        for name in state:
            if name == ITERATIONS:
                continue
            array = casts.copy(dtypes.read_array(name, state[name]))
            if name.rpartition("/")[2] not in self._slots or array.dtype.kind != "f":
                raise ValueError(
                    f"expected names that end in one of {list(self._slots)} and arrays of floats; "
                    f"received {name!r} of {array.dtype}"
                )
            copies[name] = array
        self._state, self.iterations = copies, iterations


class SGD(Optimizer):
    """Gradient descent, w - learning_rate * g; with momentum:

        v = momentum * v - learning_rate * g
        w = w + v, or with nesterov: w + momentum * v - learning_rate * g

    (keras.optimizers.SGD. Sutskever et al. 2013, 'On the importance of initialization and momentum
    in deep learning'.) momentum: from 0 to 1.

    Example:
        >>> optimizer = SGD(learning_rate=0.5)
        >>> layer = DepthwiseConv2D(1, depthwise_initializer="zeros", use_bias=False)
        >>> y, pullback = layer.vjp(np.ones((1, 1, 1, 1), np.float32))
        >>> optimizer.apply(layer, pullback(y - 1, input=False))  # of (y - 1)**2 / 2
        >>> layer.get_weights()[0].item()
        0.5
    """

    def __init__(
        self, learning_rate: Any = 0.01, momentum: Any = 0.0, nesterov: bool = False
    ) -> None:
        super().__init__(learning_rate)
        self.momentum = read_number("momentum", momentum, minimum=0)
        if self.momentum > 1:
            raise ValueError(f"momentum: expected a number from 0 to 1; received {momentum!r}")
        self.nesterov = read_bool("nesterov", nesterov)
        self._slots = ("momentum",) if self.momentum else ()  # type: ignore[misc]

    def _update(
        self, gradient: Array, slots: dict[str, Array], count: int
    ) -> tuple[Array, dict[str, Array]]:
        scaled = gradient * self.learning_rate
        if not self.momentum:
            return scaled, {}
        velocity = slots["momentum"] * self.momentum - scaled
        step = scaled - velocity * self.momentum if self.nesterov else -velocity
        return step, {"momentum": velocity}

    def get_config(self) -> Config:
        """The constructor's arguments, as Keras names them."""
        return {
            "learning_rate": self.learning_rate,
            "momentum": self.momentum,
            "nesterov": self.nesterov,
        }


class Adam(Optimizer):
    """Adaptive moments; in step t, from 1:

        m = m + (1 - beta_1) * (g - m)
        v = v + (1 - beta_2) * (g^2 - v)
        w = w - learning_rate * sqrt(1 - beta_2^t) / (1 - beta_1^t) * m / (sqrt(v) + epsilon)

    With amsgrad the largest v so far takes the place of v in the last line. (keras.optimizers.Adam:
    epsilon is the paper's epsilon hat. Kingma and Ba 2014, arXiv 1412.6980, before section 2.1.)
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: Any = 0.9,
        beta_2: Any = 0.999,
        epsilon: Any = 1e-7,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(learning_rate)
        self.beta_1 = _below_one("beta_1", beta_1)
        self.beta_2 = _below_one("beta_2", beta_2)
        self.epsilon = _positive("epsilon", epsilon)
        self.amsgrad = read_bool("amsgrad", amsgrad)
        slots = ("momentum", "velocity")
        self._slots = (*slots, "velocity_hat") if self.amsgrad else slots  # type: ignore[misc]

    def _update(
        self, gradient: Array, slots: dict[str, Array], count: int
    ) -> tuple[Array, dict[str, Array]]:
        m, v = slots["momentum"], slots["velocity"]
        m = m + (gradient - m) * (1 - self.beta_1)
        v = v + (np.square(gradient) - v) * (1 - self.beta_2)
        new = {"momentum": m, "velocity": v}
        if self.amsgrad:
            v = new["velocity_hat"] = np.maximum(slots["velocity_hat"], v)
        rate = self.learning_rate * (1 - self.beta_2**count) ** 0.5 / (1 - self.beta_1**count)
        return m * rate / (np.sqrt(v) + self.epsilon), new

    def get_config(self) -> Config:
        """The constructor's arguments, as Keras names them."""
        return {
            "learning_rate": self.learning_rate,
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            "amsgrad": self.amsgrad,
        }


class LossScaleOptimizer(Optimizer):
    """Another optimizer, for the gradients of a loss times a factor, `dynamic_scale`.

    float16 holds nothing below 6e-8: gradients that pass from layer to layer in it become 0. Those
    of a larger loss do not. `apply` divides by the factor, in float32. If a gradient is not finite,
    nothing changes but the factor, which is halved; after `dynamic_growth_steps` steps without such
    a gradient it is doubled. (keras.optimizers.LossScaleOptimizer. Micikevicius et al. 2017, 'Mixed
    precision training', arXiv 1710.03740.)

    inner_optimizer: an SGD or an Adam, or their config as `get_config` has it. learning_rate and
    iterations are its own. initial_scale: a number above 0.
    """

    def __init__(
        self,
        inner_optimizer: Any,
        initial_scale: Any = 2.0**15,
        dynamic_growth_steps: Any = 2000,
    ) -> None:
        self.inner_optimizer = _read_inner(inner_optimizer)
        self.initial_scale = _positive("initial_scale", initial_scale)
        self.dynamic_growth_steps = read_positive_int("dynamic_growth_steps", dynamic_growth_steps)
        self._scale, self._finite_steps = self.initial_scale, 0

    @property
    def dynamic_scale(self) -> float:
        """The factor of the next step's loss."""
        return self._scale

    @property
    def learning_rate(self) -> float:
        """The inner optimizer's."""
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self.inner_optimizer.learning_rate = value

    @property
    def iterations(self) -> int:  # type: ignore[override]
        """The inner optimizer's: steps that changed weights."""
        return self.inner_optimizer.iterations

    def scale_loss(self, value: Any) -> Any:
        """A number, an array or gradients times `dynamic_scale`.

        For dy, from which a pullback makes gradients of the scaled loss, and for what
        `loss_gradients` returns. Arrays of float16 and bfloat16 become float32.
        """
        if isinstance(value, (int, float, Gradients, ModelGradients)):
            return value * self._scale
        array = dtypes.read_array("value", value)
        dtypes.check_numeric(array.dtype, "value")
        return (Gradients(array) * self._scale).input

    def apply(self, target: Any, grads: Gradients | ModelGradients) -> None:
        """One step of the inner optimizer with the gradients of the scaled loss, or none if they
        are not finite.

        Raises what the inner optimizer raises; then nothing has changed.
        """
        if _are_finite(target, grads):
            self.inner_optimizer.apply(target, grads * (1 / self._scale))
            self._finite_steps += 1
            if self._finite_steps < self.dynamic_growth_steps:
                return
            self._scale = min(self._scale * 2, _LARGEST_SCALE)
        else:
            self._scale /= 2
        self._finite_steps = 0

    def get_state(self) -> dict[str, Array]:
        """The inner optimizer's state, 'dynamic_scale' and 'step_counter'."""
        state = self.inner_optimizer.get_state()
        state[DYNAMIC_SCALE] = np.asarray(self._scale, np.float64)
        state[STEP_COUNTER] = np.asarray(self._finite_steps, np.int64)
        return state

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Puts a state in the place of this one. ValueError for what `get_state` does not return;
        then nothing has changed.
        """
        own = (DYNAMIC_SCALE, STEP_COUNTER)
        if any(name not in state or np.shape(state[name]) != () for name in own):
            raise ValueError(f"expected a state with the numbers {own}")
        scale = _positive(DYNAMIC_SCALE, float(state[DYNAMIC_SCALE]))
        count = int(read_number(STEP_COUNTER, int(state[STEP_COUNTER]), minimum=0))
        self.inner_optimizer.set_state({name: state[name] for name in state if name not in own})
        self._scale, self._finite_steps = scale, count

    def get_config(self) -> Config:
        """The constructor's arguments, as Keras names them."""
        inner = self.inner_optimizer
        return {
            "inner_optimizer": {"class_name": type(inner).__name__, "config": inner.get_config()},
            "initial_scale": self.initial_scale,
            "dynamic_growth_steps": self.dynamic_growth_steps,
        }


def _read_inner(value: Any) -> Optimizer:
    if isinstance(value, Mapping):
        kinds: dict[str, type[Optimizer]] = {"SGD": SGD, "Adam": Adam}
        kind = kinds.get(str(value.get("class_name")))
        if kind is not None and isinstance(value.get("config"), Mapping):
            return kind.from_config(value["config"])
    if not isinstance(value, Optimizer) or isinstance(value, LossScaleOptimizer):
        raise ValueError(
            f"inner_optimizer: expected an SGD, an Adam or the config of one; "
            f"received {short(value)}"
        )
    return value


def _are_finite(target: Any, grads: Any) -> bool:
    """Whether all gradients that change weights are."""
    arrays = [
        dtypes.read_array("gradient", gradient)
        for _, layer, found in _layers("", target, grads)
        for gradient in (found.kernel, found.bias)
        if layer.trainable and gradient is not None
    ]
    return all(
        bool(np.isfinite(array[piece].astype(np.float64, copy=False)).all())
        for array in arrays
        for piece in casts.pieces(array.shape)
    )


def _layers(path: str, target: Any, grads: Any) -> Iterator[tuple[str, Any, Gradients]]:
    """(prefix of names, layer, its gradients) of every layer that has gradients."""
    if hasattr(target, "layers"):
        if not isinstance(grads, ModelGradients) or len(grads.layers) != len(target.layers):
            raise TypeError(f"grads: expected the gradients of {target!r}; received {grads!r}")
        for layer, layer_grads in zip(target.layers, grads.layers, strict=True):
            if layer_grads is not None:
                yield from _layers(f"{path}{layer.name}/", layer, layer_grads)
        return
    if not isinstance(grads, Gradients):
        raise TypeError(f"grads: expected the gradients of {target!r}; received {grads!r}")
    yield path, target, grads


def _positive(argument: str, value: Any) -> float:
    number = float(read_number(argument, value, minimum=0))
    if number == 0:
        raise ValueError(f"{argument}: expected a number above 0; received {value!r}")
    return number


def _below_one(argument: str, value: Any) -> float:
    number = float(read_number(argument, value, minimum=0))
    if number >= 1:
        raise ValueError(f"{argument}: expected a number from 0 to below 1; received {value!r}")
    return number


__all__ = [
    "SGD",
    "Adam",
    "LossScaleOptimizer",
    "Optimizer",
]


def __dir__() -> list[str]:
    return sorted(__all__)
