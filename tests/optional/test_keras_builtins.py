"""The built-ins against an installed Keras 3: values, gradients of constraints aside, and configs.

Skipped without Keras.  KERAS_BACKEND chooses the backend; TensorFlow is Keras' own reference.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dwconv import activations, constraints, initializers, regularizers

keras: Any = pytest.importorskip("keras")
if int(keras.__version__.split(".")[0]) < 3:
    pytest.skip("Keras 3 is needed", allow_module_level=True)

# Keras 3 before 3.15 has fewer activations: what there is, is compared.
NAMES = [
    name for name in activations.names() if ">" not in name and hasattr(keras.activations, name)
]
KERNEL = np.random.default_rng(0).normal(size=(3, 3, 4, 2)).astype(np.float32)


def numbers(tensor: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(tensor))


@pytest.mark.parametrize("name", NAMES)
def test_activations(name: str) -> None:
    theirs, ours = getattr(keras.activations, name), activations.get(name)
    x = np.linspace(-8, 8, 64, dtype=np.float32).reshape(4, 16)
    if name == "sparsemax":
        # Keras 3.15 sums the sums of the sorted values, so that its rows add up to 1 only where
        # one value is left; ours is the paper's.
        x = x * 8
    extra = (1.0, -2.0) if name == "threshold" else ()
    wanted = numbers(theirs(keras.ops.convert_to_tensor(x), *extra))
    # Keras computes in float32, without care for cancellation: absolute errors of an ulp of 8.
    np.testing.assert_allclose(ours(x, *extra), wanted, rtol=1e-5, atol=4e-6)
    assert activations.serialize(ours) == keras.activations.serialize(theirs)
    assert activations.get(theirs) is ours


@pytest.mark.parametrize(
    ("layer", "ours"),
    [
        ("ReLU", activations.relu.with_parameters(max_value=2, negative_slope=0.1, threshold=1)),
        ("LeakyReLU", activations.leaky_relu.with_parameters(negative_slope=0.1)),
        ("ELU", activations.elu.with_parameters(alpha=2)),
        ("Softmax", activations.softmax.with_parameters(axis=1)),
    ],
)
def test_activation_layers(layer: str, ours: Any) -> None:
    theirs = keras.activations.get(activations.serialize(ours))
    assert type(theirs).__name__ == layer
    x = np.linspace(-4, 4, 33, dtype=np.float32).reshape(1, 3, 11)
    np.testing.assert_allclose(ours(x), numbers(theirs(x)), rtol=1e-5, atol=1e-6)
    assert activations.get(theirs) == ours
    assert activations.get(keras.activations.serialize(theirs)) == ours


@pytest.mark.parametrize(
    ("module", "ours"),
    [
        *[("initializers", getattr(initializers, n)()) for n in initializers.names()],
        ("initializers", initializers.VarianceScaling(2, "fan_out", "uniform", 3)),
        ("initializers", initializers.Constant([1.0, 2.0])),
        ("initializers", initializers.Constant(2.5)),
        *[("regularizers", getattr(regularizers, n)()) for n in regularizers.names()],
        *[("constraints", getattr(constraints, n)()) for n in constraints.names()],
        ("constraints", constraints.MaxNorm(3, [0, 1])),
        ("constraints", constraints.MinMaxNorm(0.5, 1.5, 0.5, 1)),
    ],
    ids=repr,
)
def test_configs_go_both_ways(module: str, ours: Any) -> None:
    here = {"initializers": initializers, "regularizers": regularizers, "constraints": constraints}
    config = here[module].serialize(ours)
    theirs = getattr(keras, module).deserialize(config)
    assert type(theirs).__name__ == type(ours).__name__
    written = getattr(keras, module).serialize(theirs)
    for key in ("module", "class_name", "registered_name"):
        assert written[key] == config[key]
    expected = {**written["config"]}
    for key in ("input_axes", "output_axes"):  # of 3.15
        if expected.get(key, 0) is None:
            del expected[key]
    if isinstance(expected.get("value"), dict):  # '__tensor__' in the numpy backend
        expected["value"] = {**expected["value"], "class_name": "__numpy__"}
    if type(ours).__name__ == "Identity":
        expected["gain"] = ours.gain  # forgotten by 3.15
    if module == "regularizers":  # rounded to float32
        assert config["config"].keys() == expected.keys()
        for key, value in expected.items():
            same = value if isinstance(value, str) else pytest.approx(value, rel=1e-7)
            assert config["config"][key] == same
    else:
        assert config["config"] == expected
        assert here[module].get(theirs) == ours


@pytest.mark.parametrize(
    "ours",
    [
        constraints.MaxNorm(1.0),
        constraints.MaxNorm(1.0, [0, 1]),
        constraints.UnitNorm(),
        constraints.MinMaxNorm(0.5, 1.0, 0.7),
        constraints.NonNeg(),
    ],
    ids=repr,
)
def test_constraints(ours: Any) -> None:
    theirs = keras.constraints.deserialize(constraints.serialize(ours))
    wanted = numbers(theirs(keras.ops.convert_to_tensor(KERNEL)))
    np.testing.assert_allclose(ours(KERNEL), wanted, rtol=1e-6)


@pytest.mark.parametrize(
    ("ours", "at"),
    [
        (regularizers.L1(0.1), KERNEL),
        (regularizers.L2(0.1), KERNEL),
        (regularizers.L1L2(0.1, 0.2), KERNEL),
        (regularizers.OrthogonalRegularizer(0.1), KERNEL.reshape(9, 8)),
        (regularizers.OrthogonalRegularizer(0.1, "columns"), KERNEL.reshape(9, 8)),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_regularizers(ours: Any, at: np.ndarray) -> None:
    theirs = keras.regularizers.deserialize(regularizers.serialize(ours))
    try:
        wanted = float(numbers(theirs(keras.ops.convert_to_tensor(at))))
    except ValueError:  # the numpy backend normalizes columns wrongly
        pytest.skip("this Keras backend fails here")
    assert ours(at) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("name", sorted(set(initializers.names()) - {"Identity"}))
def test_initializer_statistics(name: str) -> None:
    """Mean and standard deviation on a large kernel; equal up to the noise of a sample."""
    shape = (3, 3, 128, 64)
    theirs = numbers(getattr(keras.initializers, name)()(shape)).astype(np.float64)
    ours = getattr(initializers, name)()(shape).astype(np.float64)
    spread = max(float(theirs.std()), 1e-9)
    assert abs(ours.mean() - theirs.mean()) <= 10 * spread / ours.size**0.5
    assert ours.std() == pytest.approx(theirs.std(), rel=10 / ours.size**0.5)
    assert np.abs(ours).max() == pytest.approx(np.abs(theirs).max(), rel=0.25)
