"""Activations against formulas written out with mpmath, derivatives against differences, edges.

The reference evaluates each formula naively, but in 60 digits, at the exact value of the input.
Tolerances are in units of the last place (ulp) of the dtype: float64 and float32 results may be off
by a few roundings plus the error of NumPy's exp, tanh, ... (4 ulp at most); float16 results are
computed in float32 and rounded once, so that they are off by half an ulp and a trace.
"""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dwconv
from dwconv import activations, casts
from dwconv.activations import Activation
from dwconv.activations.erf import erf

INF, NAN = math.inf, math.nan
mp.mp.dps = 60

SELU_ALPHA = mp.mpf("1.6732632423543772848170429916717")
SELU_SCALE = mp.mpf("1.0507009873554804934193349852946")


def clip(x: Any, low: Any, high: Any) -> Any:
    return min(max(x, low), high)


def sigmoid(x: Any) -> Any:
    return 1 / (1 + mp.exp(-x))


FORMULAS: dict[str, Callable[[Any], Any]] = {
    "celu": lambda x: max(x, mp.mpf(0)) + min(mp.mpf(0), mp.expm1(x)),
    "elu": lambda x: x if x > 0 else mp.expm1(x),
    "exponential": mp.exp,
    "gelu": lambda x: max(x, 0) if abs(x) > 1e4 else x * mp.erfc(-x / mp.sqrt(2)) / 2,
    "hard_shrink": lambda x: x if abs(x) > 0.5 else mp.mpf(0),
    "hard_sigmoid": lambda x: clip(x + 3, 0, 6) / mp.mpf(6),
    "hard_sigmoid_k2": lambda x: clip(x / 5 + mp.mpf(0.5), 0, 1),
    "hard_silu": lambda x: x * clip(x + 3, 0, 6) / mp.mpf(6),
    "hard_tanh": lambda x: clip(x, -1, 1),
    "leaky_relu": lambda x: x if x > 0 else x / 5,
    "linear": lambda x: x,
    "log_sigmoid": lambda x: -mp.log1p(mp.exp(-x)),
    "mish": lambda x: x * mp.tanh(mp.log1p(mp.exp(x))),
    "relu": lambda x: max(x, 0),
    "relu6": lambda x: clip(x, 0, 6),
    "selu": lambda x: SELU_SCALE * (x if x > 0 else SELU_ALPHA * mp.expm1(x)),
    "sigmoid": sigmoid,
    "silu": lambda x: x * sigmoid(x),
    "soft_shrink": lambda x: x - clip(x, -0.5, 0.5),
    "softplus": lambda x: mp.log1p(mp.exp(x)),
    "softsign": lambda x: x / (1 + abs(x)),
    "sparse_plus": lambda x: mp.mpf(0) if x <= -1 else x if x >= 1 else (x + 1) ** 2 / 4,
    "sparse_sigmoid": lambda x: clip((x + 1) / 2, 0, 1),
    "squareplus": lambda x: 2 / (mp.sqrt(x * x + 4) - x) if x < 0 else (x + mp.sqrt(x * x + 4)) / 2,
    "tanh": mp.tanh,
    # x - tanh(x), its series where 60 digits do not survive the difference
    "tanh_shrink": lambda x: x**3 / 3 if abs(x) < 1e-12 else x - mp.tanh(x),
}
VECTOR_NAMES = ("glu", "log_softmax", "softmax", "sparsemax")
SCALAR_NAMES = tuple(FORMULAS)
# The limits at -infinity and infinity.
LIMITS = {
    "celu": (-1, INF),
    "elu": (-1, INF),
    "exponential": (0, INF),
    "gelu": (0, INF),
    "hard_shrink": (-INF, INF),
    "hard_sigmoid": (0, 1),
    "hard_sigmoid_k2": (0, 1),
    "hard_silu": (0, INF),
    "hard_tanh": (-1, 1),
    "leaky_relu": (-INF, INF),
    "linear": (-INF, INF),
    "log_sigmoid": (-INF, 0),
    "mish": (0, INF),
    "relu": (0, INF),
    "relu6": (0, 6),
    "selu": (-1.7580993408473768, INF),
    "sigmoid": (0, 1),
    "silu": (0, INF),
    "soft_shrink": (-INF, INF),
    "softplus": (0, INF),
    "softsign": (-1, 1),
    "sparse_plus": (0, INF),
    "sparse_sigmoid": (0, 1),
    "squareplus": (0, INF),
    "tanh": (-1, 1),
    "tanh_shrink": (-INF, INF),
}
# The slope's limits, where they are not 0 for a finite limit and 1 for an infinite one.
SLOPES = {"leaky_relu": (0.2, 1), "exponential": (0, INF), "selu": (0, 1.0507009873554805)}
# Bounds in ulp, elsewhere than float16: of what the C core computes, and of what NumPy does.
CORE_ULPS, NUMPY_ULPS = {"float32": 2, "float64": 3}, 8
# Functions with a zero other than by a factor x: near it only the absolute error is small.
ABSOLUTE = {"hard_sigmoid", "hard_sigmoid_k2", "hard_silu", "sparse_sigmoid", "sparse_plus"}


