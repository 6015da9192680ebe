"""The layer and models against an installed Keras 3: outputs, shapes, configs both ways.

Skipped without Keras. KERAS_BACKEND chooses the backend. Where Keras' backends disagree or are
wrong (empty batches, the bias of channels_first), nothing is compared.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support import assert_close, tolerance
from support.layers import draw, isolate

import dwconv

keras: Any = pytest.importorskip("keras")
if int(keras.__version__.split(".")[0]) < 3:
    pytest.skip("Keras 3 is needed", allow_module_level=True)


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


ARGUMENTS: list[dict[str, Any]] = [
    {},
    {"kernel_size": (3, 2), "padding": "same", "depth_multiplier": 2},
    {"strides": 2, "activation": "relu", "use_bias": False},
    {"strides": 2, "padding": "same", "activation": "relu6"},
    {"dilation_rate": (2, 1), "padding": "same"},
    {"dtype": "float64", "depthwise_initializer": "he_normal"},
    {
        "depthwise_regularizer": "l2",
        "bias_regularizer": "l1",
        "activity_regularizer": "l2",
        "depthwise_constraint": "max_norm",
        "bias_constraint": "non_neg",
    },
    {"trainable": False, "depthwise_regularizer": "l2"},
]

# Keras' backends disagree on these or cannot compute them.
OTHER_DTYPES: list[dict[str, Any]] = [
    {"dtype": "int32", "depthwise_initializer": "ones"},
    *({"dtype": name} for name in ("float16", "bfloat16", "mixed_float16", "mixed_bfloat16")),
]


def numbers(tensor: Any) -> NDArray[Any]:
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def normal(config: Any) -> Any:
    """A config without keys that only some versions of Keras write, tuples as lists.

    Keras writes some factors rounded to float32: 0.009999999776482582.
    """
    if isinstance(config, float):
        return float(np.float32(config))
    if isinstance(config, dict):
        extra = ("input_axes", "output_axes", "ragged", "optional", "shared_object_id")
        return {key: normal(value) for key, value in config.items() if key not in extra}
    return [normal(item) for item in config] if isinstance(config, (list, tuple)) else config


def pair(arguments: dict[str, Any]) -> tuple[Any, dwconv.DepthwiseConv2D]:
    """Keras' layer and ours."""
    arguments = {"kernel_size": 3, "name": "dw", **arguments}
    return keras.layers.DepthwiseConv2D(**arguments), dwconv.DepthwiseConv2D(**arguments)


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=str)
def test_outputs_and_losses(arguments: dict[str, Any]) -> None:
    theirs, ours = pair(arguments)
    if keras.backend.backend() == "numpy" and ours.dtype == np.float64:
        pytest.skip("this Keras backend mixes dtypes and fails here")
    x = draw(2, 9, 10, 3, dtype=arguments.get("dtype", "float32"))
    theirs.build(x.shape)
    ours.build(x.shape)
    weights = [draw(*w.shape, seed=i) for i, w in enumerate(ours.weights)]
    theirs.set_weights(weights)
    ours.set_weights(weights)
    expected, y = numbers(theirs(x)), ours(x)
    assert y.dtype == expected.dtype
    kernel, *bias = ours.get_weights()
    options = {
        "strides": ours.strides,
        "padding": ours.padding,
        "dilation_rate": ours.dilation_rate,
    }
    bound = 2 * tolerance(x, kernel, bias[0] if bias else None, **options)
    assert_close(y, expected.astype(np.float64), bound, arguments)
    assert ours.compute_output_shape((None, 9, 10, 3)) == theirs.compute_output_shape(
        (None, 9, 10, 3)
    )
    np.testing.assert_allclose(ours.losses, [numbers(loss) for loss in theirs.losses], rtol=1e-5)
    assert ours.count_params() == theirs.count_params()


@pytest.mark.parametrize("arguments", [*ARGUMENTS, *OTHER_DTYPES], ids=str)
def test_configs_both_ways(arguments: dict[str, Any]) -> None:
    theirs, ours = pair(arguments)
    assert normal(ours.get_config()) == normal(theirs.get_config())
    again = keras.layers.DepthwiseConv2D.from_config(ours.get_config())
    assert normal(again.get_config()) == normal(theirs.get_config())
    for config in (theirs.get_config(), json.loads(json.dumps(theirs.get_config()))):
        read = dwconv.DepthwiseConv2D.from_config(config)
        assert normal(read.get_config()) == normal(ours.get_config())


def test_objects_of_keras_are_taken() -> None:
    layer = dwconv.DepthwiseConv2D(
        3,
        activation=keras.activations.relu,
        depthwise_initializer=keras.initializers.HeNormal(seed=1),
        depthwise_regularizer=keras.regularizers.L2(0.5),
        depthwise_constraint=keras.constraints.MaxNorm(3),
        dtype=keras.DTypePolicy("float64"),
    )
    config = layer.get_config()
    assert config["activation"] == "relu"
    assert config["dtype"]["config"] == {"name": "float64"}
    assert config["depthwise_initializer"]["config"]["seed"] == 1
    assert config["depthwise_regularizer"]["config"] == {"l2": 0.5}


def test_models_both_ways() -> None:
    ours = dwconv.Sequential(
        [dwconv.Input((8, 8, 3)), dwconv.DepthwiseConv2D(3), dwconv.DepthwiseConv2D(2)]
    )
    theirs = keras.Sequential.from_config(ours.get_config())
    theirs.set_weights(ours.get_weights())
    again = dwconv.Sequential.from_config(theirs.get_config())
    again.set_weights(theirs.get_weights())
    assert normal(again.get_config()) == normal(theirs.get_config()) == normal(ours.get_config())
    x = draw(2, 8, 8, 3)
    np.testing.assert_array_equal(again(x), ours(x))
    np.testing.assert_allclose(ours(x), numbers(theirs(x)), atol=1e-5)
    assert ours.output_shape == theirs.output_shape


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "mixed_bfloat16"])
def test_configs_of_models_without_an_input(dtype: str) -> None:
    models = [
        package.Sequential([layer(3, dtype=dtype, name="dw")], name="s")
        for package, layer in (
            (keras, keras.layers.DepthwiseConv2D),
            (dwconv, dwconv.DepthwiseConv2D),
        )
    ]
    for model in models:
        model.build((None, 8, 8, 3))
    theirs, ours = (normal(model.get_config()) for model in models)
    for config in (theirs, ours):  # counted for all models of a process
        config["layers"][0]["config"].pop("name")
        config["layers"][1].pop("build_config")
    assert ours == theirs


def test_strides_with_dilation_in_files(tmp_path: Path) -> None:
    """Keras 3 computes both together: its file is read here, ours is read there."""
    both: dict[str, Any] = {"strides": 2, "dilation_rate": 2, "padding": "same"}
    theirs = keras.Sequential([keras.Input((9, 10, 3)), keras.layers.DepthwiseConv2D(3, **both)])
    x = draw(2, 9, 10, 3)
    kernel, bias = draw(3, 3, 3, 1, seed=1), draw(3, seed=2)
    theirs.set_weights([kernel, bias])
    expected = numbers(theirs(x))
    theirs.save(tmp_path / "theirs.keras")
    (ours,) = dwconv.load_layers(tmp_path / "theirs.keras").values()
    bound = tolerance(x, kernel, bias, **both)
    assert_close(ours(x), expected, 2 * bound, "read here")  # each rounds
    ours.save(tmp_path / "ours.keras")
    again = keras.models.load_model(tmp_path / "ours.keras")
    assert_close(numbers(again(x)), expected, 2 * bound, "read there")
