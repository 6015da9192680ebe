"""Configs: what is written, and what every generation of Keras and R write is read."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import assert_same_bits
from support.layers import draw, isolate

import dwconv
from dwconv import DepthwiseConv2D
from dwconv.layers.config import LayerConfig, generation_of


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


def long(kind: str, class_name: str, /, **config: Any) -> dict[str, Any]:
    """What Keras 3 writes for an object."""
    return {
        "module": f"keras.{kind}" if kind else "keras",
        "class_name": class_name,
        "config": config,
        "registered_name": None,
    }


# As Keras 3.15 gives it for DepthwiseConv2D((3, 2), strides=2, padding="same", activation="relu6",
# depthwise_regularizer="l2", depthwise_constraint="max_norm", name="dw", dtype="float64").
KERAS_3 = {
    "name": "dw",
    "trainable": True,
    "dtype": long("", "DTypePolicy", name="float64"),
    "depth_multiplier": 1,
    "kernel_size": (3, 2),
    "strides": (2, 2),
    "padding": "same",
    "data_format": "channels_last",
    "dilation_rate": (1, 1),
    "activation": "relu6",
    "use_bias": True,
    "depthwise_initializer": long("initializers", "GlorotUniform", seed=None),
    "bias_initializer": long("initializers", "Zeros"),
    "depthwise_regularizer": long("regularizers", "L2", l2=0.01),
    "bias_regularizer": None,
    "activity_regularizer": None,
    "depthwise_constraint": long("constraints", "MaxNorm", max_value=2, axis=0),
    "bias_constraint": None,
}

# As Keras 2.2.4 wrote a MobileNet block: short dicts, Glorot as VarianceScaling, no dtype.
KERAS_2_2_4 = {
    "name": "conv_dw_1",
    "trainable": True,
    "batch_input_shape": [None, 112, 112, 32],
    "kernel_size": [3, 3],
    "strides": [1, 1],
    "padding": "same",
    "data_format": "channels_last",
    "dilation_rate": [1, 1],
    "activation": "linear",
    "use_bias": False,
    "bias_initializer": {"class_name": "Zeros", "config": {}},
    "bias_regularizer": None,
    "activity_regularizer": None,
    "bias_constraint": None,
    "depth_multiplier": 1,
    "depthwise_initializer": {
        "class_name": "VarianceScaling",
        "config": {"scale": 1.0, "mode": "fan_avg", "distribution": "uniform", "seed": None},
    },
    "depthwise_regularizer": None,
    "depthwise_constraint": None,
}

# tf.keras 2.12: with dtype and groups.
TF_KERAS_2 = {**KERAS_2_2_4, "dtype": "float32", "groups": 1}


def test_get_config_gives_what_keras_3_gives() -> None:
    layer = DepthwiseConv2D(
        (3, 2),
        strides=2,
        padding="SAME",
        activation="relu6",
        depthwise_regularizer="l2",
        depthwise_constraint="max_norm",
        name="dw",
        dtype="float64",
        input_shape=(8, 8, 3),
    )
    assert layer.get_config() == KERAS_3
    assert type(layer.get_config()["kernel_size"]) is tuple


def test_configs_of_every_generation() -> None:
    keras_3 = DepthwiseConv2D.from_config(KERAS_3)
    assert keras_3.get_config() == KERAS_3
    # Keras 3.15 writes more keys for some initializers, and JSON makes lists of tuples.
    extended = json.loads(json.dumps(KERAS_3))
    extended["depthwise_initializer"]["config"] |= {"input_axes": None, "output_axes": None}
    assert DepthwiseConv2D.from_config(extended).get_config() == KERAS_3

    for config in (KERAS_2_2_4, TF_KERAS_2):
        layer = DepthwiseConv2D.from_config(config)
        assert layer.name == "conv_dw_1"
        assert layer.input_shape == (None, 112, 112, 32)
        assert layer.dtype == "float32"
        again = layer.get_config()["depthwise_initializer"]
        assert again["class_name"] == "VarianceScaling"
        assert again["config"]["mode"] == "fan_avg"
        assert "groups" not in layer.get_config()


def test_configs_as_r_writes_them() -> None:
    config = {
        "name": ["dw"],
        "trainable": [True],
        "kernel_size": [3.0, 2.0],
        "strides": [1.0],
        "padding": ["same"],
        "depth_multiplier": [2.0],
        "data_format": None,
        "activation": None,
        "use_bias": [False],
        "depthwise_initializer": None,
        "bias_initializer": {"class_name": ["Zeros"], "config": []},
        "bias_regularizer": {"class_name": ["L2"], "config": {"l2": [0.5]}},
        "dtype": {"class_name": ["DTypePolicy"], "config": {"name": ["float64"]}},
        "dilation_rate": None,
        "batch_input_shape": [None, 8.0, 8.0, 3.0],
        "groups": [1.0],
    }
    layer = DepthwiseConv2D.from_config(config)
    expected = DepthwiseConv2D(
        (3, 2),
        1,
        "same",
        2,
        use_bias=False,
        bias_regularizer=dwconv.regularizers.L2(0.5),
        dtype="float64",
        name="dw",
    )
    assert layer.get_config() == expected.get_config()
    assert layer.input_shape == (None, 8, 8, 3)


@pytest.mark.parametrize("groups", [2, 0, [2.0], "1"])
def test_other_groups_are_an_error(groups: Any) -> None:
    with pytest.raises(ValueError, match="groups: expected 1") as caught:
        DepthwiseConv2D.from_config({"kernel_size": 3, "groups": groups})
    assert repr(groups) in str(caught.value)


@pytest.mark.parametrize("name", ["weights", "filters", "Kernel_size", "unknown", "self"])
def test_unknown_keys_are_an_error(name: str) -> None:
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
        DepthwiseConv2D.from_config({"kernel_size": 3, name: [1]})


@pytest.mark.parametrize("config", [None, [KERAS_3], "DepthwiseConv2D"])
def test_what_is_no_dict_is_an_error(config: Any) -> None:
    with pytest.raises(ValueError, match="expected a config dict; received"):
        DepthwiseConv2D.from_config(config)


@pytest.mark.parametrize(
    ("config", "generation", "expected"),
    [
        # K3: relu6(x + 3) / 6 at 1; K2: clip(0.2 x + 0.5, 0, 1).
        ({}, None, 4 / 6),
        ({"groups": 1}, None, 0.7),
        ({"batch_input_shape": [None, 1, 1, 1]}, None, 0.7),
        ({"bias_initializer": {"class_name": "Zeros", "config": {}}}, None, 0.7),
        ({"bias_initializer": long("initializers", "Zeros")}, None, 4 / 6),
        ({"dtype": {"class_name": "DTypePolicy", "config": {"name": "float32"}}}, None, 4 / 6),
        ({}, 2, 0.7),
        ({"groups": 1}, 3, 4 / 6),
    ],
)
def test_hard_sigmoid_means_what_the_generation_meant(
    config: dict[str, Any], generation: int | None, expected: float
) -> None:
    config = {"kernel_size": 1, "activation": "hard_sigmoid", **config}
    layer = DepthwiseConv2D.from_config(config, generation=generation)
    layer.build((None, 1, 1, 1))
    layer.set_weights([np.ones((1, 1, 1, 1)), [0]])
    x = np.ones((1, 1, 1, 1))
    assert layer(x).item() == pytest.approx(expected, rel=1e-6)
    # And our own config keeps it.
    again = DepthwiseConv2D.from_config(layer.get_config())
    again.build((None, 1, 1, 1))
    again.set_weights(layer.get_weights())
    assert_same_bits(again(x), layer(x), config)


def test_a_lambda_has_no_config() -> None:
    layer = DepthwiseConv2D(3, activation=lambda y: y)
    with pytest.raises(ValueError, match="lambda"):
        layer.get_config()


def test_layers_compare_by_config() -> None:
    layer = DepthwiseConv2D(3, activation="relu")
    assert layer.same_config(DepthwiseConv2D((3.0, 3), activation="relu", input_shape=(4, 4, 1)))
    assert not layer.same_config(DepthwiseConv2D(3))
    assert not layer.same_config(DepthwiseConv2D(3, activation="relu", trainable=False))
    assert not layer.same_config(layer.get_config())

    class Other(DepthwiseConv2D):
        pass

    assert not layer.same_config(Other(3, activation="relu"))


def test_a_subclass_reads_its_own_arguments() -> None:
    class Scaled(DepthwiseConv2D):
        def __init__(self, kernel_size: Any, scale: float = 1.0, **arguments: Any) -> None:
            super().__init__(kernel_size, **arguments)
            self.scale = scale

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "scale": self.scale}

    layer = Scaled.from_config(Scaled(3, scale=2.0, activation="relu").get_config())
    assert isinstance(layer, Scaled)
    assert (layer.scale, layer.name) == (2.0, "scaled")


# ---- every combination ---------------------------------------------------------------------------

REGULARIZERS = st.sampled_from([None, "l1", "l2", "l1_l2"])
CONSTRAINTS = st.sampled_from(
    [None, "max_norm", "non_neg", "unit_norm", dwconv.constraints.MinMaxNorm(0.5, 2, 0.25, [0, 1])]
)
INITIALIZERS = st.sampled_from(
    ["zeros", "ones", "he_normal", "lecun_uniform", "orthogonal", "random_normal", None]
) | st.floats(-2, 2).map(dwconv.initializers.Constant)
PAIRS = st.integers(1, 4) | st.tuples(st.integers(1, 4), st.integers(1, 4))

LAYERS = st.fixed_dictionaries(
    {"kernel_size": PAIRS},
    optional={
        "padding": st.sampled_from(["valid", "same", "VALID"]),
        "depth_multiplier": st.integers(1, 3),
        "data_format": st.sampled_from([None, "channels_last", "channels_first"]),
        "activation": st.sampled_from([None, "relu", "swish", "leaky_relu", "softmax", "gelu"]),
        "use_bias": st.booleans(),
        "depthwise_initializer": INITIALIZERS,
        "bias_initializer": INITIALIZERS.filter(lambda i: i != "orthogonal"),
        "depthwise_regularizer": REGULARIZERS,
        "bias_regularizer": REGULARIZERS,
        "activity_regularizer": REGULARIZERS,
        "depthwise_constraint": CONSTRAINTS,
        "bias_constraint": CONSTRAINTS,
        "dtype": st.sampled_from(
            [None, "float16", "float32", "float64", "mixed_float16", "bfloat16"]
        ),
        "name": st.sampled_from([None, "mine"]),
        "trainable": st.booleans(),
    },
).flatmap(
    lambda arguments: st.sampled_from(["strides", "dilation_rate"]).flatmap(
        lambda name: PAIRS.map(lambda pair: {**arguments, name: pair})
    )
)


@given(LAYERS)
@settings(max_examples=150)
def test_config_round_trip(arguments: dict[str, Any]) -> None:
    layer = DepthwiseConv2D(**arguments)
    config = layer.get_config()
    through_json = json.loads(json.dumps(config))
    again = DepthwiseConv2D.from_config(through_json)
    assert again.get_config() == config
    assert again.same_config(layer)
    # The twin computes the same.
    x = draw(1, 16, 17, 2) if layer.data_format == "channels_last" else draw(1, 2, 16, 17)
    layer.build(x.shape)
    again.build(x.shape)
    assert [w.shape for w in again.weights] == [w.shape for w in layer.weights]
    again.set_weights(layer.get_weights())
    assert_same_bits(again(x), layer(x), arguments)
    assert again.losses == layer.losses


# ---- the config as a value -----------------------------------------------------------------------


def test_a_config_is_a_value() -> None:
    """Read once, frozen, equal if all its values are, and written as the layer writes it."""
    config = LayerConfig.read([3.0, 2], 2, "SAME", activation="relu6", depthwise_regularizer="l2")
    same = LayerConfig.read((3, 2), (2, 2), "same", activation="relu6", depthwise_regularizer="L2")
    assert config == same
    assert hash(config) == hash(same)
    assert config != LayerConfig.read((3, 2), (2, 2), "same", activation="relu")
    with pytest.raises(FrozenInstanceError):
        config.use_bias = False  # type: ignore[misc]
    layer = DepthwiseConv2D((3, 2), 2, "same", activation="relu6", depthwise_regularizer="l2")
    assert {**layer.get_config(), "name": None} == config.get_config()
    assert LayerConfig.from_config(config.get_config()) == config
    assert (config.kernel_size, config.strides, config.padding) == ((3, 2), (2, 2), "same")
    assert (config.depth_multiplier, config.dilation_rate) == (1, (1, 1))


def test_a_layer_that_could_not_be_made_uses_up_no_name() -> None:
    first = DepthwiseConv2D(3).name
    for wrong in ({"strides": 0}, {"weights": [1]}, {"input_shape": (1,)}, {"activation": "nope"}):
        with pytest.raises(ValueError, match="expected"):
            DepthwiseConv2D(3, **wrong)
    assert DepthwiseConv2D(3).name == f"{first}_1"


@pytest.mark.parametrize("config", [KERAS_3, KERAS_2_2_4, TF_KERAS_2])
def test_the_generation_of_a_config(config: dict[str, Any]) -> None:
    assert generation_of(config) == (3 if config is KERAS_3 else 2)