def inputs(dtype: Any) -> np.ndarray:
    """A wide range: even steps near 0, powers of two, denormals, the largest numbers, corners."""
    limits = np.finfo(dtype)
    corners = [0.5, 1, 2.5, 3, 6, 88.5, 709.5]
    corners += [np.nextafter(dtype(c), dtype(s)) for c in corners[:5] for s in (0, INF)]
    powers = 2.0 ** np.arange(math.log2(limits.smallest_subnormal), math.log2(limits.max), 7.3)
    special = [limits.smallest_subnormal, 3 * limits.smallest_subnormal, limits.tiny, limits.max]
    half = np.concatenate([np.linspace(0, 12, 97), np.linspace(12.7, 60, 23), corners, powers])
    half = np.concatenate([half[half <= float(limits.max)], np.array(special, np.float64)])
    return np.unique(np.concatenate([-half, half]).astype(dtype))


def ulps(result: np.ndarray, exact: list[Any]) -> np.ndarray:
    """The error in ulp of the exact value; overflow to the right infinity counts as 0."""
    limits = np.finfo(result.dtype)
    smallest = mp.mpf(float(limits.smallest_subnormal))
    errors = []
    for got, want in zip(result.ravel(), exact, strict=True):
        if math.isinf(got):
            overflows = abs(want) > mp.mpf(float(limits.max)) and (want > 0) == (got > 0)
            errors.append(0.0 if overflows else INF)
            continue
        exponent = int(mp.floor(mp.log(abs(want), 2))) if want else -99999
        unit = max(mp.mpf(2) ** (exponent - limits.nmant), smallest)
        errors.append(float(abs(mp.mpf(float(got)) - want) / unit))
    return np.array(errors)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("name", SCALAR_NAMES)
def test_values(name: str, dtype: Any) -> None:
    x = inputs(dtype)
    with np.errstate(all="raise"):
        y = activations.get(name)(x)
    assert y.dtype == dtype
    assert y.shape == x.shape
    exact = [mp.mpf(FORMULAS[name](mp.mpf(float(value)))) for value in x]
    errors = ulps(y, exact)
    in_core = activations.get(name).fused() is not None
    bound = 0.51 if dtype is np.float16 else CORE_ULPS[dtype.__name__] if in_core else NUMPY_ULPS
    if name in ABSOLUTE and not in_core:
        # float16 is computed in float32, whose absolute error may be many ulp of a tiny float16.
        wide = np.float32 if dtype is np.float16 else dtype
        near = np.array([abs(float(e)) < 1 for e in exact])
        absolute = np.abs(y.astype(np.float64) - np.array([float(e) for e in exact]))
        errors = np.where(near & (absolute <= 4 * np.finfo(wide).eps), 0, errors)
    worst = int(errors.argmax())
    message = f"{name}({x[worst]!r}) = {y[worst]!r}, not {mp.nstr(exact[worst], 20)}"
    assert errors[worst] <= bound, message


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("name", SCALAR_NAMES)
def test_nan_and_infinities(name: str, dtype: Any) -> None:
    activation = activations.get(name)
    with np.errstate(all="raise"):
        y = activation(np.array([NAN, -INF, INF, -0.0], dtype))
        slope = activation.derivative(np.array([NAN, -INF, INF], dtype))
    assert y.dtype == slope.dtype == dtype
    assert np.isnan(y[0])
    np.testing.assert_allclose(y[1:3], np.array(LIMITS[name], dtype), rtol=np.finfo(dtype).eps)
    assert not np.isnan(y[3])
    default = tuple(0 if math.isfinite(limit) else 1 for limit in LIMITS[name])
    limits = np.array([NAN, *SLOPES.get(name, default)], dtype)
    np.testing.assert_allclose(slope, limits, rtol=np.finfo(dtype).eps)


# The functions that are x, or x to first order with a factor of 1, near 0 (from the right).
EXACT_ON_DENORMALS = ["celu", "elu", "hard_tanh", "linear", "relu", "relu6", "softsign", "tanh"]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("name", EXACT_ON_DENORMALS)
def test_denormals_pass_unchanged(name: str, dtype: Any) -> None:
    small = np.finfo(dtype).smallest_subnormal * np.array([1, 2, 3, 100], dtype)
    # NumPy's tanh of float32 and float64 denormals is off by up to 1 in the last place.
    rtol = 0.02 if name == "tanh" else 0
    np.testing.assert_allclose(activations.get(name)(small), small, rtol=rtol)


# -- derivatives

KINKS = {
    "celu": {0: 1},
    "elu": {0: 1},
    "hard_shrink": {-0.5: 0, 0.5: 0},
    "hard_sigmoid": {-3: 0, 3: 0},
    "hard_sigmoid_k2": {-2.5: 0, 2.5: 0},
    "hard_silu": {-3: 0, 3: 1},
    "hard_tanh": {-1: 1, 1: 1},
    "leaky_relu": {0: 0.2},
    "relu": {0: 0},
    "relu6": {0: 0, 6: 0},
    "selu": {0: 1.0507009873554805},
    "soft_shrink": {-0.5: 0, 0.5: 0},
    "sparse_plus": {-1: 0, 1: 1},
    "sparse_sigmoid": {-1: 0, 1: 0},
}


