"""Derivatives of activations in the core: against formulas, each instruction set the same bits.

tests/c/test_slopes.c has hashes of the bits, kinks and tails.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from mpmath import mp
from numpy.typing import NDArray

from dwconv import _core, activations, isa

Array = NDArray[Any]

ALPHAS = {"leaky_relu": 0.3, "elu": 1.7}
NAMES = tuple(name for name in _core.FUSED_ACTIVATIONS if name != "linear")


def logistic(z: Any) -> Any:
    return 1 / (1 + mp.exp(-z))


def sigmoid_slope(z: Any) -> Any:
    return logistic(z) * logistic(-z)


def gelu_tanh_terms(z: Any) -> tuple[Any, ...]:
    factor, cubic = mp.sqrt(8 / mp.pi), mp.mpf("0.044715")
    u, slope = factor * (z + cubic * z**3), factor * (1 + 3 * cubic * z**2)
    return logistic(u), z * slope * sigmoid_slope(u)


#: The terms that the derivative is the sum of.
TERMS: dict[str, Callable[[Any], tuple[Any, ...]]] = {
    "relu": lambda z: (int(z > 0),),
    "relu6": lambda z: (int(0 < z < 6),),
    "leaky_relu": lambda z: (1 if z > 0 else mp.mpf(0.3),),
    "hard_sigmoid": lambda z: (mp.mpf(1) / 6 if abs(z) < 3 else 0,),
    "hard_silu": lambda z: (z / 3, mp.mpf(1) / 2) if -3 < z < 3 else (int(z >= 3),),
    "sigmoid": lambda z: (sigmoid_slope(z),),
    "tanh": lambda z: (mp.sech(z) ** 2,),
    "silu": lambda z: (logistic(z), z * sigmoid_slope(z)),
    "gelu": lambda z: (mp.ncdf(z), z * mp.npdf(z)),
    "gelu_tanh": gelu_tanh_terms,
    "elu": lambda z: (1 if z >= 0 else mp.mpf(1.7) * mp.exp(z),),
}


def pulled(name: str, z: Array, dy: Array, instruction_set: str) -> Array:
    dz = np.empty_like(z)
    _core.activation_gradient(name, ALPHAS.get(name, 0.0), z, dy, dz, instruction_set)
    return dz


def points(dtype: Any) -> Array:
    generator = np.random.default_rng(7)
    parts = [generator.normal(0, scale, 150) for scale in (0.05, 1, 3, 12)]
    return np.concatenate([*parts, np.linspace(-7, 7, 57), [-100.0, 100.0]]).astype(dtype)


@pytest.mark.parametrize("name", NAMES)
def test_formulas(name: str, dtype: str) -> None:
    """Each operation is off by half an ulp. In none of the formulas are there more than 8 that
    count, in terms that are no larger than those of the sum. A power that is denormal is rounded
    before it is multiplied, by 302 at most (gelu_tanh, whose u ends at 11).
    """
    z = points(dtype)
    dz = pulled(name, z, np.ones_like(z), isa.default())
    with mp.workdps(40):
        terms = [TERMS[name](mp.mpf(float(value))) for value in z]
        exact = np.array([float(mp.fsum(some)) for some in terms])
        size = np.array([float(sum(map(abs, some))) for some in terms])
    error = np.abs(dz.astype(np.float64) - exact)
    finest = float(np.finfo(dtype).tiny) * float(np.finfo(dtype).eps)
    limit = 4 * float(np.finfo(dtype).eps) * size + 302 * finest
    worst = int((error - limit).argmax())
    assert (error <= limit).all(), (name, dtype, z[worst], dz[worst], exact[worst])


@pytest.mark.parametrize("name", NAMES)
def test_each_instruction_set_has_the_same_bits(name: str, dtype: str, isa: str) -> None:
    generator = np.random.default_rng(3)
    z = np.concatenate([points(dtype), np.array([0.0, -0.0, np.inf, -np.inf, 6, 3, -3], dtype)])
    dy = generator.normal(0, 2, z.shape).astype(dtype)
    expected, got = pulled(name, z, dy, "portable"), pulled(name, z, dy, isa)
    assert np.isfinite(got).all()
    assert got.tobytes() == expected.tobytes(), (name, dtype, isa)


def test_activations_are_computed_so(dtype: str) -> None:
    """`Activation.gradient` and `derivative` are these, for arrays of any form."""
    z = points(dtype)
    dy = np.linspace(-1, 2, len(z), dtype=dtype)
    for name in NAMES:
        fused = activations.Fused(name, ALPHAS.get(name, 0.0))
        parameter = {"leaky_relu": "negative_slope", "elu": "alpha"}.get(name)
        activation = activations.get(name)
        assert isinstance(activation, activations.Activation)
        if parameter:
            activation = activation.with_parameters(**{parameter: fused.alpha})
        before = dy.copy()
        expected = pulled(name, z, dy, isa.default())
        assert activation.gradient(z[::-1], dy[::-1])[::-1].tobytes() == expected.tobytes(), name
        assert dy.tobytes() == before.tobytes(), name
        ones = pulled(name, z, np.ones_like(z), isa.default())
        assert activation.derivative(z).tobytes() == ones.tobytes(), name


def test_errors(dtype: str) -> None:
    z = points(dtype)
    call: Any = _core.activation_gradient
    with pytest.raises(ValueError, match="dy: expected shape"):
        call("relu", 0.0, z, z[1:], np.empty_like(z), isa.default())
    with pytest.raises(ValueError, match="dz: expected an array apart from z"):
        call("relu", 0.0, z[1:], np.ones_like(z[1:]), z[:-1], isa.default())
    with pytest.raises(TypeError, match="dy: expected dtype"):
        call("relu", 0.0, z, z.astype(int), np.empty_like(z), isa.default())
    with pytest.raises(ValueError, match="alpha"):
        call("elu", np.inf, z, z, np.empty_like(z), isa.default())
