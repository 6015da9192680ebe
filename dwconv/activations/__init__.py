"""Activations: each a function and its derivative, side by side.

Every activation is an `Activation`, a callable x -> y of x's dtype. The C core computes those that
its plans can fuse (`Activation.fused`): with the same bits as in a layer, on every CPU, within 2
ulp of the formula (float64: 4); and their derivatives, within some ulp of the largest term that
these are sums of. NumPy computes the others: float16 and bfloat16 in float32, rounded
once; float32 in float32, or in float64 where sums would lose digits; float64 in float64.

NaN gives NaN, an infinity gives the limit, and no call warns. linear, relu and relu6 take integers,
on which they are exact; all others raise TypeError for them.

At a kink the derivative is what TensorFlow computes for Keras: relu'(0) = 0, relu6'(0) = 0 and
relu6'(6) = 0, leaky_relu'(0) its slope, elu'(0) = 1 (Keras with another alpha than 1: alpha),
selu'(0) = 1.0507, hard_tanh'(+-1) = 1, hard_silu'(3) = 1, sparse_plus'(1) = 1, and 0 at all other
corners. Two exceptions: celu'(0) = 1, where TensorFlow adds up both sides and gives 2, and
squareplus'(0) = 0 with b = 0, where it gives NaN.
"""

# NumPy types arithmetic with Python numbers as Any.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core, casts
from .. import isa as isas
from ..arguments import (
    did_you_mean,
    read_bool,
    read_generation,
    read_integer,
    read_number,
    unwrap,
)
from ..dtypes import check_numeric, read_array
from ..messages import short
from ..registry import OWN_PACKAGE, Config, Registry, function_config, long_config
from . import formulas

Array = NDArray[Any]
ActivationLike = Callable[[Any], Any]

# Half precision is computed in float32; the wide ones compute float32 in float64, too.
_SINGLE, _DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
_COMPUTE: dict[str, np.dtype[Any]] = {
    "float16": _SINGLE,
    "bfloat16": _SINGLE,
    "float32": _SINGLE,
    "float64": _DOUBLE,
}
# Elements computed at a time: about 20 temporaries of 8 bytes each stay in a 2 MB L2 cache.
_BLOCK = 8192


class Fused(NamedTuple):
    """An activation as the C core has it: a name of `_core.FUSED_ACTIVATIONS`, and alpha where it
    has one: leaky_relu's negative_slope, elu's alpha.
    """

    name: str
    alpha: float = 0.0