@pytest.mark.parametrize("name", SCALAR_NAMES)
def test_derivatives_are_the_slopes(name: str) -> None:
    x = np.linspace(-9.7, 9.7, 389)
    step = 2.0**-16
    # softsign has no kink, but its second derivative jumps at 0.
    for kink in {"softsign": {0: 1}, **KINKS}.get(name, {}):
        x = x[np.abs(x - kink) > 2 * step]
    activation = activations.get(name)
    slope = (activation(x + step) - activation(x - step)) / (2 * step)
    # Roundings of y over the step, and the third derivative, at most 6 or y, times step^2 / 6.
    rounding = 16 * np.finfo(np.float64).eps * np.abs(activation(x)) / step
    third = 3e-10 * np.maximum(1, np.abs(activation(x)))
    error = np.abs(activation.derivative(x) - slope)
    worst = int((error - rounding - third).argmax())
    assert error[worst] <= rounding[worst] + third[worst], f"{name}'({x[worst]})"


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("name", KINKS)
def test_derivatives_at_kinks_follow_keras(name: str, dtype: Any) -> None:
    points = np.array(list(KINKS[name]), dtype)
    expected = np.array(list(KINKS[name].values()), dtype)
    np.testing.assert_array_equal(activations.get(name).derivative(points), expected)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("name", SCALAR_NAMES)
def test_derivatives_are_finite_everywhere(name: str, dtype: Any) -> None:
    x = inputs(dtype)
    with np.errstate(all="raise"):
        slope = activations.get(name).derivative(x)
        product = activations.get(name).gradient(x, np.full_like(x, 2))
    assert slope.dtype == product.dtype == dtype
    wide = activations.get(name).derivative(x.astype(np.float64))
    if name != "exponential":
        assert np.isfinite(slope).all()
        assert np.abs(slope).max() <= 1.76  # selu's just below 0
        np.testing.assert_array_equal(product, 2 * slope)
    eps = np.finfo(dtype).eps
    ok = np.abs(wide) < float(np.finfo(dtype).max)
    np.testing.assert_allclose(slope[ok], wide[ok], rtol=30 * eps, atol=4 * eps)


# -- functions of a whole axis


def softmax_of(row: list[float]) -> list[Any]:
    powers = [mp.exp(mp.mpf(v)) for v in row]
    return [power / mp.fsum(powers) for power in powers]


def sparsemax_of(row: list[float]) -> list[Any]:
    """By bisection for the tau at which the sum of max(x - tau, 0) is 1."""
    values = [mp.mpf(v) for v in row]
    low, high = max(values) - 1, max(values)
    for _ in range(80):
        middle = (low + high) / 2
        if mp.fsum(max(v - middle, 0) for v in values) > 1:
            low = middle
        else:
            high = middle
    return [max(v - low, mp.mpf(0)) for v in values]


ROWS = [
    [0.0, 0.0, 0.0, 0.0],
    [1.0, 2.0, 3.0, 4.0],
    [-1e4, 0.0, 1e4, 1e4],
    [1e-3, 2e-3, -3e-3, 0.0],
    [30.0, -30.0, 0.5, 0.25],
    [0.1, 0.15, 0.3, 0.7],
    [-700.0, -701.0, -702.5, -699.0],
]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("name", VECTOR_NAMES)
def test_vector_values(name: str, dtype: Any) -> None:
    x = np.array(ROWS, dtype)
    with np.errstate(all="raise"):
        y = activations.get(name)(x)
    assert y.dtype == dtype
    for row, result in zip(x.astype(np.float64).tolist(), y, strict=True):
        if name == "glu":
            exact = [mp.mpf(a) * sigmoid(mp.mpf(b)) for a, b in zip(row[:2], row[2:], strict=True)]
        elif name == "sparsemax":
            exact = sparsemax_of(row)
        else:
            exact = softmax_of(row)
            if name == "log_softmax":
                exact = [mp.log(value) for value in exact]
        wanted = np.array([float(value) for value in exact])
        eps = np.finfo(dtype).eps
        tiny = np.finfo(dtype).smallest_subnormal
        # glu in float32: 4 ulp; the others in float64: half an ulp; float64's own sums: 8 ulp.
        # sparsemax subtracts tau, which is known to 4 eps of the row's spread only.
        rtol = {np.float16: 0.51 * eps, np.float32: 4 * eps, np.float64: 8 * eps}[dtype]
        atol = 8 * np.finfo(np.float64).eps if name == "sparsemax" else tiny
        np.testing.assert_allclose(result.astype(np.float64), wanted, rtol=rtol, atol=atol)


@pytest.mark.parametrize("name", ["softmax", "sparsemax"])
def test_vectors_sum_to_one(name: str) -> None:
    x = np.random.default_rng(2).normal(size=(50, 33)) * 3
    y = activations.get(name)(x)
    np.testing.assert_allclose(y.sum(-1), 1, rtol=1e-14)
    assert (y >= 0).all()
    log = activations.log_softmax(x)
    np.testing.assert_allclose(np.exp(log), activations.softmax(x), rtol=1e-13)


def test_log_softmax_keeps_the_digits_of_the_largest() -> None:
    y = activations.log_softmax(np.array([40.0, 0.0]))
    assert y[0] == pytest.approx(-math.exp(-40), rel=1e-14)  # log(1 / (1 + e^-40))


