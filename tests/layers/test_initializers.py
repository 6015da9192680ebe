"""Initializers: statistics within derived tolerances, seeds, shapes and dtypes, aliases, configs.

Tolerances of statistics: for n independent values of variance v and kurtosis k the mean is off by
more than 6 sqrt(v / n), or the variance by more than 6 v sqrt((k - 1) / n), once in 5e8 seeds.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dwconv import initializers
from dwconv.initializers import (
    Constant,
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    Identity,
    Initializer,
    LecunNormal,
    LecunUniform,
    Ones,
    Orthogonal,
    RandomNormal,
    RandomUniform,
    TruncatedNormal,
    VarianceScaling,
    Zeros,
    compute_fans,
    yields_integers,
)

KERNEL = (3, 5, 64, 8)  # (kh, kw, C, M)
FAN_IN, FAN_OUT = 3 * 5 * 64, 3 * 5 * 8
KURTOSIS = {"uniform": 9 / 5, "normal": 3.0, "truncated": 2.4}
RANDOM = [
    RandomNormal,
    RandomUniform,
    TruncatedNormal,
    VarianceScaling,
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    LecunNormal,
    LecunUniform,
    Orthogonal,
]


def truncated_moment(power: int) -> float:
    """The moment of a standard normal distribution cut at +-2, by Simpson's rule."""
    t = np.linspace(-2, 2, 2001)
    weights = np.full(2001, 2.0)
    weights[1::2], weights[[0, -1]] = 4.0, 1.0
    density = np.exp(-t * t / 2) * weights
    return float((t**power * density).sum() / density.sum())


TRUNCATED_VARIANCE = truncated_moment(2)


def check_moments(values: np.ndarray, mean: float, variance: float, shape: str) -> None:
    n = values.size
    assert abs(values.mean() - mean) < 6 * math.sqrt(variance / n)
    spread = 6 * variance * math.sqrt((KURTOSIS[shape] - 1) / n)
    assert abs(values.var() - variance) < spread


def test_constants_of_the_truncated_normal() -> None:
    assert pytest.approx(math.sqrt(TRUNCATED_VARIANCE), rel=1e-12) == initializers.TRUNCATED_STDDEV
    assert truncated_moment(4) / TRUNCATED_VARIANCE**2 < KURTOSIS["truncated"]


# -- statistics


@pytest.mark.parametrize(
    ("make", "variance", "shape"),
    [
        (GlorotUniform, 2 / (FAN_IN + FAN_OUT), "uniform"),
        (GlorotNormal, 2 / (FAN_IN + FAN_OUT), "truncated"),
        (HeUniform, 2 / FAN_IN, "uniform"),
        (HeNormal, 2 / FAN_IN, "truncated"),
        (LecunUniform, 1 / FAN_IN, "uniform"),
        (LecunNormal, 1 / FAN_IN, "truncated"),
        (VarianceScaling, 1 / FAN_IN, "truncated"),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_named_scalings(make: Any, variance: float, shape: str, seed: int) -> None:
    values = make(seed=seed)(KERNEL, np.float64)
    assert values.shape == KERNEL
    check_moments(values, 0, variance, shape)
    limit = math.sqrt(3 * variance)
    if shape == "truncated":
        limit = 2 * math.sqrt(variance) / initializers.TRUNCATED_STDDEV
    assert np.abs(values).max() <= limit
    assert np.abs(values).max() > 0.99 * limit


@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "fan_avg"])
@pytest.mark.parametrize("distribution", ["truncated_normal", "untruncated_normal", "uniform"])
def test_variance_scaling(mode: str, distribution: str) -> None:
    initializer = VarianceScaling(0.5, mode, distribution, seed=3)
    count = {"fan_in": FAN_IN, "fan_out": FAN_OUT, "fan_avg": (FAN_IN + FAN_OUT) / 2}[mode]
    shape = {"truncated_normal": "truncated", "untruncated_normal": "normal"}
    check_moments(
        initializer(KERNEL, np.float64), 0, 0.5 / count, shape.get(distribution, "uniform")
    )


