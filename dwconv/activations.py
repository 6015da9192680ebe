"""Activations: each a function and its derivative, side by side.

Every activation is an `Activation`, a callable x -> y of x's dtype.  float16 (and bfloat16) is
computed in float32 and rounded once; float32 in float32, or in float64 where sums or the error
function would lose digits; float64 as it is. NaN gives NaN, an infinity gives the limit, and no
call warns.  Integers pass through linear, relu and relu6, which are exact on them; all others raise
TypeError.

At a kink the derivative is what TensorFlow computes for Keras: relu'(0) = 0, relu6'(0) = 0 and
relu6'(6) = 0, leaky_relu'(0) its slope, elu'(0) = 1 (Keras with another alpha than 1: alpha),
selu'(0) = 1.0507, hard_tanh'(+-1) = 1, hard_silu'(3) = 1, sparse_plus'(1) = 1, and 0 at all other
corners.  Two exceptions: celu'(0) = 1, where TensorFlow adds up both sides and gives 2, and
squareplus'(0) = 0 with b = 0, where it gives NaN.
"""

# NumPy types arithmetic with Python numbers as Any.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dwconv.registry import (
    OWN_PACKAGE,
    Config,
    Registry,
    did_you_mean,
    function_config,
    long_config,
    read_generation,
    read_integer,
    read_number,
    unwrap,
)

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