def test_vectors_with_infinities() -> None:
    x = np.array([[INF, 1, 2], [-INF, 1, 1], [INF, INF, 0], [NAN, 0, 0]], np.float32)
    with np.errstate(all="raise"):
        results = {name: activations.get(name)(x) for name in ("softmax", "sparsemax")}
        log = activations.log_softmax(x)
    for y in results.values():
        np.testing.assert_array_equal(
            y, np.array([[1, 0, 0], [0, 0.5, 0.5], [0.5, 0.5, 0], [NAN] * 3], np.float32)
        )
    half = np.float32(-math.log(2))
    np.testing.assert_array_equal(log[:2], [[0, -INF, -INF], [-INF, half, half]])


@pytest.mark.parametrize("name", VECTOR_NAMES)
def test_vector_axes(name: str) -> None:
    activation = activations.get(name)
    x = np.random.default_rng(1).normal(size=(4, 6, 2))
    for axis in (0, 1, -3):
        moved = np.moveaxis(activation(np.moveaxis(x, axis, -1)), -1, axis)
        np.testing.assert_allclose(activation(x, axis=axis), moved, rtol=1e-15)
        np.testing.assert_allclose(activation.with_parameters(axis=axis)(x), moved, rtol=1e-15)
    # By default it is the last one: the width of a channels_first output (N, C, H, W).
    np.testing.assert_array_equal(activation(x, axis=2), activation(x))
    with pytest.raises(ValueError, match="expected an array with an axis; received a scalar"):
        activation(1.0)


@pytest.mark.parametrize("name", VECTOR_NAMES)
@pytest.mark.parametrize("axis", [-1, 0])
def test_vector_gradients(name: str, axis: int) -> None:
    activation = activations.get(name).with_parameters(axis=axis)
    rng = np.random.default_rng(3)
    x = rng.normal(size=(6, 4))
    upstream = rng.normal(size=activation(x).shape)
    gradient = activation.gradient(x, upstream)
    step = 2.0**-20
    for index in np.ndindex(x.shape):
        move = np.zeros_like(x)
        move[index] = step
        slope = float(np.sum((activation(x + move) - activation(x - move)) * upstream) / (2 * step))
        assert gradient[index] == pytest.approx(slope, abs=1e-8)
    with pytest.raises(NotImplementedError, match="acts on a whole axis; use gradient"):
        activation.derivative(x)


def test_glu_halves() -> None:
    glu = activations.glu
    assert glu(np.zeros((2, 3, 8))).shape == (2, 3, 4)
    assert glu.output_shape((2, 3, 8)) == (2, 3, 4)
    assert glu.output_shape((None, 3, None)) == (None, 3, None)
    assert glu.with_parameters(axis=1).output_shape((2, 6, 8)) == (2, 3, 8)
    assert activations.relu.output_shape((None, 3)) == (None, 3)
    for bad in (lambda: glu(np.zeros((2, 3))), lambda: glu.output_shape((2, 3))):
        with pytest.raises(ValueError, match=r"glu: expected an even size of axis -1; received"):
            bad()


# -- the error function


def test_erf_densely() -> None:
    x = np.concatenate([np.linspace(-6.5, 6.5, 200001), [0.5, -0.5, 5e-324, 1e-300, 27.0, 1e300]])
    wanted = np.array([math.erf(v) for v in x])
    unit = np.maximum(np.spacing(np.abs(wanted)), 5e-324)
    assert (np.abs(erf(x) - wanted) / unit).max() <= 5  # math.erf itself: within 1 ulp


def test_erf_against_mpmath() -> None:
    x = np.concatenate([np.linspace(0.45, 0.6, 301), np.linspace(-6, 6, 301)])
    assert ulps(erf(x), [mp.erf(mp.mpf(float(v))) for v in x]).max() <= 4


def test_erf_of_special_values() -> None:
    with np.errstate(all="raise"):
        y = erf(np.array([NAN, INF, -INF, 0.0, -0.0]))
    np.testing.assert_array_equal(y, [NAN, 1, -1, 0, -0.0])
    assert math.copysign(1, y[4]) == -1
    assert erf(1).shape == ()
    assert erf(np.ones((2, 3), np.float32)).dtype == np.float64


def test_gelu_keeps_its_digits_in_the_tail() -> None:
    x = np.linspace(-37, -5, 300)  # where 1 + erf would have lost all of them
    exact = [v * mp.erfc(-v / mp.sqrt(2)) / 2 for v in map(mp.mpf, x.tolist())]
    assert ulps(activations.gelu(x), exact).max() <= 16


def test_gelu_by_tanh() -> None:
    x = np.linspace(-8, 8, 401)
    approximate = activations.gelu.with_parameters(approximate=True)
    root = mp.sqrt(2 / mp.pi)
    exact = []
    for v in map(mp.mpf, x.tolist()):
        exact.append(v / 2 * (1 + mp.tanh(root * (v + mp.mpf("0.044715") * v**3))))
    wanted = np.array([float(v) for v in exact])
    # exp amplifies the rounding of its argument, which reaches 40.
    np.testing.assert_allclose(approximate(x), wanted, rtol=3e-14, atol=0)
    step = 2.0**-16
    slope = (approximate(x + step) - approximate(x - step)) / (2 * step)
    np.testing.assert_allclose(approximate.derivative(x), slope, atol=1e-9)
    edges = np.array([-INF, -1e300, 1e300, INF])
    np.testing.assert_array_equal(approximate(edges), [0, 0, 1e300, INF])
    np.testing.assert_array_equal(approximate.derivative(edges), [0, 0, 1, 1])