def test_random_normal() -> None:
    values = RandomNormal(2.0, 0.5, seed=8)(KERNEL, np.float64)
    check_moments(values, 2.0, 0.25, "normal")
    assert np.abs(values - 2).max() > 1.5  # beyond three standard deviations: not cut
    np.testing.assert_array_equal(RandomNormal(2.0, 0.0)((3,)), np.full(3, 2, np.float32))


def test_truncated_normal() -> None:
    values = TruncatedNormal(2.0, 0.5, seed=8)(KERNEL, np.float64)
    check_moments(values, 2.0, 0.25 * TRUNCATED_VARIANCE, "truncated")
    assert np.abs(values - 2).max() <= 1.0
    assert np.abs(values - 2).max() > 0.99


def test_random_uniform() -> None:
    values = RandomUniform(1.0, 3.0, seed=8)(KERNEL, np.float64)
    check_moments(values, 2.0, 4 / 12, "uniform")
    assert values.min() >= 1
    assert values.max() < 3
    np.testing.assert_array_equal(RandomUniform(2, 2)((3,)), np.full(3, 2, np.float32))


@pytest.mark.parametrize(
    "shape", [(4, 4), (3, 3, 4, 2), (2, 7), (1, 1, 2, 5), (6, 1), (3, 3, 1, 1)]
)
def test_orthogonal(shape: tuple[int, ...]) -> None:
    matrix = Orthogonal(gain=2.0, seed=5)(shape, np.float64).reshape(-1, shape[-1]) / 2
    small = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
    np.testing.assert_allclose(small, np.eye(len(small)), atol=1e-14 * max(matrix.shape))


def test_orthogonal_is_uniform() -> None:
    # The entries of a uniformly random 2x2 orthogonal matrix have mean 0 and variance 1/2; without
    # the sign correction the first one would always be negative (or always positive).
    draws = np.stack([Orthogonal(seed=seed)((2, 2), np.float64) for seed in range(2000)])
    np.testing.assert_allclose(draws.mean(0), 0, atol=6 * math.sqrt(0.5 / 2000))
    np.testing.assert_allclose((draws**2).mean(0), 0.5, atol=6 * math.sqrt(0.125 / 2000))
    determinants = np.linalg.det(draws)
    assert abs(determinants.mean()) < 6 / math.sqrt(2000)


@pytest.mark.parametrize(
    ("shape", "fans"),
    [
        ((), (1, 1)),
        ((7,), (7, 7)),
        ((7, 3), (7, 3)),
        ((2, 7, 3), (14, 6)),
        ((3, 5, 64, 8), (960, 120)),
        ((1, 1, 0, 2), (0, 2)),
    ],
)
def test_fans(shape: tuple[int, ...], fans: tuple[int, int]) -> None:
    assert compute_fans(shape) == fans
    assert GlorotUniform(seed=1)(shape).shape == shape


def test_fan_axes_of_keras_3_15() -> None:
    assert compute_fans((3, 5, 64, 8), [0, 1], [0, 1, 3]) == (15, 120)
    config = HeNormal(seed=1, input_axes=[0, 1], output_axes=[0, 1, 3]).get_config()
    assert config == {"seed": 1, "input_axes": [0, 1], "output_axes": [0, 1, 3]}
    values = HeNormal.from_config(config)(KERNEL, np.float64)
    check_moments(values, 0, 2 / 15, "truncated")
    with pytest.raises(ValueError, match="expected both input_axes and output_axes or neither"):
        HeNormal(input_axes=[0])


# -- seeds


@pytest.mark.parametrize("make", RANDOM)
def test_a_seed_fixes_the_values(make: Any) -> None:
    seeded = make(seed=42)
    first = seeded((3, 3, 4, 2))
    np.testing.assert_array_equal(seeded((3, 3, 4, 2)), first)
    np.testing.assert_array_equal(make(seed=42)((3, 3, 4, 2)), first)
    assert not np.array_equal(make(seed=43)((3, 3, 4, 2)), first)
    half = seeded((3, 3, 4, 2), np.float16)
    np.testing.assert_array_equal(half, seeded((3, 3, 4, 2), np.float64).astype(np.float16))


