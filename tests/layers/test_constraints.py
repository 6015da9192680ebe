"""Constraints: norms and signs of what comes out, Keras' epsilon, aliases and arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dwconv import constraints
from dwconv.constraints import Constraint, MaxNorm, MinMaxNorm, NonNeg, UnitNorm

EPSILON = 1e-7
KERNEL = np.random.default_rng(4).normal(size=(3, 2, 4, 2))  # (kh, kw, C, M)


def norms(w: np.ndarray, axis: Any = 0) -> np.ndarray:
    return np.sqrt((w.astype(np.float64) ** 2).sum(axis=axis, keepdims=True))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("MaxNorm", MaxNorm()),
        ("max_norm", MaxNorm()),
        ("maxnorm", MaxNorm()),
        ("NonNeg", NonNeg()),
        ("non_neg", NonNeg()),
        ("nonneg", NonNeg()),
        ("UnitNorm", UnitNorm()),
        ("unit_norm", UnitNorm()),
        ("unitnorm", UnitNorm()),
        ("MinMaxNorm", MinMaxNorm()),
        ("min_max_norm", MinMaxNorm()),
        ("minmaxnorm", MinMaxNorm()),
    ],
)
def test_aliases(name: str, expected: Constraint) -> None:
    assert constraints.get(name) == expected


def test_defaults_are_keras() -> None:
    assert MaxNorm().get_config() == {"max_value": 2, "axis": 0}
    assert UnitNorm().get_config() == {"axis": 0}
    assert NonNeg().get_config() == {}
    expected = {"min_value": 0.0, "max_value": 1.0, "rate": 1.0, "axis": 0}
    assert MinMaxNorm().get_config() == expected


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(
    "axis", [0, [0, 1], [0, 1, 2], -1, None], ids=lambda axis: str(axis).replace(" ", "")
)
@pytest.mark.parametrize(
    "make",
    [
        lambda axis: (MaxNorm(1.5, axis), lambda n: np.minimum(n, 1.5)),
        lambda axis: (UnitNorm(axis), np.ones_like),
        lambda axis: (MinMaxNorm(1, 1.5, 1, axis), lambda n: np.clip(n, 1, 1.5)),
        lambda axis: (
            MinMaxNorm(1, 1.5, 0.25, axis),
            lambda n: 0.25 * np.clip(n, 1, 1.5) + 0.75 * n,
        ),
    ],
    ids=["max", "unit", "minmax", "minmax-slowly"],
)
def test_norms(make: Any, axis: Any, dtype: Any) -> None:
    constraint, target = make(axis)
    w = KERNEL.astype(dtype)
    result = constraint(w)
    assert result.dtype == dtype
    assert result.shape == w.shape
    before = norms(w, tuple(axis) if isinstance(axis, list) else axis)
    # Keras' formula in float64, rounded once to the dtype.
    expected = (w.astype(np.float64) * (target(before) / (EPSILON + before))).astype(dtype)
    np.testing.assert_allclose(result, expected, rtol=2 * np.finfo(dtype).eps)


def test_epsilon_matters_for_small_norms() -> None:
    w = np.array([[1e-7], [0.0]])
    np.testing.assert_allclose(UnitNorm()(w), [[0.5], [0.0]], rtol=1e-12)
    np.testing.assert_allclose(MaxNorm()(w), [[5e-8], [0.0]], rtol=1e-12)


def test_zero_weights_stay_zero() -> None:
    zeros = np.zeros((3, 3, 2, 1), np.float32)
    for constraint in (MaxNorm(), UnitNorm(), MinMaxNorm(1, 2), NonNeg()):
        np.testing.assert_array_equal(constraint(zeros), zeros)


def test_large_weights_do_not_overflow() -> None:
    # Their squares exceed float32's and float16's range.
    np.testing.assert_allclose(UnitNorm()(np.full((4, 1), 1e30, np.float32)), 0.5, rtol=1e-6)
    np.testing.assert_allclose(MaxNorm(2)(np.full((4, 1), 6e4, np.float16)), 1.0, rtol=1e-3)


def test_nan_and_infinity_do_as_in_keras() -> None:
    with np.errstate(all="raise"):
        nan = UnitNorm()(np.array([[np.nan, 1.0], [1.0, 0.0]]))
        infinite = MaxNorm()(np.array([[np.inf], [1.0]]))
    np.testing.assert_allclose(nan, [[np.nan, 1 / (1 + EPSILON)], [np.nan, 0.0]])
    np.testing.assert_array_equal(infinite, [[np.nan], [0.0]])


def test_non_neg() -> None:
    w = np.array([-1.0, -0.0, 0.0, 2.0, np.nan, np.inf, -np.inf], np.float32)
    np.testing.assert_array_equal(
        NonNeg()(w), np.array([0, 0, 0, 2, np.nan, np.inf, 0], np.float32)
    )
    integers = NonNeg()(np.array([-3, 4], np.int32))
    assert integers.dtype == np.int32
    np.testing.assert_array_equal(integers, [0, 4])


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=9), st.just(0.0) | st.floats(1e-9, 100))
def test_max_norm_is_a_projection(values: list[float], limit: float) -> None:
    w = np.array(values)
    once = MaxNorm(limit)(w)
    assert norms(once) <= limit * (1 + 1e-12)
    np.testing.assert_allclose(MaxNorm(limit)(once), once, rtol=1e-3, atol=2e-7)


@pytest.mark.parametrize("constraint", [MaxNorm(), UnitNorm(), MinMaxNorm()])
def test_norms_refuse_integers(constraint: Constraint) -> None:
    with pytest.raises(TypeError, match="expected a floating-point weight; received int32"):
        constraint(np.ones((2, 2), np.int32))


def test_inputs_are_not_changed() -> None:
    w = KERNEL.copy()
    for constraint in (MaxNorm(0.1), UnitNorm(), MinMaxNorm(), NonNeg()):
        constraint(w)
    np.testing.assert_array_equal(w, KERNEL)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"name": "MaxNorm", "m": 3, "axis": 0}, MaxNorm(3)),
        ({"name": "UnitNorm", "axis": 1}, UnitNorm(1)),
        ({"class_name": "MaxNorm", "config": {"m": 2.0, "axis": [0.0]}}, MaxNorm(2)),
        ({"class_name": "MaxNorm", "config": {"max_value": [2.0], "axis": 1.0}}, MaxNorm(2, 1)),
        ({"name": "MinMaxNorm", "low": 0.5, "high": 1.5}, MinMaxNorm(0.5, 1.5)),
        ({"class_name": "UnitNorm", "config": {"axis": [0.0, 1.0, 2.0]}}, UnitNorm([0, 1, 2])),
    ],
)
def test_configs_of_other_generations(config: Any, expected: Constraint) -> None:
    assert constraints.get(config) == expected


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MaxNorm(-1), "max_value: expected a finite number of at least 0; received -1"),
        (lambda: MaxNorm("2"), "max_value: expected"),
        (lambda: MaxNorm(axis="rows"), "axis: expected an integer; received 'rows'"),
        (lambda: UnitNorm(axis=0.5), "axis: expected an integer"),
        (lambda: MinMaxNorm(2, 1), "expected min_value <= max_value; received 2 and 1"),
        (lambda: MinMaxNorm(rate=1.5), r"rate: expected a number in \[0, 1\]; received 1.5"),
    ],
)
def test_bad_arguments(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_the_base_class_does_nothing() -> None:
    with pytest.raises(NotImplementedError, match="Constraint does not define __call__"):
        Constraint()(np.ones(3))