@dataclass(frozen=True)
class Activation:
    """A named function x -> y with its derivative.

    name         as Keras writes it
    function     (x, *, parameters) -> y, on arrays of a computing dtype
    derivative   (x, *, parameters) -> dy/dx, for functions of one element
    backward     (x, g, *, parameters) -> the gradient with respect to x when g is the one with
                 respect to y, for functions of a whole axis
    parameters   values other than the function's defaults
    integers     whether integers are accepted (and exact)
    wide         whether float32 is computed in float64
    registered   'package>name' for a user's function, which is called with x as it is
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
        """y, a new array of x's dtype and (but for glu, which halves the last axis) x's shape.

        Parameters given here, in Keras' order or by name, win over those of the object.
        TypeError for an unsuitable dtype or a missing parameter, ValueError for an unsuitable
        value.
        """
        if len(args) > len(self.defaults):
            raise TypeError(
                f"{self.name}: expected at most {len(self.defaults)} parameters, "
                f"received {len(args)}"
            )
        named = dict(zip(self.defaults, args, strict=False))
        chosen = self._arguments({**named, **parameters})
        if self.registered is not None:
            return self.function(x, **chosen)
        array = np.asarray(x)
        if self.integers and array.dtype.kind in "iu" and np.can_cast(array.dtype, np.int64):
            result = self.function(array.astype(np.int64), **_whole(self.name, chosen))
            return np.asarray(result).astype(array.dtype)
        return self._evaluate(self.function, array, chosen)

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

        def known(part: Array, **named: Any) -> Array:
            return np.where(np.isnan(part), np.nan, slope(part, **named))

        return self._evaluate(known, np.asarray(x), chosen)

    def gradient(self, x: ArrayLike, upstream: ArrayLike, **parameters: Any) -> Array:
        """The gradient with respect to x, of x's shape and dtype.

        upstream   the gradient with respect to y, of y's shape
        """
        array, outer = np.asarray(x), np.asarray(upstream)
        chosen = self._arguments(parameters)
        expected = self._output_shape(array.shape, chosen)
        if outer.shape != expected:
            raise ValueError(f"upstream: expected shape {expected}, received {outer.shape}")
        if self.backward_function is None:
            slope = self.derivative(array, **parameters)
            with np.errstate(all="ignore"):
                return np.asarray(slope * outer, dtype=array.dtype)
        wide = self._widen(array)
        with np.errstate(all="ignore"):
            inner = self.backward_function(wide, outer.astype(wide.dtype), **chosen)
            return np.asarray(inner, dtype=array.dtype)

    def _evaluate(self, function: Callable[..., Any], array: Array, chosen: Config) -> Array:
        """function(array) in the computing dtype, by blocks whose temporaries fit a cache."""
        with np.errstate(all="ignore"):
            axis = chosen.get("axis", -1)
            by_rows = self.backward_function is not None
            splits = array.flags.c_contiguous and array.size > _BLOCK
            if not splits or (by_rows and axis not in (-1, array.ndim - 1)):
                return np.array(function(self._widen(array), **chosen), dtype=array.dtype)
            if by_rows:
                chosen = {**chosen, "axis": -1}
            rows = array.reshape(-1, array.shape[-1]) if by_rows else array.reshape(-1)
            step = max(1, _BLOCK // array.shape[-1]) if by_rows else _BLOCK
            shape = self._output_shape(array.shape, chosen)
            result = np.empty(shape, array.dtype)
            parts = result.reshape(-1, shape[-1]) if by_rows else result.reshape(-1)
            for start in range(0, len(rows), step):
                part = slice(start, start + step)
                parts[part] = function(self._widen(rows[part]), **chosen)
            return result

    def output_shape(self, shape: tuple[Any, ...]) -> tuple[Any, ...]:
        """y's shape for x's; a size may be None, unknown."""
        return self._output_shape(shape, self.parameters)

    def _output_shape(self, shape: tuple[Any, ...], chosen: Mapping[str, Any]) -> tuple[Any, ...]:
        if self.function is not _glu:
            return shape
        axis = chosen.get("axis", -1)
        sizes = list(shape)
        sizes[axis] = None if sizes[axis] is None else _half(shape, axis)
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
        return inspect.getdoc(self.function) or ""

    def get_config(self) -> Config:
        """The parameters that differ from the defaults."""
        return dict(self.parameters)

    def _checked(self, parameters: Mapping[str, Any]) -> Config:
        defaults, checked = self.defaults, {}
        for key, value in parameters.items():
            if key not in defaults:
                hint = did_you_mean(key, defaults) if defaults else "it has no parameters"
                raise ValueError(f"expected parameters of {self.name}, received {key!r}; {hint}")
            checked[key] = (
                value if self.registered is not None else _read_parameter(key, value, defaults[key])
            )
        return checked

    def _arguments(self, parameters: Mapping[str, Any]) -> Config:
        chosen = {**self.defaults, **self.parameters, **self._checked(parameters)}
        missing = [key for key, value in chosen.items() if value is inspect.Parameter.empty]
        if missing:
            raise TypeError(f"{self.name}: expected values for {', '.join(missing)}, received none")
        return chosen

    def _widen(self, array: Array) -> Array:
        if array.dtype in (_SINGLE, _DOUBLE):  # dtype.name takes microseconds
            return array.astype(_DOUBLE, copy=False) if self.wide else array
        if array.dtype.name not in _COMPUTE:
            raise TypeError(f"{self.name}: expected a floating-point array, received {array.dtype}")
        return array.astype(_COMPUTE[array.dtype.name])

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


@functools.cache
def _defaults(function: Callable[..., Any]) -> Mapping[str, Any]:
    """The keyword-only parameters and their defaults; none for a user's ufunc or other callable."""
    if not inspect.isfunction(function):
        return {}
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def _read_parameter(name: str, value: Any, default: Any) -> Any:
    """A parameter's value, checked against the kind of its default."""
    value = unwrap(value)
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise ValueError(f"{name}: expected True or False, received {value!r}")
        return value
    if default is None and value is None:
        return None
    return read_integer(name, value) if name == "axis" else read_number(name, value)


def _whole(name: str, parameters: Config) -> Config:
    """The parameters as ints, for integer arrays."""
    for key, value in parameters.items():
        if value is not None and value != int(value):
            raise TypeError(f"{name}: expected a whole {key} for integers, received {value!r}")
    return {key: None if value is None else int(value) for key, value in parameters.items()}