# -- parameters

PARAMETRIC: list[tuple[str, dict[str, Any], Callable[[float], float]]] = [
    ("relu", {"max_value": 2.0}, lambda x: min(max(x, 0), 2)),
    ("relu", {"negative_slope": 0.5}, lambda x: x if x > 0 else 0.5 * x),
    ("relu", {"threshold": 1.0}, lambda x: x if x > 1 else 0),
    (
        "relu",
        {"negative_slope": 0.5, "max_value": 2.0, "threshold": 1.0},
        lambda x: min(x, 2) if x > 1 else 0.5 * (x - 1),
    ),
    ("leaky_relu", {"negative_slope": 0.3}, lambda x: x if x > 0 else 0.3 * x),
    ("leaky_relu", {"negative_slope": 1.5}, lambda x: x if x > 0 else 1.5 * x),
    ("elu", {"alpha": 2.0}, lambda x: x if x > 0 else 2 * math.expm1(x)),
    ("celu", {"alpha": 2.0}, lambda x: x if x > 0 else 2 * math.expm1(x / 2)),
    ("hard_shrink", {"threshold": 2.0}, lambda x: x if abs(x) > 2 else 0),
    ("soft_shrink", {"threshold": 2.0}, lambda x: math.copysign(max(abs(x) - 2, 0), x)),
    ("squareplus", {"b": 1.0}, lambda x: (x + math.hypot(x, 1)) / 2),
    ("squareplus", {"b": 0.0}, lambda x: max(x, 0)),
    ("threshold", {"threshold": 1.0, "default_value": -3.0}, lambda x: x if x > 1 else -3),
]


@pytest.mark.parametrize(("name", "parameters", "formula"), PARAMETRIC)
def test_parameters(name: str, parameters: dict[str, Any], formula: Any) -> None:
    x = np.array([-5, -2.7, -1, -0.3, 0, 0.1, 0.9, 1, 1.7, 2.3, 7])
    plain = activations.get(name)
    bound = plain.with_parameters(**parameters)
    wanted = [formula(v) for v in x]
    np.testing.assert_allclose(bound(x), wanted, rtol=1e-14)
    np.testing.assert_array_equal(plain(x, **parameters), bound(x))
    in_order = [parameters.get(key, default) for key, default in plain.defaults.items()]
    np.testing.assert_array_equal(plain(x, *in_order), bound(x))
    smooth = x[~np.isin(x, [-2, 0, 1, 2])]
    step = 1e-6
    slope = (bound(smooth + step) - bound(smooth - step)) / (2 * step)
    np.testing.assert_allclose(bound.derivative(smooth), slope, atol=1e-8)
    assert bound.get_config() == {k: v for k, v in parameters.items() if v != plain.defaults[k]}
    assert activations.deserialize(activations.serialize(bound)) == bound
    assert bound != plain
    assert f"{name}(" in repr(bound)
    assert bound.with_parameters(**{k: [v] for k, v in parameters.items()}) == bound  # R's lists


def test_leaving_parameters_at_their_defaults_changes_nothing() -> None:
    assert activations.relu.with_parameters(max_value=None, threshold=0) == activations.relu
    assert activations.serialize(activations.elu.with_parameters(alpha=1.0)) == "elu"