@dataclass(frozen=True)
class Activation:
    """A named function x -> y with its derivative.

    Args:
        name: as Keras writes it.
        function: (x, *, parameters) -> y, on arrays of a computing dtype.
        derivative_function: (x, *, parameters) -> dy/dx, for functions of one element.
        backward_function: (x, g, *, parameters) -> the gradient with respect to x when g is the one
            with respect to y, for functions of a whole axis.
        parameters: values other than the function's defaults.
        integers: whether integers are accepted (and exact).
        wide: whether float32 is computed in float64.
        registered: 'package>name' for a user's function, which is called with x as it is.
    """

    name: str
    function: Callable[..., Any]
    derivative_function: Callable[..., Any] | None = None
    backward_function: Callable[..., Any] | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    integers: bool = False
    wide: bool = False
    registered: str | None = None

    def __call__(self, x: ArrayLike, *args: Any, **parameters: Any) -> Any:
        """y, a new array of x's dtype and shape (glu halves the last axis).

        Parameters given here, in Keras' order or by name, win over those of the object.
        TypeError for an unsuitable dtype or a missing parameter, ValueError for an unsuitable
        value.
        """
        if len(args) > len(self.defaults):
            raise TypeError(
                f"{self.name}: expected at most {len(self.defaults)} parameters; "
                f"received {len(args)}"
            )
        named = dict(zip(self.defaults, args, strict=False))
        chosen = self._arguments({**named, **parameters})
        if self.registered is not None:
            return self.function(x, **chosen)
        array = read_array("x", x)
        if self.integers and array.dtype.kind in "iu" and np.can_cast(array.dtype, np.int64):
            whole = _whole(self.name, chosen)
            return casts.elementwise(
                lambda some: self.function(some.astype(np.int64), **whole), array, dtype=array.dtype
            )
        fused = self._fused(chosen)
        if fused is None:
            return self._evaluate(self.function, array, chosen)
        return self._in_core(fused, array)

    def fused(self) -> Fused | None:
        """What computes it in the C core; None if nothing does."""
        return self._fused({**self.defaults, **self.parameters})

    def _fused(self, chosen: Config) -> Fused | None:
        form = _FUSED.get(self.function) if self.registered is None else None
        fused = form(**chosen) if form is not None else None
        return fused if fused is not None and np.isfinite(fused.alpha) else None

    def _in_core(self, fused: Fused, array: Array) -> Array:
        with np.errstate(all="ignore"):
            result = np.empty(array.shape, self._computed_in(array.dtype))
            casts.assign(result, array)
            _core.activate(*fused, result, isas.default())
            return casts.cast(result, array.dtype)

    def _pulled_in_core(self, fused: Fused, array: Array, upstream: Array | None) -> Array:
        """upstream, or ones for None, times the derivative at `array`, in its dtype."""
        with np.errstate(all="ignore"):
            wide = np.empty(array.shape, self._computed_in(array.dtype))
            casts.assign(wide, array)
            if upstream is None:
                outer = casts.filled(wide.shape, 1, wide.dtype)
            else:
                outer = casts.copy(upstream, wide.dtype)
            _core.activation_gradient(*fused, wide, outer, outer, isas.default())
            return casts.cast(outer, array.dtype)

    def derivative(self, x: ArrayLike, **parameters: Any) -> Array:
        """dy/dx at each element, of x's shape and dtype; NaN where x is NaN.

        NotImplementedError for the functions of a whole axis (use `gradient`), and for a user's
        function that was registered without its derivative.
        """
        slope = self.derivative_function
        if slope is None:
            reason = "acts on a whole axis; use gradient(x, upstream)"
            if self.backward_function is None:
                reason = "was registered without its derivative"
            raise NotImplementedError(
                f"expected an activation with a derivative; {self.name} {reason}"
            )
        chosen = self._arguments(parameters)
        if self.registered is not None:
            return np.asarray(slope(x, **chosen))

        array = read_array("x", x)
        fused = self._fused(chosen)
        if fused is not None and fused.name != "linear":
            return self._pulled_in_core(fused, array, None)

        def known(block: Array, **named: Any) -> Array:
            return np.where(np.isnan(block), np.nan, slope(block, **named))

        return self._evaluate(known, array, chosen)

    def gradient(self, x: ArrayLike, upstream: ArrayLike, **parameters: Any) -> Array:
        """The gradient with respect to x, of x's shape and dtype.

        upstream   the gradient with respect to y, of y's shape
        """
        array, outer = read_array("x", x), read_array("upstream", upstream)
        chosen = self._arguments(parameters)
        expected = self._output_shape(array.shape, chosen)
        if outer.shape != expected:
            raise ValueError(f"upstream: expected shape {expected}; received {outer.shape}")
        check_numeric(outer.dtype, "upstream")
        fused = self._fused(chosen)
        in_itself = array.dtype in (_SINGLE, _DOUBLE)
        if in_itself and fused is not None and fused.name != "linear":
            return self._pulled_in_core(fused, array, outer)
        if self.backward_function is None:
            slope = self.derivative(array, **parameters)
            return casts.elementwise(np.multiply, slope, outer, dtype=array.dtype)
        result = np.empty(array.shape, array.dtype)
        with np.errstate(all="ignore"):
            for piece in _beside(array.shape, chosen.get("axis", -1)):
                wide = self._widen(array[piece])
                inner = self.backward_function(wide, outer[piece].astype(wide.dtype), **chosen)
                casts.assign(result[piece], np.asarray(inner))
        return result

    def _evaluate(self, function: Callable[..., Any], array: Array, chosen: Config) -> Array:
        """function(array) in the computing dtype, by blocks whose temporaries fit a cache."""
        with np.errstate(all="ignore"):
            axis = chosen.get("axis", -1)
            by_rows = self.backward_function is not None
            splits = array.flags.c_contiguous and array.size > _BLOCK
            if not splits or (by_rows and axis not in (-1, array.ndim - 1)):
                if array.size <= casts.PIECE:
                    return np.array(function(self._widen(array), **chosen), dtype=array.dtype)
                shape = self._output_shape(array.shape, chosen)
                result = np.empty(shape, array.dtype)
                pieces = _beside(shape, axis) if by_rows else casts.pieces(shape)
                for piece in pieces:  # Ctrl-C is noticed in between
                    some = np.asarray(function(self._widen(array[piece]), **chosen))
                    casts.assign(result[piece], some)
                return result
            if by_rows:
                chosen = {**chosen, "axis": -1}
            rows = array.reshape(-1, array.shape[-1]) if by_rows else array.reshape(-1)
            step = max(1, _BLOCK // array.shape[-1]) if by_rows else _BLOCK
            shape = self._output_shape(array.shape, chosen)
            result = np.empty(shape, array.dtype)
            results = result.reshape(-1, shape[-1]) if by_rows else result.reshape(-1)
            for start in range(0, len(rows), step):
                block = slice(start, start + step)
                results[block] = function(self._widen(rows[block]), **chosen)
            return result

    def output_shape(self, shape: tuple[Any, ...]) -> tuple[Any, ...]:
        """y's shape for x's; a size may be None, unknown."""
        return self._output_shape(shape, self.parameters)

    def _output_shape(self, shape: tuple[Any, ...], chosen: Mapping[str, Any]) -> tuple[Any, ...]:
        if self.function is not formulas.glu:
            return shape
        axis = chosen.get("axis", -1)
        sizes = list(shape)
        sizes[axis] = None if sizes[axis] is None else formulas.half(shape, axis)
        return tuple(sizes)

    def with_parameters(self, **parameters: Any) -> Activation:
        """The same activation with other parameters, e.g. relu.with_parameters(max_value=6)."""
        merged = {**self.parameters, **self._checked(parameters)}
        kept = {key: value for key, value in merged.items() if value != self.defaults[key]}
        return replace(self, parameters=kept)

    @property
    def defaults(self) -> dict[str, Any]:
        """The parameters' defaults in Keras' order; Parameter.empty for one without."""
        return dict(_defaults(self.function))

    @property
    def formula(self) -> str:
        """What it computes, and where that comes from."""
        import inspect  # slow to import, as are its other uses: none at import

        return inspect.getdoc(self.function) or ""

    def get_config(self) -> Config:
        """The parameters that differ from the defaults."""
        return dict(self.parameters)

    def _checked(self, parameters: Mapping[str, Any]) -> Config:
        defaults, checked = self.defaults, {}
        for key, value in parameters.items():
            if key not in defaults:
                hint = did_you_mean(key, defaults) if defaults else "it has no parameters"
                raise ValueError(
                    f"expected parameters of {self.name}; received {short(key)}; {hint}"
                )
            checked[key] = (
                value if self.registered is not None else _read_parameter(key, value, defaults[key])
            )
        return checked

    def _arguments(self, parameters: Mapping[str, Any]) -> Config:
        chosen = {**self.defaults, **self.parameters, **self._checked(parameters)}
        import inspect

        missing = [key for key, value in chosen.items() if value is inspect.Parameter.empty]
        if missing:
            raise TypeError(f"{self.name}: expected values for {', '.join(missing)}; received none")
        return chosen

    def _computed_in(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        if dtype in (_SINGLE, _DOUBLE):  # dtype.name takes microseconds
            return dtype
        if dtype.name not in _COMPUTE:
            raise TypeError(f"{self.name}: expected a floating-point array; received {dtype}")
        return _COMPUTE[dtype.name]

    def _widen(self, array: Array) -> Array:
        wide = self.wide and array.dtype == _SINGLE
        return casts.cast(array, _DOUBLE if wide else self._computed_in(array.dtype))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Activation):
            return NotImplemented
        mine = (self.name, self.registered, self.function, dict(self.parameters))
        return mine == (other.name, other.registered, other.function, dict(other.parameters))

    def __hash__(self) -> int:
        return hash((self.name, self.registered, self.function))

    def __repr__(self) -> str:
        name = self.registered or self.name
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.parameters.items())
        return f"<activation {name}({arguments})>" if arguments else f"<activation {name}>"