def _half(shape: tuple[int, ...], axis: int) -> int:
    if shape[axis] % 2:
        raise ValueError(f"glu: expected an even size of axis {axis}, received shape {shape}")
    return shape[axis] // 2


# -- the error function ----------------------------------------------------------------------------
#
# NumPy has none.  Below 1/2 erf is its Taylor series: 13 terms leave less than 2^-56, and every
# term is smaller than the one before.  From 1/2 on erfc(z) is the trapezoid rule with step h = 1/2
# for
#     erfc(z) = z/pi exp(-z^2) * integral of exp(-t^2) / (z^2 + t^2) over all t,
# less 2 / (exp(2 pi z / h) - 1) for the pole at iz while z < pi / h (Chiarella and Reichl 1968,
# Math. Comp. 22).  The rule's own error is exp(-pi^2 / h^2) = 7e-18, relative; its terms are
# positive, so that nothing cancels; those after the 12th are below 1e-18.  No table of fitted
# coefficients is needed, and the tail keeps its relative accuracy.

_SPLIT = 0.5
_STEP = 0.5
_NODES = [(_STEP * n) ** 2 for n in range(1, 13)]
_TAYLOR = [
    2 / math.sqrt(math.pi) * (-1) ** n / (math.factorial(n) * (2 * n + 1)) for n in range(13)
]


def _erf_near_zero(z: Array) -> Array:
    """erf for |z| <= 1/2; larger |z| are taken as 1/2."""
    z = np.clip(z, -_SPLIT, _SPLIT)
    square = z * z
    total = np.full_like(square, _TAYLOR[-1])
    for coefficient in reversed(_TAYLOR[:-1]):
        total *= square
        total += coefficient
    return total * z


def _exp_minus_square(x: Array, factor: float) -> Array:
    """exp(-factor x^2) without the error of rounding x^2; factor is a power of two.

    x = high + low, high having 24 bits, so that high^2 is exact.
    """
    x = np.clip(x, -64.0, 64.0)  # exp is 0 there; and float32 would overflow far beyond
    high = x.astype(np.float32).astype(np.float64)
    return np.exp(-factor * high * high) * np.exp(-factor * (x - high) * (x + high))


def _erfc_tail(z: Array, gauss: Array) -> Array:
    """erfc(z) for z >= 1/2, given exp(-z^2); smaller z are taken as 1/2."""
    z = np.maximum(z, _SPLIT)
    square = z * z
    total = 1 / square
    for node in _NODES:
        total += 2 * math.exp(-node) / (square + node)
    # The pole's part is below 1e-17 of the result long before pi / h = 6.28; beyond, it does not
    # belong there.
    pole = np.where(z < 6, 2 / (np.exp(2 * math.pi / _STEP * z) - 1), 0.0)
    return np.where(np.isinf(z), 0.0, _STEP / math.pi * z * gauss * total - pole)


def erf(x: ArrayLike) -> Array:
    """The error function 2/sqrt(pi) * integral of exp(-t^2) from 0 to x, in float64, within 4 ulp.

    x is an array of any shape and any real dtype; the result is a float64 array.
    """
    z = np.asarray(x).astype(np.float64)
    with np.errstate(all="ignore"):
        size = np.abs(z)
        far = 1 - _erfc_tail(size, _exp_minus_square(size, 1.0))
        return np.asarray(np.where(size <= _SPLIT, _erf_near_zero(z), np.copysign(far, z)))


def _normal_cdf(x: Array) -> Array:
    """Phi(x) = erfc(-x / sqrt 2) / 2, with relative accuracy in the lower tail, in float64."""
    z = np.abs(x) * math.sqrt(0.5)
    tail = 0.5 * _erfc_tail(z, _exp_minus_square(x, 0.5))
    far = np.where(x < 0, tail, 1 - tail)
    return np.where(z <= _SPLIT, 0.5 + 0.5 * _erf_near_zero(x * math.sqrt(0.5)), far)


# -- the functions ---------------------------------------------------------------------------------


def _lowest(x: Array) -> Any:
    """The lowest finite number, to stand for -infinity in a product with 0."""
    return np.finfo(x.dtype).min