def test_threshold_needs_its_parameters() -> None:
    threshold = activations.get("threshold")
    assert activations.serialize(threshold) == "threshold"
    with pytest.raises(TypeError, match="expected values for threshold, default_value; received"):
        threshold(np.ones(3))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda x: activations.relu(x, slope=1),
            ValueError,
            "parameters of relu; received 'slope'",
        ),
        (lambda x: activations.tanh(x, a=1), ValueError, "it has no parameters"),
        (lambda x: activations.tanh(x, 1), TypeError, "at most 0 parameters; received 1"),
        (lambda x: activations.elu(x, alpha="1"), ValueError, "alpha: expected a finite number"),
        (lambda x: activations.elu(x, alpha=NAN), ValueError, "alpha: expected a finite number"),
        (
            lambda x: activations.celu(x, alpha=0),
            ValueError,
            "expected a positive alpha; received 0",
        ),
        (lambda x: activations.squareplus(x, b=-1), ValueError, "expected b of at least 0"),
        (lambda x: activations.gelu(x, approximate=1), ValueError, "expected True or False"),
        (lambda x: activations.softmax(x, axis=0.5), ValueError, "axis: expected an integer"),
        (lambda x: activations.relu.gradient(x, x[:1]), ValueError, "upstream: expected shape"),
    ],
)
def test_bad_parameters(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(np.ones(3))


# -- dtypes, shapes, memory


@pytest.mark.parametrize("name", SCALAR_NAMES + VECTOR_NAMES)
def test_large_arrays_are_computed_as_small_ones(name: str) -> None:
    """Blocks change nothing, whatever the layout."""
    activation = activations.get(name)
    x = np.random.default_rng(0).normal(size=(3, 70, 52)).astype(np.float32) * 4
    whole = activation(x)
    pieces = np.stack([np.stack([activation(row) for row in plane]) for plane in x])
    np.testing.assert_array_equal(whole, pieces)
    np.testing.assert_array_equal(activation(np.asfortranarray(x)), whole)
    np.testing.assert_array_equal(activation(x[:, ::2]), whole[:, ::2])


@pytest.mark.parametrize("name", SCALAR_NAMES + VECTOR_NAMES)
def test_results_are_new_arrays(name: str) -> None:
    x = np.linspace(-3, 3, 12).astype(np.float32)
    before = x.copy()
    y = activations.get(name)(x)
    assert not np.shares_memory(x, y)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("name", SCALAR_NAMES + VECTOR_NAMES)
def test_empty_arrays(name: str) -> None:
    y = activations.get(name)(np.zeros((0, 4), np.float32))
    assert y.shape == ((0, 2) if name == "glu" else (0, 4))
    assert activations.get(name)(np.zeros((2, 0), np.float32)).shape == (2, 0)


def test_scalars_and_lists() -> None:
    assert activations.relu(-1.5) == 0
    assert isinstance(activations.relu(2.5), np.ndarray)
    np.testing.assert_array_equal(activations.relu([-1.0, 2.0]), [0, 2])


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64, np.uint8])
def test_integers_where_they_are_exact(dtype: Any) -> None:
    limits = np.iinfo(dtype)
    x = np.array([limits.min, 0, 1, 7, limits.max], dtype)
    for name, expected in (
        ("linear", x),
        ("relu", np.maximum(x, 0)),
        ("relu6", np.clip(x, 0, 6)),
    ):
        y = activations.get(name)(x)
        assert y.dtype == dtype
        np.testing.assert_array_equal(y, expected)
    capped = activations.relu(x, max_value=1e6)
    np.testing.assert_array_equal(capped, np.clip(x.astype(object), 0, 10**6).astype(dtype))
    with pytest.raises(TypeError, match="expected a whole max_value for integers"):
        activations.relu(x, max_value=1.5)
    with pytest.raises(TypeError, match="expected a floating-point array"):
        activations.relu.derivative(x)


@pytest.mark.parametrize(
    "name", sorted({*SCALAR_NAMES, *VECTOR_NAMES} - {"linear", "relu", "relu6"})
)
def test_other_dtypes_are_refused(name: str) -> None:
    for dtype in (np.int32, np.bool_, np.complex64):
        with pytest.raises(TypeError, match=f"{name}: expected a floating-point array; received"):
            activations.get(name)(np.ones((2, 2), dtype))


@pytest.mark.parametrize("name", SCALAR_NAMES + VECTOR_NAMES)
def test_bfloat16_where_ml_dtypes_is(name: str) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    x = np.linspace(-3, 3, 8).astype(ml_dtypes.bfloat16)
    y = activations.get(name)(x)
    assert y.dtype == ml_dtypes.bfloat16
    wanted = activations.get(name)(x.astype(np.float32)).astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(y.astype(np.float32), wanted.astype(np.float32))


@settings(max_examples=60)
@given(
    st.sampled_from(SCALAR_NAMES),
    st.lists(st.floats(width=32, allow_nan=True, allow_infinity=True), min_size=1, max_size=30),
)
def test_anything_goes_in_and_nan_only_for_nan(name: str, values: list[float]) -> None:
    x = np.array(values, np.float32)
    with np.errstate(all="raise"):
        y = activations.get(name)(x)
        slope = activations.get(name).derivative(x)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(x))
    np.testing.assert_array_equal(np.isnan(slope), np.isnan(x))


# -- names and configs

LISTED = (
    "celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_tanh leaky_relu linear "
    "log_sigmoid log_softmax mish relu relu6 selu sigmoid silu soft_shrink softmax softplus "
    "softsign sparse_plus sparse_sigmoid sparsemax squareplus tanh tanh_shrink threshold"
).split(" ")


@pytest.mark.parametrize("name", LISTED)
def test_names(name: str) -> None:
    activation = activations.get(name)
    assert isinstance(activation, Activation)
    assert activation is getattr(activations, name)
    assert activation.name == name
    assert activations.serialize(activation) == name
    assert activation.formula
    assert repr(activation) == f"<activation {name}>"
    long = {"module": "builtins", "class_name": "function", "config": name}
    for config in (
        name,
        activation,
        {**long, "registered_name": "function"},
        {"module": "keras.activations", "class_name": name, "config": None},
        {"class_name": name, "config": {}},
        {"module": "keras.layers", "class_name": "Activation", "config": {"activation": name}},
    ):
        assert activations.get(config) is activation
    assert pickle.loads(pickle.dumps(activation)) == activation
    assert copy.deepcopy(activation) == activation
    assert hash(copy.deepcopy(activation)) == hash(activation)
    assert activation != name


def test_all_are_listed() -> None:
    assert set(activations.names()) == {*LISTED, "hard_sigmoid_k2"}
    assert set(LISTED) - {"threshold"} == {*FORMULAS, *VECTOR_NAMES} - {"hard_sigmoid_k2"}