def _beside(shape: tuple[int, ...], axis: int) -> Iterator[Any]:
    """Indices that together are the whole array, of few elements each if the axis, which none of
    them cuts, is no longer; a single one for an axis that is none.
    """
    if not -len(shape) <= axis < len(shape):
        yield ...
        return
    axis %= len(shape)
    others = (*shape[:axis], *shape[axis + 1 :])
    for piece in casts.pieces(others, max(1, casts.PIECE // max(1, shape[axis]))):
        cut = () if piece is ... else piece
        index = [*cut, *[slice(None)] * (len(others) - len(cut))]
        index.insert(axis, slice(None))
        yield tuple(index)


@functools.cache
def _defaults(function: Callable[..., Any]) -> Mapping[str, Any]:
    """The keyword-only parameters and their defaults; none for a user's ufunc or other callable."""
    if not isinstance(function, FunctionType):
        return {}
    import inspect

    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def _read_parameter(name: str, value: Any, default: Any) -> Any:
    """A parameter's value, checked against the kind of its default."""
    value = unwrap(value)
    if isinstance(default, bool):
        return read_bool(name, value)
    if default is None and value is None:
        return None
    return read_integer(name, value) if name == "axis" else read_number(name, value)


def _whole(name: str, parameters: Config) -> Config:
    """The parameters as ints, for integer arrays."""
    for key, value in parameters.items():
        if value is not None and value != int(value):
            raise TypeError(f"{name}: expected a whole {key} for integers; received {short(value)}")
    return {key: None if value is None else int(value) for key, value in parameters.items()}


def _fused_relu(negative_slope: float, max_value: float | None, threshold: float) -> Fused | None:
    if threshold == 0 and max_value is None:
        return Fused("leaky_relu", negative_slope) if negative_slope else Fused("relu")
    return Fused("relu6") if (negative_slope, max_value, threshold) == (0, 6, 0) else None


#: Formula -> a function of its parameters: what the C core fuses for them, None if it cannot.
_FUSED: dict[Callable[..., Any], Callable[..., Fused | None]] = {
    formulas.linear: lambda: Fused("linear"),
    formulas.relu: _fused_relu,
    formulas.relu6: lambda: Fused("relu6"),
    formulas.leaky_relu: lambda negative_slope: Fused("leaky_relu", negative_slope),
    formulas.hard_sigmoid: lambda: Fused("hard_sigmoid"),
    formulas.hard_silu: lambda: Fused("hard_silu"),
    formulas.sigmoid: lambda: Fused("sigmoid"),
    formulas.tanh: lambda: Fused("tanh"),
    formulas.silu: lambda: Fused("silu"),
    formulas.gelu: lambda approximate: Fused("gelu_tanh" if approximate else "gelu"),
    formulas.elu: lambda alpha: Fused("elu", alpha),
}


# ---- the table -----------------------------------------------------------------------------------


class _ActivationRegistry(Registry[ActivationLike]):
    """Activations are written as bare names, users' functions kept with their derivatives."""

    def build(self, entry: Any, arguments: Config) -> ActivationLike:
        if not isinstance(entry, Activation):
            return super().build(entry, arguments)
        return entry.with_parameters(**arguments) if arguments else entry

    def deserialize(
        self,
        config: Any,
        custom_objects: Mapping[str, Any] | None = None,
        generation: int = 3,
    ) -> ActivationLike | None:
        old = read_generation(generation) < 3
        if isinstance(config, str) and old and config in _LAYERS:
            config = {"class_name": config, "config": {}}
        if isinstance(config, Mapping):
            parsed = self.parse(config)
            name, custom = parsed.name, parsed.foreign or parsed.name in (custom_objects or {})
            if name in _LAYERS and not custom:
                return self._layer(name, parsed.arguments)
            if name == "Activation" and not custom:
                inner = parsed.arguments.get("activation")
                return self.deserialize(inner, custom_objects, generation)
            if not parsed.arguments and not parsed.foreign:
                config = name
        if (
            old
            and isinstance(config, str)
            and config == "hard_sigmoid"
            and config not in (custom_objects or {})
        ):
            return hard_sigmoid_k2
        return super().deserialize(config, custom_objects)

    def _layer(self, name: str, config: Config) -> Activation:
        activation, defaults, renamed, _ = _LAYERS[name]
        given = {renamed.get(k, k): v for k, v in config.items() if k not in _LAYER_KEYS}
        given = {k: v for k, v in given.items() if v is not None}  # K2's and R's way to say default
        return activation.with_parameters(**{**defaults, **given})

    def adopt(self, target: Any) -> ActivationLike:
        if isinstance(target, Activation):
            return target
        for entry in self._registered.values():
            if isinstance(entry, Activation) and entry.function is target:
                return entry
        package = (getattr(target, "__module__", None) or "").partition(".")[0]
        if self.is_keras_builtin(target):  # a function of an installed Keras
            return get(target.__name__, generation=2 if package == "tf_keras" else 3)
        name = type(target).__name__
        package = type(target).__module__.partition(".")[0]
        if name in _LAYERS and package in ("keras", "tf_keras"):
            return self._layer(name, target.get_config())
        return super().adopt(target)

    def serialize(self, target: Any) -> Any:
        if target is None:
            return linear.name
        target = self.adopt(target)
        if not isinstance(target, Activation):
            return super().serialize(target)
        own_name = target.registered or f"{OWN_PACKAGE}>{target.name}"
        parameters = dict(target.parameters)
        if not parameters:
            # Keras 3 has no name for Keras 2's hard_sigmoid. It has to refuse the config, not to
            # compute something else.
            bare = target.registered is None and target != hard_sigmoid_k2
            return target.name if bare else function_config(own_name)
        for name, (activation, _, _, in_keras_3) in _LAYERS.items():
            if in_keras_3 and target.function is activation.function:
                return long_config("keras.layers", name, parameters)
        return long_config(None, target.name, parameters, own_name)


_REGISTRY = _ActivationRegistry("activation", "keras.activations")


def _define(
    name: str,
    function: Callable[..., Any],
    derivative: Callable[..., Any] | None = None,
    backward: Callable[..., Any] | None = None,
    integers: bool = False,
    wide: bool = False,
    aliases: tuple[str, ...] = (),
) -> Activation:
    activation = Activation(name, function, derivative, backward, integers=integers, wide=wide)
    _REGISTRY.add(name, activation, *aliases)
    return activation


celu = _define("celu", formulas.celu, formulas.celu_derivative)
elu = _define("elu", formulas.elu, formulas.elu_derivative)
exponential = _define("exponential", formulas.exponential, formulas.exponential)
gelu = _define("gelu", formulas.gelu, formulas.gelu_derivative, wide=True)
glu = _define("glu", formulas.glu, backward=formulas.glu_backward)
hard_shrink = _define("hard_shrink", formulas.hard_shrink, formulas.hard_shrink_derivative)
hard_sigmoid = _define("hard_sigmoid", formulas.hard_sigmoid, formulas.hard_sigmoid_derivative)
hard_sigmoid_k2 = _define(
    "hard_sigmoid_k2", formulas.hard_sigmoid_k2, formulas.hard_sigmoid_k2_derivative
)
hard_silu = hard_swish = _define(
    "hard_silu", formulas.hard_silu, formulas.hard_silu_derivative, aliases=("hard_swish",)
)
hard_tanh = _define("hard_tanh", formulas.hard_tanh, formulas.hard_tanh_derivative)
leaky_relu = _define("leaky_relu", formulas.leaky_relu, formulas.leaky_relu_derivative)
linear = _define("linear", formulas.linear, formulas.linear_derivative, integers=True)
log_sigmoid = _define("log_sigmoid", formulas.log_sigmoid, formulas.log_sigmoid_derivative)
log_softmax = _define(
    "log_softmax", formulas.log_softmax, backward=formulas.log_softmax_backward, wide=True
)
mish = _define("mish", formulas.mish, formulas.mish_derivative)
relu = _define("relu", formulas.relu, formulas.relu_derivative, integers=True)
relu6 = _define("relu6", formulas.relu6, formulas.relu6_derivative, integers=True)
selu = _define("selu", formulas.selu, formulas.selu_derivative)
sigmoid = _define("sigmoid", formulas.sigmoid, formulas.sigmoid_derivative)
silu = swish = _define("silu", formulas.silu, formulas.silu_derivative, aliases=("swish",))
soft_shrink = _define("soft_shrink", formulas.soft_shrink, formulas.hard_shrink_derivative)
softmax = _define("softmax", formulas.softmax, backward=formulas.softmax_backward, wide=True)
softplus = _define("softplus", formulas.softplus, formulas.sigmoid)
softsign = _define("softsign", formulas.softsign, formulas.softsign_derivative)
sparse_plus = _define("sparse_plus", formulas.sparse_plus, formulas.sparse_plus_derivative)
sparse_sigmoid = _define(
    "sparse_sigmoid", formulas.sparse_sigmoid, formulas.sparse_sigmoid_derivative
)
sparsemax = _define(
    "sparsemax", formulas.sparsemax, backward=formulas.sparsemax_backward, wide=True
)
squareplus = _define("squareplus", formulas.squareplus, formulas.squareplus_derivative)
tanh = _define("tanh", formulas.tanh, formulas.tanh_derivative)
tanh_shrink = _define("tanh_shrink", formulas.tanh_shrink, formulas.tanh_shrink_derivative)
threshold = _define("threshold", formulas.threshold, formulas.threshold_derivative)

# A name of FUSED_ACTIVATIONS, the only one that is no name of Keras'.
_REGISTRY.add_alias("gelu_tanh", "gelu", approximate=True)

# Keras' activation layers, as they appear in configs in the place of an activation: our activation,
# the layer's own defaults, other names of the arguments (Keras 2's), and whether Keras 3 has the
# layer with our parameters.
_LAYERS: dict[str, tuple[Activation, Config, Mapping[str, str], bool]] = {
    "ReLU": (relu, {}, {}, True),
    "LeakyReLU": (leaky_relu, {"negative_slope": 0.3}, {"alpha": "negative_slope"}, True),
    "ELU": (elu, {}, {}, True),
    "Softmax": (softmax, {}, {}, True),
    "ThresholdedReLU": (
        threshold,
        {"threshold": 1.0, "default_value": 0.0},
        {"theta": "threshold"},
        False,
    ),
}
# What the config of any layer holds, too.
_LAYER_KEYS = frozenset({"name", "trainable", "dtype", "batch_input_shape", "batch_shape"})


names = _REGISTRY.names


def register(
    name: str | Callable[..., Any] | None = None,
    package: str = "Custom",
    derivative: Callable[..., Any] | None = None,
) -> Callable[..., Any]:
    """A decorator that makes a function x -> y known as an activation, so that configs can name it.

    name         its name, by default its `__name__`; 'package>name' gives both
    package      what keeps it apart from others: configs hold 'package>name'
    derivative   x -> dy/dx of the same shape, for training; without it only the forward pass works

    The function is returned unchanged. `get` gives an `Activation` for it, by name or by the
    function itself.
    """
    if callable(name):
        return register()(name)

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        full_name = _REGISTRY.full_name(function, name, package)
        if isinstance(function, type) or hasattr(function, "get_config"):
            _REGISTRY.register(full_name)(function)  # layer-like: made and written with its config
        else:
            short = full_name.partition(">")[2]
            entry = Activation(short, function, derivative, registered=full_name)
            _REGISTRY.register(full_name)(entry)
        return function

    return enter


def get(identifier: Any, generation: int = 3) -> ActivationLike:
    """The activation for None (linear), a name, a config dict, an instance or a callable x -> y.

    generation   1 or 2 for what a Keras 1 or 2 file holds: there 'hard_sigmoid' means
                 `hard_sigmoid_k2`, min(max(0.2 x + 0.5, 0), 1), and activation layers may be
                 named, such as 'LeakyReLU'.

    Callables that are not registered are returned as they are. ValueError for an unknown name,
    naming the nearest known ones, and for anything else.

    Example:
        >>> get("relu6")(np.array([-1.0, 3.0, 9.0]))
        array([0., 3., 6.])
    """
    if identifier is None or isinstance(identifier, (str, Mapping)):
        found = deserialize(identifier, generation=generation)
    else:
        found = _REGISTRY.get(identifier)
    return linear if found is None else found


def serialize(activation: Any) -> Any:
    """What Keras 3 writes: the bare name, for a user's function a dict with 'package>name'.

    With parameters: the config of Keras' layer of that kind (ReLU, LeakyReLU, ELU, Softmax), else a
    dict that only this package reads.
    """
    return _REGISTRY.serialize(activation)


def deserialize(
    config: Any, custom_objects: Mapping[str, Any] | None = None, generation: int = 3
) -> ActivationLike | None:
    """The activation that a config of any Keras generation describes; None for None.

    custom_objects maps further names to functions or classes, and wins over the built-ins.
    """
    return _REGISTRY.deserialize(config, custom_objects, generation)


def gradient(activation: ActivationLike, x: ArrayLike, upstream: ArrayLike) -> Array:
    """The gradient with respect to x of an activation, given the one with respect to its result.

    NotImplementedError for a callable whose derivative is not known.
    """
    known = get(activation)
    if not isinstance(known, Activation):
        raise NotImplementedError(
            f"expected an activation with a derivative; received {short(activation)}; "
            f"register(derivative=...) gives one"
        )
    return known.gradient(x, upstream)


__all__ = [
    "Activation",
    "celu",
    "deserialize",
    "elu",
    "exponential",
    "gelu",
    "get",
    "glu",
    "gradient",
    "hard_shrink",
    "hard_sigmoid",
    "hard_sigmoid_k2",
    "hard_silu",
    "hard_swish",
    "hard_tanh",
    "leaky_relu",
    "linear",
    "log_sigmoid",
    "log_softmax",
    "mish",
    "names",
    "register",
    "relu",
    "relu6",
    "selu",
    "serialize",
    "sigmoid",
    "silu",
    "soft_shrink",
    "softmax",
    "softplus",
    "softsign",
    "sparse_plus",
    "sparse_sigmoid",
    "sparsemax",
    "squareplus",
    "swish",
    "tanh",
    "tanh_shrink",
    "threshold",
]


def __dir__() -> list[str]:
    return sorted(__all__)