@pytest.mark.parametrize("make", RANDOM)
def test_without_a_seed_every_call_draws_afresh(make: Any) -> None:
    unseeded = make()
    state = np.random.get_state()[1].copy()  # type: ignore[index, union-attr]
    assert not np.array_equal(unseeded((4, 4)), unseeded((4, 4)))
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # type: ignore[index]


@pytest.mark.parametrize(
    ("seed", "expected"),
    [
        (None, None),
        (7, 7),
        (7.0, 7),
        ([7.0], 7),
        (np.int64(7), 7),
        (-7, -7),
        (2**70, 2**70),
        ({"class_name": "SeedGenerator", "config": {"seed": 7, "name": "s"}}, 7),
        (
            {
                "module": "keras.random",
                "class_name": "SeedGenerator",
                "config": {"seed": None, "name": "s"},
                "registered_name": None,
            },
            None,
        ),
    ],
)
def test_seeds(seed: Any, expected: int | None) -> None:
    initializer = GlorotUniform(seed)
    assert initializer.get_config() == {"seed": expected}
    assert initializer((2, 2)).shape == (2, 2)


@pytest.mark.parametrize("seed", ["7", 7.5, True, {"class_name": "Zeros", "config": {}}, {}])
def test_bad_seeds(seed: Any) -> None:
    with pytest.raises(ValueError, match=r"seed: expected .* received"):
        GlorotUniform(seed)


# -- fixed values, dtypes and shapes


def test_zeros_ones_constant() -> None:
    for dtype in (None, "float16", np.float64, "int32", np.dtype(np.uint8)):
        kind = np.dtype(dtype or np.float32)
        for made, value in ((Zeros(), 0), (Ones(), 1), (Constant(3.0), 3)):
            array = made((2, 3), dtype)
            assert array.dtype == kind
            np.testing.assert_array_equal(array, np.full((2, 3), value, kind))


def test_constant_arrays() -> None:
    initializer = Constant([1.0, 2.5])
    np.testing.assert_array_equal(initializer((2, 2)), [[1, 2.5], [1, 2.5]])
    config = initializer.get_config()
    assert config == {
        "value": {"class_name": "__numpy__", "config": {"value": [1.0, 2.5], "dtype": "float64"}}
    }
    assert Constant.from_config(config) == initializer
    assert initializers.get(np.array([1.0, 2.5])) == initializer
    result = initializer((2, 2))
    result[:] = 0  # a new array each time
    np.testing.assert_array_equal(initializer((2,)), [1, 2.5])
    with pytest.raises(ValueError, match=r"expected a constant that fits \(3, 3\); received shape"):
        initializer((3, 3))


def test_constants_in_integer_dtypes() -> None:
    assert Constant(2**31 - 1)((), np.int32) == 2**31 - 1
    assert Constant(np.array([2**63 - 1, -5]))((2,), np.int64)[0] == 2**63 - 1
    for value in (0.5, 2**31, -(2**31) - 1, math.nan, math.inf, [1, 0.5]):
        with pytest.raises(ValueError, match="expected whole values in the range of int32"):
            Constant(value)((2,), np.int32)


@pytest.mark.parametrize("value", [None, "1", True, [None], {"class_name": "x", "config": {}}])
def test_bad_constants(value: Any) -> None:
    with pytest.raises(ValueError, match="value: expected a number"):
        Constant(value)


@pytest.mark.parametrize(
    ("initializer", "expected"),
    [
        (Zeros(), True),
        (Ones(), True),
        (Constant(3), True),
        (Constant(3.0), True),
        (Constant([1.0, 2]), True),
        (Constant(np.array([1, 2])), True),
        (Constant(0.5), False),
        (Constant(math.inf), False),
        (Constant([1, math.nan]), False),
        (GlorotUniform(), False),
        (Identity(), False),
        (lambda shape, dtype=None: np.zeros(shape, dtype), False),
    ],
)
def test_who_yields_integers(initializer: Any, expected: bool) -> None:
    assert yields_integers(initializer) is expected


def test_identity_is_for_matrices() -> None:
    np.testing.assert_array_equal(Identity(2.0)((2, 3)), [[2, 0, 0], [0, 2, 0]])
    for shape in ((3, 3, 4, 2), (3,), ()):
        with pytest.raises(ValueError, match="expected a shape of rank 2; received"):
            Identity()(shape)