def _finite(x: Array) -> Array:
    """x with the infinities replaced by the largest finite numbers."""
    limits = np.finfo(x.dtype)
    return np.clip(x, limits.min, limits.max)


def _linear(x: Array) -> Array:
    """x"""
    return x


def _linear_derivative(x: Array) -> Array:
    return np.ones_like(x)


def _relu(
    x: Array, *, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0
) -> Array:
    """min(x, max_value) for x > threshold, else negative_slope * (x - threshold).

    Nair and Hinton 2010, 'Rectified linear units improve restricted Boltzmann machines'.
    At x = threshold it is 0, as Keras computes it (its text says x).
    """
    above = np.maximum(x, 0) if threshold == 0 else np.where(x <= threshold, 0, x)
    if max_value is not None:
        above = np.minimum(above, max_value)
    if negative_slope == 0:
        return np.asarray(above)
    return np.where(x > threshold, above, negative_slope * (x - threshold))


def _relu_derivative(
    x: Array, *, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0
) -> Array:
    inside = np.ones_like(x) if max_value is None else np.where(x < max_value, 1.0, 0.0)
    return np.where(x > threshold, inside, negative_slope)


def _relu6(x: Array) -> Array:
    """min(max(x, 0), 6); Krizhevsky 2010, 'Convolutional deep belief networks on CIFAR-10'."""
    return np.clip(x, 0, 6)


def _relu6_derivative(x: Array) -> Array:
    return np.where((x > 0) & (x < 6), 1.0, 0.0)


def _leaky_relu(x: Array, *, negative_slope: float = 0.2) -> Array:
    """x for x > 0, else negative_slope * x; Maas et al. 2013."""
    return _relu(x, negative_slope=negative_slope)


def _leaky_relu_derivative(x: Array, *, negative_slope: float = 0.2) -> Array:
    return _relu_derivative(x, negative_slope=negative_slope)


def _elu(x: Array, *, alpha: float = 1.0) -> Array:
    """x for x > 0, else alpha * (exp(x) - 1); Clevert et al. 2015, arXiv 1511.07289."""
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _elu_derivative(x: Array, *, alpha: float = 1.0) -> Array:
    return np.where(x >= 0, 1.0, alpha * np.exp(np.minimum(x, 0)))


_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SCALE = 1.0507009873554804934193349852946


def _selu(x: Array) -> Array:
    """1.0507... * elu(x, alpha=1.6732...); Klambauer et al. 2017, arXiv 1706.02515."""
    return _SELU_SCALE * _elu(x, alpha=_SELU_ALPHA)


def _selu_derivative(x: Array) -> Array:
    return _SELU_SCALE * _elu_derivative(x, alpha=_SELU_ALPHA)


def _celu(x: Array, *, alpha: float = 1.0) -> Array:
    """max(x, 0) + min(alpha (exp(x / alpha) - 1), 0), alpha > 0; Barron 2017, arXiv 1704.07483."""
    _check_positive("celu", "alpha", alpha)
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0) / alpha))


def _celu_derivative(x: Array, *, alpha: float = 1.0) -> Array:
    _check_positive("celu", "alpha", alpha)
    return np.exp(np.minimum(x, 0) / alpha)


def _check_positive(name: str, parameter: str, value: float) -> None:
    if value <= 0:
        raise ValueError(f"{name}: expected a positive {parameter}, received {value!r}")


def _exponential(x: Array) -> Array:
    """exp(x)"""
    return np.exp(x)


def _sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)); computed from exp(-|x|), which never overflows."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, small) / (1 + small)


def _sigmoid_derivative(x: Array) -> Array:
    small = np.exp(-np.abs(x))
    return small / np.square(1 + small)


def _log_sigmoid(x: Array) -> Array:
    """log(1 / (1 + exp(-x))) = -softplus(-x)"""
    return -_softplus(-x)


def _log_sigmoid_derivative(x: Array) -> Array:
    return _sigmoid(-x)