def test_aliases() -> None:
    assert activations.get("swish") is activations.get("silu") is activations.swish
    assert activations.get("hard_swish") is activations.get("hard_silu") is activations.hard_swish
    assert activations.get(None) is activations.linear
    assert activations.serialize(None) == "linear"
    assert activations.deserialize(None) is None
    assert activations.serialize(activations.swish) == "silu"


@pytest.mark.parametrize("name", ["ReLU", "Relu", "RELU", "LeakyReLU", "tanhshrink", "Linear", ""])
def test_case_matters_as_in_keras(name: str) -> None:
    with pytest.raises(ValueError, match="expected the name of a known activation; received"):
        activations.get(name)


def test_the_two_hard_sigmoids() -> None:
    old = activations.get("hard_sigmoid", generation=2)
    assert old is activations.hard_sigmoid_k2
    assert activations.get("hard_sigmoid", generation=1) is old
    assert activations.get("hard_sigmoid", generation=3) is activations.hard_sigmoid
    assert activations.get("hard_sigmoid") is activations.hard_sigmoid
    assert activations.get("tanh", generation=2) is activations.tanh
    for config in (
        {"class_name": "function", "config": "hard_sigmoid"},
        {"class_name": "Activation", "config": {"activation": "hard_sigmoid", "name": "a"}},
    ):
        assert activations.get(config, generation=2) is old
        assert activations.get(config) is activations.hard_sigmoid
    np.testing.assert_allclose(old(np.array([-3, 0, 1, 3.0])), [0, 0.5, 0.7, 1])
    # Its config means the same in every generation, and Keras 3 refuses it.
    config = activations.serialize(old)
    assert config == {
        "module": "builtins",
        "class_name": "function",
        "config": "dwconv>hard_sigmoid_k2",
        "registered_name": "function",
    }
    assert activations.get(config) is activations.get(config, generation=2) is old
    with pytest.raises(ValueError, match=r"generation: expected one of \(1, 2, 3\); received 4"):
        activations.get("relu", generation=4)


@pytest.mark.parametrize(
    ("class_name", "config", "expected"),
    [
        ("ReLU", {}, activations.relu),
        (
            "ReLU",
            {"max_value": 6.0, "negative_slope": [0.0], "threshold": None},
            activations.relu.with_parameters(max_value=6),
        ),
        ("LeakyReLU", {}, activations.leaky_relu.with_parameters(negative_slope=0.3)),
        ("LeakyReLU", {"alpha": 0.1}, activations.leaky_relu.with_parameters(negative_slope=0.1)),
        ("LeakyReLU", {"negative_slope": 0.2}, activations.leaky_relu),
        ("ELU", {"alpha": 2.0}, activations.elu.with_parameters(alpha=2)),
        ("Softmax", {"axis": 1.0}, activations.softmax.with_parameters(axis=1)),
        (
            "ThresholdedReLU",
            {"theta": 0.5},
            activations.threshold.with_parameters(threshold=0.5, default_value=0),
        ),
    ],
)
def test_layers_in_the_place_of_activations(
    class_name: str, config: dict[str, Any], expected: Activation
) -> None:
    common = {"name": "a", "trainable": True, "dtype": {"class_name": "DTypePolicy"}}
    short = {"class_name": class_name, "config": {**common, **config}}
    long = {"module": "keras.layers", "registered_name": None, **short}
    for form in (short, long):
        assert activations.get(form) == expected
        assert (
            activations.get({"class_name": "Activation", "config": {"activation": form}})
            == expected
        )
    assert activations.deserialize(activations.serialize(expected)) == expected
    if not config:
        assert activations.get(class_name, generation=2) == expected


def test_parameters_in_configs() -> None:
    leaky = activations.leaky_relu.with_parameters(negative_slope=0.1)
    assert activations.serialize(leaky) == {
        "module": "keras.layers",
        "class_name": "LeakyReLU",
        "config": {"negative_slope": 0.1},
        "registered_name": None,
    }
    assert activations.serialize(activations.celu.with_parameters(alpha=2)) == {
        "module": None,
        "class_name": "celu",
        "config": {"alpha": 2},
        "registered_name": "dwconv>celu",
    }
    with pytest.raises(ValueError, match="parameters of relu; received 'slope'"):
        activations.get({"class_name": "ReLU", "config": {"slope": 1}})


# -- the user's own


@pytest.mark.usefixtures("registering")
def test_registered_functions() -> None:
    @activations.register("cube", package="mine", derivative=lambda x: 3 * x * x)
    def cube(x: Any) -> Any:
        return x**3

    activation = activations.get("cube")
    assert isinstance(activation, Activation)
    assert activation is activations.get("mine>cube") is activations.get(cube)
    assert activation.function is cube
    assert activation(2) == 8
    assert repr(activation) == "<activation mine>cube>"
    x = np.array([1.0, 2.0])
    np.testing.assert_array_equal(activation.derivative(x), [3, 12])
    np.testing.assert_array_equal(activations.gradient(cube, x, np.ones(2)), [3, 12])
    assert activation.output_shape((2, 3)) == (2, 3)
    for target in (cube, activation):
        config = activations.serialize(target)
        assert config == {
            "module": "builtins",
            "class_name": "function",
            "config": "mine>cube",
            "registered_name": "function",
        }
        assert activations.deserialize(config) is activation
    assert activations.get("mine>cube", generation=2) is activation