def test_orthogonal_needs_two_axes() -> None:
    with pytest.raises(ValueError, match=r"expected a shape of at least rank 2; received \(3,\)"):
        Orthogonal()((3,))


@pytest.mark.parametrize("make", RANDOM)
def test_random_values_are_floats(make: Any) -> None:
    for dtype in (np.float16, np.float32, np.float64):
        assert make(seed=1)((2, 2), dtype).dtype == dtype
    with pytest.raises(ValueError, match="expected a floating-point dtype; received int32"):
        make()((2, 2), "int32")


def test_bfloat16_where_ml_dtypes_is() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    for made in (Zeros(), Constant(0.5), GlorotUniform(seed=1), Orthogonal(seed=1)):
        assert made((2, 2), ml_dtypes.bfloat16).dtype == ml_dtypes.bfloat16


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 1, 0, 0)])
def test_empty_weights(shape: tuple[int, ...]) -> None:
    for make in (*RANDOM, Zeros, Ones, Constant):
        assert make()(shape).shape == shape


@pytest.mark.parametrize("shape", [[2, 3], (2.0, 3.0), np.array([2, 3]), (np.int32(2), 3)])
def test_forms_of_a_shape(shape: Any) -> None:
    assert GlorotUniform()(shape).shape == (2, 3)


def test_bad_shapes_and_dtypes() -> None:
    assert Zeros()(4).shape == (4,)
    with pytest.raises(ValueError, match="shape: expected sizes of at least 0"):
        Zeros()((-1, 2))
    with pytest.raises(ValueError, match="shape: expected an integer"):
        Zeros()((1.5, 2))
    for dtype in ("complex64", "nonsense", "bool", object):
        with pytest.raises(ValueError, match="dtype: expected a floating-point or integer dtype"):
            Zeros()((1,), dtype)


# -- names and configs

ALIASES = {
    Zeros: ["Zeros", "zeros", "zero", "ZerosV2", "zerosV2"],
    Ones: ["Ones", "ones", "one", "OnesV2", "onesV2"],
    Constant: ["Constant", "constant", "ConstantV2"],
    RandomNormal: ["RandomNormal", "random_normal", "normal", "RandomNormalV2"],
    RandomUniform: ["RandomUniform", "random_uniform", "uniform", "RandomUniformV2"],
    TruncatedNormal: ["TruncatedNormal", "truncated_normal", "TruncatedNormalV2"],
    VarianceScaling: ["VarianceScaling", "variance_scaling", "VarianceScalingV2"],
    GlorotNormal: ["GlorotNormal", "glorot_normal", "GlorotNormalV2", "glorot_normalV2"],
    GlorotUniform: ["GlorotUniform", "glorot_uniform", "GlorotUniformV2", "glorot_uniformV2"],
    HeNormal: ["HeNormal", "he_normal", "HeNormalV2", "he_normalV2"],
    HeUniform: ["HeUniform", "he_uniform", "HeUniformV2", "he_uniformV2"],
    LecunNormal: ["LecunNormal", "lecun_normal", "LecunNormalV2", "lecun_normalV2"],
    LecunUniform: ["LecunUniform", "lecun_uniform", "LecunUniformV2", "lecun_uniformV2"],
    Orthogonal: ["Orthogonal", "orthogonal", "OrthogonalInitializer", "OrthogonalV2"],
    Identity: ["Identity", "identity", "IdentityInitializer", "IdentityV2"],
}


@pytest.mark.parametrize(
    ("name", "cls"), [(name, cls) for cls, names in ALIASES.items() for name in names]
)
def test_aliases(name: str, cls: Any) -> None:
    assert initializers.get(name) == cls()
    assert initializers.get({"class_name": name, "config": {"dtype": "float32"}}) == cls()


