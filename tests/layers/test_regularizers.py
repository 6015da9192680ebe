"""Regularizers: penalties against sums written out, gradients against differences, arguments."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dwconv import regularizers
from dwconv.regularizers import L1, L1L2, L2, OrthogonalRegularizer, Regularizer

RNG = np.random.default_rng(11)
KERNEL = RNG.normal(size=(3, 2, 2, 1))
MATRIX = RNG.normal(size=(4, 3))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("l1", L1(0.01)),
        ("L1", L1(0.01)),
        ("l2", L2(0.01)),
        ("L2", L2(0.01)),
        ("l1_l2", L1L2(0.01, 0.01)),
        ("L1L2", L1L2(0.0, 0.0)),
        ("l1l2", L1L2(0.0, 0.0)),
        ("orthogonal_regularizer", OrthogonalRegularizer(0.01, "rows")),
        ("OrthogonalRegularizer", OrthogonalRegularizer(0.01, "rows")),
    ],
)
def test_aliases(name: str, expected: Regularizer) -> None:
    assert regularizers.get(name) == expected


def test_defaults_are_keras() -> None:
    assert L1().get_config() == {"l1": 0.01}
    assert L2().get_config() == {"l2": 0.01}
    assert L1L2().get_config() == {"l1": 0.0, "l2": 0.0}
    assert OrthogonalRegularizer().get_config() == {"factor": 0.01, "mode": "rows"}
    assert L1(None) == L1(0.01)  # type: ignore[comparison-overlap]
    assert L1L2(None, None) == L1L2(0, 0)


@given(st.lists(st.floats(-1e6, 1e6), max_size=20), st.floats(0, 10), st.floats(0, 10))
def test_penalties(values: list[float], l1: float, l2: float) -> None:
    absolute = math.fsum(map(abs, values))
    square = math.fsum(v * v for v in values)
    # Sums of n terms of one sign: (n + 3) roundings.
    rtol = (len(values) + 3) * 2.3e-16
    for regularizer, expected in (
        (L1(l1), l1 * absolute),
        (L2(l2), l2 * square),
        (L1L2(l1, l2), l1 * absolute + l2 * square),
    ):
        result = regularizer(np.array(values))
        assert type(result) is float
        assert result == pytest.approx(expected, rel=rtol, abs=1e-300)


def orthogonality(vectors: np.ndarray, factor: float) -> float:
    pairs = list(itertools.combinations([v / np.linalg.norm(v) for v in vectors], 2))
    return factor * sum(abs(float(np.dot(a, b))) for a, b in pairs) / len(pairs)


def test_orthogonal_penalty() -> None:
    rows = OrthogonalRegularizer(0.3, "rows")(MATRIX)
    columns = OrthogonalRegularizer(0.3, "columns")(MATRIX)
    assert rows == pytest.approx(orthogonality(MATRIX, 0.3), rel=1e-14)
    assert columns == pytest.approx(orthogonality(MATRIX.T, 0.3), rel=1e-14)
    assert OrthogonalRegularizer(0.3)(np.eye(3)) == 0
    assert OrthogonalRegularizer(0.3)(np.ones((2, 5))) == pytest.approx(0.3)


def test_orthogonal_edges() -> None:
    assert OrthogonalRegularizer()(np.ones((1, 3))) == 0
    assert OrthogonalRegularizer()(np.zeros((3, 2))) == 0
    np.testing.assert_array_equal(OrthogonalRegularizer().gradient(np.zeros((3, 2))), 0)
    np.testing.assert_array_equal(OrthogonalRegularizer().gradient(np.ones((1, 3))), 0)
    for shape in ((3,), (3, 3, 2, 1)):
        with pytest.raises(ValueError, match="expected an array of rank 2; received shape"):
            OrthogonalRegularizer()(np.ones(shape))


@pytest.mark.parametrize(
    ("regularizer", "at"),
    [
        (L1(0.3), KERNEL),
        (L2(0.3), KERNEL),
        (L1L2(0.3, 0.2), KERNEL),
        (L1L2(), KERNEL),
        (OrthogonalRegularizer(0.3), MATRIX),
        (OrthogonalRegularizer(0.3, "columns"), MATRIX),
        (OrthogonalRegularizer(0.3), MATRIX * 1e-9),
    ],
    ids=repr,
)
def test_gradients_are_the_slopes(regularizer: Regularizer, at: np.ndarray) -> None:
    gradient = regularizer.gradient(at)
    assert gradient.shape == at.shape
    step = 1e-6 * np.abs(at).min()
    size = max(1.0, float(np.abs(gradient).max()))
    for index in np.ndindex(at.shape):
        move = np.zeros_like(at)
        move[index] = step
        slope = (regularizer(at + move) - regularizer(at - move)) / (2 * step)
        # Rounding of the penalty over the step; curvature is far below it.
        tolerance = 8e-16 * regularizer(at) / step + 1e-6 * size
        assert gradient[index] == pytest.approx(slope, abs=tolerance)


def test_gradient_at_the_kink_is_zero() -> None:
    np.testing.assert_array_equal(L1(0.5).gradient(np.array([0.0, -0.0, 2.0])), [0, 0, 0.5])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_dtypes(dtype: Any) -> None:
    x = np.full(70000, 10, dtype)
    assert L1(1)(x) == 700000  # beyond float16's range: summed in float64
    assert L2(1)(x) == 7000000
    assert L1L2(1, 1).gradient(x).dtype == dtype
    np.testing.assert_array_equal(L1L2(1, 1).gradient(x), 21)


def test_integers_have_a_penalty_but_no_gradient() -> None:
    assert L1(2)(np.array([-3, 4], np.int32)) == 14
    assert L2(1)(np.array([2**17], np.int32)) == 2.0**34
    with pytest.raises(TypeError, match=r"expected a floating-point array .* received int32"):
        L1().gradient(np.array([1], np.int32))


def test_special_values_do_not_warn() -> None:
    with np.errstate(all="raise"):
        assert math.isnan(L1(1)(np.array([np.nan, 1.0])))
        assert L2(1)(np.array([1e200])) == math.inf
        assert L1(1)(np.array([-np.inf])) == math.inf
        assert L1L2(0, 0)(np.array([np.inf])) == 0
        assert L1()(np.zeros((0, 3))) == 0
        assert L1L2(1, 1)(np.array([5e-324])) == 5e-324


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"class_name": "L1", "config": {"l1": 0.009999999776482582}}, L1(0.009999999776482582)),
        ({"class_name": "L1", "config": {"l": 0.5}}, L1(0.5)),
        ({"class_name": "L1L2", "config": {"l1": 0.0, "l2": [0.5]}}, L1L2(0, 0.5)),
        ({"class_name": "L1L2", "config": {"l1": None, "l2": 0.5}}, L1L2(0, 0.5)),
        ({"name": "WeightRegularizer", "l1": 0.5, "l2": 0.0}, L1L2(0.5)),
        ({"name": "ActivityRegularizer", "l1": 0.0, "l2": 0.5}, L1L2(0, 0.5)),
        ({"class_name": "l1_l2", "config": {"l1": 0.5}}, L1L2(0.5, 0.01)),
    ],
)
def test_configs_of_other_generations(config: Any, expected: Regularizer) -> None:
    assert regularizers.get(config) == expected


@pytest.mark.parametrize("bad", [-1, math.nan, math.inf, "a", True, [1, 2]])
def test_bad_factors(bad: Any) -> None:
    for make in (L1, L2, L1L2, OrthogonalRegularizer):
        with pytest.raises(ValueError, match="expected a finite number of at least 0; received"):
            make(bad)


def test_bad_mode() -> None:
    with pytest.raises(ValueError, match=r"mode: expected one of \['rows', 'columns'\]; received"):
        OrthogonalRegularizer(mode="cols")


def test_the_base_class_does_nothing() -> None:
    with pytest.raises(NotImplementedError, match="does not define a penalty"):
        Regularizer()(np.ones(3))
    with pytest.raises(NotImplementedError, match="does not define a gradient"):
        Regularizer().gradient(np.ones(3))


def test_an_integer_beyond_any_float() -> None:
    """As JSON may hold."""
    with pytest.raises(ValueError, match="expected a finite number"):
        regularizers.get({"class_name": "L2", "config": {"l2": 10**400}})