@pytest.mark.usefixtures("registering")
def test_registered_functions_with_parameters() -> None:
    @activations.register
    def scaled(x: Any, *, by: float = 2.0) -> Any:
        return x * by

    tripled = activations.get("Custom>scaled").with_parameters(by=3.0)
    assert tripled(2.0) == 6
    config = activations.serialize(tripled)
    assert config["registered_name"] == "Custom>scaled"
    assert activations.deserialize(config) == tripled
    with pytest.raises(NotImplementedError, match="scaled was registered without its derivative"):
        tripled.derivative(np.ones(2))


@pytest.mark.usefixtures("registering")
def test_registered_classes_are_layers() -> None:
    @activations.register("Swoosh")
    class Swoosh:
        def __init__(self, beta: float = 1.0) -> None:
            self.beta = beta

        def __call__(self, x: Any) -> Any:
            return x * self.beta

        def get_config(self) -> dict[str, Any]:
            return {"beta": self.beta}

    config = activations.serialize(Swoosh(3.0))
    assert config["registered_name"] == "Custom>Swoosh"
    again = activations.get(config)
    assert isinstance(again, Swoosh)
    assert again(2) == 6


@pytest.mark.usefixtures("registering")
def test_ufuncs_and_plain_callables() -> None:
    activations.register("arc")(np.arctan)
    assert activations.get("arc")(1.0) == np.arctan(1.0)

    def plain(x: Any) -> Any:
        return x

    assert activations.get(plain) is plain
    assert activations.serialize(plain)["config"] == "plain"
    assert activations.deserialize("plain", {"plain": plain}) is plain
    assert activations.deserialize("relu", {"relu": plain}) is plain
    assert activations.deserialize("hard_sigmoid", {"hard_sigmoid": plain}, 2) is plain
    with pytest.raises(NotImplementedError, match="expected an activation with a derivative"):
        activations.gradient(plain, np.ones(2), np.ones(2))
    with pytest.raises(ValueError, match="received 'plain'"):
        activations.get("plain")


def test_objects_of_keras_itself_become_ours() -> None:
    # Built here as Keras would, since the tests do without it.
    def relu6(x: Any) -> Any:
        return x

    relu6.__module__ = "keras.src.activations.activations"
    assert activations.get(relu6) is activations.relu6

    def hard_sigmoid(x: Any) -> Any:
        return x

    hard_sigmoid.__module__ = "tf_keras.src.activations"
    assert activations.get(hard_sigmoid) is activations.hard_sigmoid_k2
    members: dict[str, Any] = {
        "__module__": "keras.src.layers.activations.leaky_relu",
        "__call__": lambda self, x: x,
        "get_config": lambda self: {"name": "l", "trainable": True, "negative_slope": 0.1},
    }
    layer = type("LeakyReLU", (), members)()
    assert activations.get(layer) == activations.leaky_relu.with_parameters(negative_slope=0.1)


def test_every_fused_name_is_one_to_ask_for() -> None:
    """`dwconv.ops.FUSED_ACTIVATIONS` lists what the C core fuses, by names that all work."""
    x = np.linspace(-3, 3, 24, dtype=np.float32).reshape(1, 3, 4, 2)
    ones = np.ones((1, 1, 2, 1), np.float32)
    for name in dwconv.ops.FUSED_ACTIVATIONS:
        y = dwconv.depthwise_conv2d(x, ones, activation=name)
        np.testing.assert_array_equal(y, activations.get(name)(x), err_msg=name)
        layer = dwconv.DepthwiseConv2D(1, activation=name)
        again = dwconv.DepthwiseConv2D.from_config(layer.get_config())
        assert again.activation == layer.activation, name
    assert activations.get("gelu_tanh") == activations.gelu.with_parameters(approximate=True)


@pytest.mark.parametrize("value", ["nope", 3, ["relu"], {"class_name": "Nope", "config": {}}])
def test_messages_begin_with_the_argument(value: Any) -> None:
    x, kernel = np.ones((1, 4, 4, 2)), np.ones((3, 3, 2, 1))
    with pytest.raises(ValueError, match=r"^activation: expected"):
        dwconv.depthwise_conv2d(x, kernel, activation=value)
    with pytest.raises(ValueError, match=r"^activation: expected"):
        dwconv.DepthwiseConv2D(3, activation=value)


def test_gradients_of_large_arrays_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bits, whatever the length of a piece."""
    rng = np.random.default_rng(0)
    for shape in ((7, 5, 3), (1, 30), (105,)):
        x, upstream = rng.standard_normal((2, *shape))
        for dtype in ("f2", "f4", "f8"):
            act, low = activations.get("gelu"), x.astype(dtype)
            wanted = act.gradient(low, upstream)
            for piece in (1, 10, 40):
                monkeypatch.setattr(casts, "PIECE", piece)
                got = act.gradient(low, upstream)
                assert got.dtype == wanted.dtype
                assert got.tobytes() == wanted.tobytes(), (shape, dtype, piece)
            monkeypatch.undo()