def test_defaults_are_keras() -> None:
    assert RandomNormal().get_config() == {"mean": 0.0, "stddev": 0.05, "seed": None}
    assert TruncatedNormal().get_config() == {"mean": 0.0, "stddev": 0.05, "seed": None}
    assert RandomUniform().get_config() == {"minval": -0.05, "maxval": 0.05, "seed": None}
    assert Orthogonal().get_config() == {"gain": 1.0, "seed": None}
    assert Identity().get_config() == {"gain": 1.0}
    assert Constant().get_config() == {"value": 0.0}
    assert GlorotUniform().get_config() == {"seed": None}
    assert VarianceScaling().get_config() == {
        "scale": 1.0,
        "mode": "fan_in",
        "distribution": "truncated_normal",
        "seed": None,
    }


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        # 2.2.4 writes Glorot as VarianceScaling; TF 1 adds dtype
        (
            {
                "class_name": "VarianceScaling",
                "config": {
                    "scale": 1.0,
                    "mode": "fan_avg",
                    "distribution": "uniform",
                    "seed": None,
                    "dtype": "float32",
                },
            },
            VarianceScaling(1, "fan_avg", "uniform"),
        ),
        (
            {"class_name": "VarianceScaling", "config": {"distribution": "normal"}},
            VarianceScaling(),
        ),
        # 3.15
        (
            {
                "module": "keras.initializers",
                "class_name": "HeNormal",
                "config": {"seed": None, "input_axes": None, "output_axes": None},
                "registered_name": None,
            },
            HeNormal(),
        ),
        # Keras 1
        ({"name": "Orthogonal", "scale": 1.1}, Orthogonal(1.1)),
        # R
        (
            {"class_name": "RandomNormal", "config": {"mean": [1.0], "stddev": 2.0, "seed": [3.0]}},
            RandomNormal(1, 2, 3),
        ),
        ({"class_name": "Constant", "config": {"value": [0.5]}}, Constant(0.5)),
        (
            {
                "class_name": "Constant",
                "config": {
                    "value": {
                        "class_name": "__tensor__",
                        "config": {"value": [1.0, 2.0], "dtype": "float32"},
                    }
                },
            },
            Constant(np.array([1, 2], np.float32)),
        ),
    ],
)
def test_configs_of_other_generations(config: Any, expected: Initializer) -> None:
    assert initializers.get(config) == expected


@given(
    st.floats(1e-3, 1e3),
    st.sampled_from(["fan_in", "fan_out", "fan_avg"]),
    st.sampled_from(["truncated_normal", "untruncated_normal", "uniform", "NORMAL", "Uniform"]),
    st.none() | st.integers(-(2**40), 2**40),
)
def test_any_variance_scaling_round_trips(
    scale: float, mode: str, distribution: str, seed: int | None
) -> None:
    made = VarianceScaling(scale, mode, distribution, seed)
    again = initializers.deserialize(initializers.serialize(made))
    assert again == made
    assert again is not None
    if seed is not None:
        np.testing.assert_array_equal(again((2, 2, 3, 1)), made((2, 2, 3, 1)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VarianceScaling(0), "scale: expected a positive number; received 0"),
        (lambda: VarianceScaling(-1.0), "scale: expected a positive number"),
        (lambda: VarianceScaling(mode="FAN_IN"), "mode: expected one of .* received 'FAN_IN'"),
        (lambda: VarianceScaling(distribution="x"), "distribution: expected one of"),
        (lambda: VarianceScaling(distribution=3), "distribution: expected one of"),
        (lambda: RandomNormal(stddev=-1), "stddev: expected a finite number of at least 0"),
        (lambda: RandomNormal(mean="0"), "mean: expected a finite number; received '0'"),
        (lambda: RandomUniform(1, 0), "expected minval <= maxval; received 1 and 0"),
        (lambda: Orthogonal(gain=math.nan), "gain: expected a finite number"),
        (lambda: Identity(gain=[1, 2]), "gain: expected a finite number"),
    ],
)
def test_bad_arguments(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_the_base_class_does_nothing() -> None:
    with pytest.raises(NotImplementedError, match="Initializer does not define __call__"):
        Initializer()((2,))


@pytest.mark.parametrize("values", [[10**400], [[1], [1, 2]], ["one"], {"a": 1}], ids=repr)
def test_an_array_that_is_none(values: Any) -> None:
    content = {"value": values, "dtype": "float64"}
    config = {"value": {"class_name": "__numpy__", "config": content}}
    with pytest.raises(ValueError, match=r"^value: expected"):
        initializers.get({"class_name": "Constant", "config": config})