def _silu(x: Array) -> Array:
    """x * sigmoid(x), also called swish; Ramachandran et al. 2017, arXiv 1710.05941."""
    return np.maximum(x, _lowest(x)) * _sigmoid(x)


def _silu_derivative(x: Array) -> Array:
    sigmoid = _sigmoid(x)
    return sigmoid + _finite(x) * _sigmoid_derivative(x)


def _gelu(x: Array, *, approximate: bool = False) -> Array:
    """x * Phi(x), Phi the normal distribution; Hendrycks and Gimpel 2016, arXiv 1606.08415.

    approximate: x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))).
    """
    lower = np.maximum(x, _lowest(x))
    if approximate:
        return lower * _sigmoid(_gelu_argument(x))
    return lower * _normal_cdf(x)


def _gelu_argument(x: Array) -> Array:
    # 1 + tanh(u) = 2 sigmoid(2u): no cancellation for negative u.
    return math.sqrt(8 / math.pi) * x * (1 + 0.044715 * x * x)


def _gelu_derivative(x: Array, *, approximate: bool = False) -> Array:
    near = np.clip(x, -1e3, 1e3)  # the factors of x are 0 far before, and must not become 0 * inf
    if approximate:
        u = _gelu_argument(near)
        slope = math.sqrt(8 / math.pi) * (1 + 3 * 0.044715 * near * near)
        return _sigmoid(u) + near * _sigmoid_derivative(u) * slope
    density = _exp_minus_square(near, 0.5) / math.sqrt(2 * math.pi)
    return _normal_cdf(x) + near * density


def _mish(x: Array) -> Array:
    """x * tanh(softplus(x)); Misra 2019, arXiv 1908.08681."""
    return np.maximum(x, _lowest(x)) * _mish_parts(x)[0]


def _mish_parts(x: Array) -> tuple[Array, Array]:
    """t = tanh(softplus(x)) and 1 - t^2, from s = exp(-|x|) without overflow or cancellation."""
    small = np.exp(-np.abs(x))
    # With e = exp(x): t = (e^2 + 2e) / (e^2 + 2e + 2); for x > 0 both times s^2.
    numerator = np.where(x > 0, 1 + 2 * small, small * (small + 2))
    rest = np.where(x > 0, 2 * small * small, 2.0)
    tanh = numerator / (numerator + rest)
    return tanh, rest / (numerator + rest) * (1 + tanh)


def _mish_derivative(x: Array) -> Array:
    tanh, complement = _mish_parts(x)
    return tanh + _finite(x) * complement * _sigmoid(x)


def _softplus(x: Array) -> Array:
    """log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)); Glorot et al. 2011."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _softsign(x: Array) -> Array:
    """x / (1 + |x|); Bergstra et al. 2009."""
    finite = _finite(x)
    return finite / (1 + np.abs(finite))


def _softsign_derivative(x: Array) -> Array:
    return np.square(1 / (1 + np.abs(x)))


def _squareplus(x: Array, *, b: float = 4) -> Array:
    """(x + sqrt(x^2 + b)) / 2, b >= 0; Barron 2021, arXiv 2112.11687."""
    return _squareplus_parts(x, b)[0]


def _squareplus_parts(x: Array, b: float) -> tuple[Array, Array]:
    """y and sqrt(x^2 + b); for x < 0 as b / 2 / (sqrt(x^2 + b) - x), which does not cancel."""
    if b < 0:
        raise ValueError(f"squareplus: expected b of at least 0, received {b!r}")
    root = np.hypot(x, np.asarray(math.sqrt(b), dtype=x.dtype))
    # Halves are added: the sum itself can overflow.
    above, below = 0.5 * root + 0.5 * x, 0.5 * root - 0.5 * x
    return np.where(x < 0, 0.25 * b / below, above), root


def _squareplus_derivative(x: Array, *, b: float = 4) -> Array:
    near = _finite(x)
    value, root = _squareplus_parts(near, b)
    # At 0 with b = 0, where it is relu, 0 / 0 becomes relu'(0).
    return np.where(
        np.isinf(root), np.where(near > 0, 1.0, 0.0), value / np.where(root > 0, root, 1.0)
    )


def _tanh(x: Array) -> Array:
    """(exp(x) - exp(-x)) / (exp(x) + exp(-x))"""
    return np.tanh(x)


def _tanh_derivative(x: Array) -> Array:
    small = np.exp(-np.abs(x))
    return np.square(2 * small / (1 + small * small))


def _tanh_shrink(x: Array) -> Array:
    """x - tanh(x)

    Near 0 by Lambert's continued fraction tanh(x) = x / (1 + c), c = x^2 / (3 + x^2 / (5 + ...)),
    since there x and tanh(x) cancel: x c / (1 + c).
    """
    near = np.clip(x, -1.0, 1.0)
    square = near * near
    fraction = np.zeros_like(square)
    for odd in range(19, 1, -2):  # at 1 the part left out is below 1e-19
        fraction = square / (odd + fraction)
    return np.where(np.abs(x) <= 1, near * fraction / (1 + fraction), x - np.tanh(x))


def _tanh_shrink_derivative(x: Array) -> Array:
    return np.square(np.tanh(x))


def _hard_sigmoid(x: Array) -> Array:
    """min(max(x + 3, 0), 6) / 6, the Keras 3 one."""
    return np.clip(x + 3, 0, 6) / 6


def _hard_sigmoid_derivative(x: Array) -> Array:
    return np.where(np.abs(x) < 3, 1 / 6, 0.0)


def _hard_sigmoid_k2(x: Array) -> Array:
    """min(max(0.2 x + 0.5, 0), 1), the one of Keras 1 and 2."""
    return np.clip(0.2 * x + 0.5, 0, 1)


def _hard_sigmoid_k2_derivative(x: Array) -> Array:
    return np.where(np.abs(x) < 2.5, 0.2, 0.0)


def _hard_silu(x: Array) -> Array:
    """x min(max(x + 3, 0), 6) / 6, also hard_swish; Howard et al. 2019, arXiv 1905.02244."""
    return np.maximum(x, -3) * _hard_sigmoid(x)


def _hard_silu_derivative(x: Array) -> Array:
    near = np.clip(x, -3, 3)
    return np.where(x <= -3, 0.0, np.where(x >= 3, 1.0, (2 * near + 3) / 6))


def _hard_tanh(x: Array) -> Array:
    """min(max(x, -1), 1)"""
    return np.clip(x, -1, 1)


def _hard_tanh_derivative(x: Array) -> Array:
    return np.where(np.abs(x) <= 1, 1.0, 0.0)


def _hard_shrink(x: Array, *, threshold: float = 0.5) -> Array:
    """x for |x| > threshold, else 0."""
    return np.where(np.abs(x) <= threshold, 0.0, x)


def _hard_shrink_derivative(x: Array, *, threshold: float = 0.5) -> Array:
    return np.where(np.abs(x) > threshold, 1.0, 0.0)


def _soft_shrink(x: Array, *, threshold: float = 0.5) -> Array:
    """x - threshold for x > threshold, x + threshold for x < -threshold, else 0."""
    return x - np.clip(x, -threshold, threshold)


def _threshold(x: Array, *, threshold: float, default_value: float) -> Array:
    """x for x > threshold, else default_value.  Both must be given, as in Keras."""
    return np.where(x <= threshold, default_value, x)


def _threshold_derivative(x: Array, *, threshold: float, default_value: float) -> Array:
    return np.where(x > threshold, 1.0, 0.0)


def _sparse_plus(x: Array) -> Array:
    """0 for x <= -1, (x + 1)^2 / 4 between, x for x >= 1; the integral of sparse_sigmoid."""
    near = np.clip(x, -1, 1)
    return np.where(x >= 1, x, np.square((near + 1) / 2))


def _sparse_plus_derivative(x: Array) -> Array:
    return _sparse_sigmoid(x)


def _sparse_sigmoid(x: Array) -> Array:
    """min(max((x + 1) / 2, 0), 1)"""
    return (np.clip(x, -1, 1) + 1) / 2


def _sparse_sigmoid_derivative(x: Array) -> Array:
    return np.where(np.abs(x) < 1, 0.5, 0.0)


# -- functions of a whole axis ---------------------------------------------------------------------


def _below_maximum(name: str, x: Array, axis: int) -> Array:
    """x less its maximum along the axis, 0 at the maximum also when that is infinite."""
    if x.ndim == 0:
        raise ValueError(f"{name}: expected an array with an axis, received a scalar")
    if x.size == 0:
        return x
    maximum = np.max(x, axis=axis, keepdims=True)
    return np.where(x == maximum, 0.0, x - maximum)


def _softmax(x: Array, *, axis: int = -1) -> Array:
    """exp(x_i) / sum of exp(x_j) along the axis.  Infinite maxima share the 1 equally."""
    powers = np.exp(_below_maximum("softmax", x, axis))
    return powers / np.sum(powers, axis=axis, keepdims=True)


def _softmax_backward(x: Array, upstream: Array, *, axis: int = -1) -> Array:
    y = _softmax(x, axis=axis)
    return y * (upstream - np.sum(upstream * y, axis=axis, keepdims=True))


def _log_softmax(x: Array, *, axis: int = -1) -> Array:
    """x_i - log(sum of exp(x_j)) along the axis."""
    below = _below_maximum("log_softmax", x, axis)
    if x.size == 0:
        return below
    # log1p of the sum without one maximum, whose part is 1: the maximum's own result keeps its
    # digits.
    others = np.exp(below)
    np.put_along_axis(others, np.expand_dims(np.argmax(below, axis=axis), axis), 0.0, axis)
    return below - np.log1p(np.sum(others, axis=axis, keepdims=True))


def _log_softmax_backward(x: Array, upstream: Array, *, axis: int = -1) -> Array:
    total = np.sum(upstream, axis=axis, keepdims=True)
    return upstream - _softmax(x, axis=axis) * total


def _sparsemax(x: Array, *, axis: int = -1) -> Array:
    """max(x - tau, 0), tau such that the sum along the axis is 1.

    The nearest point of the probability simplex.  (Keras 3.15 gets tau wrong as soon as two values
    stay positive: its rows do not sum to 1.)
    Martins and Astudillo 2016, arXiv 1602.02068.
    """
    # Only values less than 1 below the maximum can count, so that -1 may stand for -infinity.
    below = np.maximum(_below_maximum("sparsemax", x, axis), -1)
    if x.size == 0:
        return below
    falling = -np.sort(-below, axis=axis)
    excess = np.cumsum(falling, axis=axis) - 1
    shape = [1] * x.ndim
    shape[axis] = -1
    counts = np.arange(1, x.shape[axis] + 1, dtype=x.dtype).reshape(shape)
    support = np.sum(falling * counts > excess, axis=axis, keepdims=True)
    last = np.maximum(support, 1) - 1
    tau = np.take_along_axis(excess, last, axis) / (last + 1)
    return np.maximum(below - tau, 0)


def _sparsemax_backward(x: Array, upstream: Array, *, axis: int = -1) -> Array:
    y = _sparsemax(x, axis=axis)
    inside = np.where(y > 0, 1.0, 0.0)
    count = np.maximum(np.sum(inside, axis=axis, keepdims=True), 1)
    mean = np.sum(np.where(y > 0, upstream, 0.0), axis=axis, keepdims=True) / count
    return np.where(np.isnan(y), np.nan, np.where(y > 0, upstream - mean, 0.0))


def _glu(x: Array, *, axis: int = -1) -> Array:
    """a sigmoid(b), a and b the halves of the axis; Dauphin et al. 2016, arXiv 1612.08083."""
    if x.ndim == 0:
        raise ValueError("glu: expected an array with an axis, received a scalar")
    half = _half(x.shape, axis)
    a, b = np.split(x, [half], axis=axis)
    return a * _sigmoid(b)


def _glu_backward(x: Array, upstream: Array, *, axis: int = -1) -> Array:
    a, b = np.split(x, [_half(x.shape, axis)], axis=axis)
    parts = upstream * _sigmoid(b), upstream * a * _sigmoid_derivative(b)
    return np.concatenate(parts, axis=axis)


# -- the table -------------------------------------------------------------------------------------


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
        if config == "hard_sigmoid" and old and config not in (custom_objects or {}):
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
            # Keras 3 has no name for Keras 2's hard_sigmoid: it shall refuse, not compute something
            # else.
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


celu = _define("celu", _celu, _celu_derivative)
elu = _define("elu", _elu, _elu_derivative)
exponential = _define("exponential", _exponential, _exponential)
gelu = _define("gelu", _gelu, _gelu_derivative, wide=True)
glu = _define("glu", _glu, backward=_glu_backward)
hard_shrink = _define("hard_shrink", _hard_shrink, _hard_shrink_derivative)
hard_sigmoid = _define("hard_sigmoid", _hard_sigmoid, _hard_sigmoid_derivative)
hard_sigmoid_k2 = _define("hard_sigmoid_k2", _hard_sigmoid_k2, _hard_sigmoid_k2_derivative)
hard_silu = hard_swish = _define(
    "hard_silu", _hard_silu, _hard_silu_derivative, aliases=("hard_swish",)
)
hard_tanh = _define("hard_tanh", _hard_tanh, _hard_tanh_derivative)
leaky_relu = _define("leaky_relu", _leaky_relu, _leaky_relu_derivative)
linear = _define("linear", _linear, _linear_derivative, integers=True)
log_sigmoid = _define("log_sigmoid", _log_sigmoid, _log_sigmoid_derivative)
log_softmax = _define("log_softmax", _log_softmax, backward=_log_softmax_backward, wide=True)
mish = _define("mish", _mish, _mish_derivative)
relu = _define("relu", _relu, _relu_derivative, integers=True)
relu6 = _define("relu6", _relu6, _relu6_derivative, integers=True)
selu = _define("selu", _selu, _selu_derivative)
sigmoid = _define("sigmoid", _sigmoid, _sigmoid_derivative)
silu = swish = _define("silu", _silu, _silu_derivative, aliases=("swish",))
soft_shrink = _define("soft_shrink", _soft_shrink, _hard_shrink_derivative)
softmax = _define("softmax", _softmax, backward=_softmax_backward, wide=True)
softplus = _define("softplus", _softplus, _sigmoid)
softsign = _define("softsign", _softsign, _softsign_derivative)
sparse_plus = _define("sparse_plus", _sparse_plus, _sparse_plus_derivative)
sparse_sigmoid = _define("sparse_sigmoid", _sparse_sigmoid, _sparse_sigmoid_derivative)
sparsemax = _define("sparsemax", _sparsemax, backward=_sparsemax_backward, wide=True)
squareplus = _define("squareplus", _squareplus, _squareplus_derivative)
tanh = _define("tanh", _tanh, _tanh_derivative)
tanh_shrink = _define("tanh_shrink", _tanh_shrink, _tanh_shrink_derivative)
threshold = _define("threshold", _threshold, _threshold_derivative)

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
# What every layer's config holds besides.
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

    The function is returned unchanged.  `get` gives an `Activation` for it, by name or by the
    function itself.
    """
    if callable(name):
        return register()(name)

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        full_name = _REGISTRY.full_name(function, name, package)
        if inspect.isclass(function) or hasattr(function, "get_config"):
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

    Callables that are not registered are returned as they are.  ValueError for an unknown name,
    naming the nearest known ones, and for anything else.
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
            f"expected an activation with a derivative, received {activation!r}; "
            f"register(derivative=...) gives one"
        )
    return known.gradient(x, upstream)
