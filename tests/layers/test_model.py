"""Sequential, Input and layer_depthwise_conv_2d."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import assert_same_bits
from support.layers import check_output, draw, isolate

import dwconv
from dwconv import DepthwiseConv2D, Input, Sequential, layer_depthwise_conv_2d
from dwconv.layers.inputs import SymbolicTensor


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


class Doubled:
    """A layer of someone else: no more than Sequential asks for."""

    def __call__(self, x: Any) -> Any:
        return x * 2

    def compute_output_shape(self, shape: Any) -> Any:
        return shape


def two() -> Sequential:
    """A built model of two layers, the second without bias and frozen."""
    return Sequential(
        [
            Input((8, 8, 3)),
            DepthwiseConv2D(3, activation="relu", depthwise_regularizer="l2"),
            DepthwiseConv2D(3, depth_multiplier=2, use_bias=False, trainable=False),
        ]
    )


# ---- Input ---------------------------------------------------------------------------------------


def test_input() -> None:
    x = Input((8, None, 3.0), batch_size=2, dtype="uint8")
    assert (x.shape, x.dtype, x.name, x.ndim) == ((2, 8, None, 3), "uint8", "input_layer", 4)
    assert Input(batch_shape=(None, 8, 8, 3)).name == "input_layer_1"
    assert Input((1,), name="mine").dtype == "float32"
    assert Input((1,), dtype="mixed_float16").dtype == "float16"


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"shape": (1, 1, 1), "batch_shape": (1, 1, 1, 1)},
        {"batch_shape": (1, 1, 1, 1), "batch_size": 1},
        {"shape": 3},
        {"shape": (1, -1)},
        {"shape": (1,), "dtype": "complex64"},
        {"shape": (1,), "dtype": "no such"},
        {"shape": (1,), "name": "a/b"},
    ],
)
def test_bad_inputs(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected .*; received"):
        Input(**arguments)


def test_a_layer_called_on_a_symbolic_input_is_built_and_gives_a_shape() -> None:
    layer = DepthwiseConv2D(3, depth_multiplier=2, dtype="float64", name="dw")
    y = layer(Input((8, None, 3)))
    assert y == SymbolicTensor((None, 6, None, 6), np.dtype("float64"), "dw")
    assert layer.built
    with pytest.raises(ValueError, match="expected 3 channels"):
        layer(Input((8, 8, 4)))
    with pytest.raises(TypeError, match="expected an array with data"):
        np.asarray(y)


# ---- Sequential ----------------------------------------------------------------------------------


def test_computes_layer_by_layer() -> None:
    model = two()
    x = draw(2, 8, 8, 3)
    first, second = model.layers
    between = first(x)
    check_output(first, x, between)
    check_output(second, between, model(x))
    assert model(x).shape == model.compute_output_shape(x.shape) == (2, 4, 4, 6)
    assert model.output_shape == (None, 4, 4, 6)
    assert model.input_shape == (None, 8, 8, 3)


def test_one_layer_needs_no_list() -> None:
    layer = DepthwiseConv2D(3)
    assert Sequential(layer).layers == [layer]
    assert Sequential(Input((8, 8, 3))).input_shape == (None, 8, 8, 3)


@pytest.mark.parametrize("how", ["Input", "input_shape", "build", "call", "list", "symbolic"])
def test_building(how: str) -> None:
    declared = {"input_shape": (8, 8, 3)} if how == "input_shape" else {}
    layers: list[Any] = [DepthwiseConv2D(3, **declared), Doubled(), DepthwiseConv2D(2)]
    if how == "Input":
        layers.insert(0, Input((8, 8, 3)))
    model = Sequential(layers)
    assert model.built == (how in ("Input", "input_shape"))
    x = draw(1, 8, 8, 3)
    if how == "build":
        model.build((None, 8, 8, 3))
    elif how == "call":
        model(x)
    elif how == "list":
        model(x.tolist())
    elif how == "symbolic":
        assert model(Input((8, 8, 3))).shape == (None, 5, 5, 3)
    assert model.built
    assert [w.shape for w in model.weights] == [(3, 3, 3, 1), (3,), (2, 2, 3, 1), (3,)]
    assert model.count_params() == 27 + 3 + 12 + 3
    first, _, last = model.layers
    assert_same_bits(model(x), last(2 * first(x)), how)


def test_layers_added_later_are_built_at_once() -> None:
    model = Sequential([DepthwiseConv2D(3, input_shape=(8, 8, 3))])
    layer = DepthwiseConv2D(3, weights=[np.ones((3, 3, 3, 1)), np.zeros(3)])
    model.add(layer)
    assert (layer.get_weights()[0] == 1).all()
    assert layer.input_shape == (None, 6, 6, 3)


def test_what_cannot_be_added_changes_nothing() -> None:
    model = Sequential([Input((4, 4, 3)), DepthwiseConv2D(3, name="a")])
    unbuilt = DepthwiseConv2D(3)
    for thing, message in (
        (unbuilt, "makes an empty output"),
        (DepthwiseConv2D(1, name="a"), "received 'a' again"),
        (Input((4, 4, 3)), "at the start of a model only"),
        (3, "expected another layer"),
        (abs, "expected another layer"),
        (DepthwiseConv2D, "expected another layer"),
        (model, "expected another layer"),
    ):
        with pytest.raises(ValueError, match=message):
            model.add(thing)
    assert [layer.name for layer in model.layers] == ["a"]
    assert not unbuilt.built
    model.layers.clear()
    assert len(model.layers) == 1


def test_pop() -> None:
    model = two()
    last = model.layers[-1]
    assert model.pop() is last
    assert model.output_shape == (None, 6, 6, 3)
    model.pop()
    assert model.input_shape == (None, 8, 8, 3)  # the Input stays
    with pytest.raises(IndexError, match="expected a model with a layer"):
        model.pop()
    declared = Sequential([DepthwiseConv2D(3, input_shape=(8, 8, 3))])
    declared.pop()
    with pytest.raises(AttributeError, match="call build first"):
        _ = declared.input_shape


def test_a_model_without_layers_or_shape_says_so() -> None:
    with pytest.raises(ValueError, match="expected a model with a layer"):
        Sequential()(draw(1, 8, 8, 3))
    with pytest.raises(ValueError, match="expected an input_shape"):
        Sequential([DepthwiseConv2D(3)]).build()
    model = Sequential([DepthwiseConv2D(3), DepthwiseConv2D(3)])
    with pytest.raises(ValueError, match="makes an empty output"):
        model.build((None, 4, 4, 3))
    assert not any(layer.built for layer in model.layers)


@pytest.mark.parametrize("dtype", ["float32", "float16", "mixed_float16", "mixed_bfloat16"])
def test_the_input_in_a_config_has_the_dtype_that_the_first_layer_computes_in(dtype: str) -> None:
    model = Sequential([DepthwiseConv2D(1, dtype=dtype)])
    model.build((None, 4, 4, 1))
    assert model.get_config()["layers"][0]["config"]["dtype"] == dtype.removeprefix("mixed_")


def test_models_in_models_and_their_names() -> None:
    inner = Sequential([DepthwiseConv2D(2)])
    model = Sequential([Input((8, 8, 3)), inner, DepthwiseConv2D(2)])
    assert (inner.name, model.name) == ("sequential", "sequential_1")
    assert inner.built
    assert Sequential(name="mine").name == "mine"
    assert len(model.get_weights()) == 4
    assert model(draw(1, 8, 8, 3)).shape == (1, 6, 6, 3)


def test_weights() -> None:
    model = two()
    x = draw(1, 8, 8, 3)
    model(x)
    values = [draw(*w.shape, seed=i) for i, w in enumerate(model.get_weights())]
    model.set_weights(values)
    for actual, expected in zip(model.get_weights(), values, strict=True):
        assert_same_bits(actual, expected, model)
    first, second = model.layers
    check_output(second, first(x), model(x))
    assert len(model.trainable_weights) == 2
    assert len(model.non_trainable_weights) == 1
    for bad, message in (
        (values[:2], "expected a list of 3 arrays; received 2"),
        ([values[0] * 2, values[1], values[0]], r"the kernel: expected shape \(3, 3, 3, 2\)"),
    ):
        with pytest.raises(ValueError, match=message):
            model.set_weights(bad)
        assert_same_bits(model.get_weights()[0], values[0], "put back")


def test_trainable_losses_constraints() -> None:
    model = Sequential(
        [
            Input((4, 4, 1)),
            DepthwiseConv2D(
                1,
                depthwise_regularizer=lambda w: w.sum(),
                depthwise_constraint="non_neg",
                weights=[np.full((1, 1, 1, 1), -2.0), [0]],
            ),
            Doubled(),
        ]
    )
    assert model.trainable
    assert model.losses == [-2]
    model.apply_constraints()
    assert model.losses == [0]
    model.trainable = False
    assert model.layers[0].trainable is False
    assert not model.trainable
    assert model.losses == []
    with pytest.raises(ValueError, match="trainable"):
        model.trainable = "no"


def test_summary() -> None:
    lines: list[str] = []
    model = Sequential(
        [Input((8, 8, 3)), DepthwiseConv2D(3), Doubled(), DepthwiseConv2D(3, name="b")], name="m"
    )
    model.layers[2].trainable = False
    model.summary(print_fn=lines.append)
    assert lines == [
        """\
Model: "m"
┏━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━┳━━━━━━━━━┓
┃ Layer (type)                       ┃ Output Shape    ┃ Param # ┃
┡━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━╇━━━━━━━━━┩
│ depthwise_conv2d (DepthwiseConv2D) │ (None, 6, 6, 3) │      30 │
├────────────────────────────────────┼─────────────────┼─────────┤
│ doubled (Doubled)                  │ (None, 6, 6, 3) │       0 │
├────────────────────────────────────┼─────────────────┼─────────┤
│ b (DepthwiseConv2D)                │ (None, 4, 4, 3) │      30 │
└────────────────────────────────────┴─────────────────┴─────────┘
 Total params: 60 (240.00 B)
 Trainable params: 30 (120.00 B)
 Non-trainable params: 30 (120.00 B)"""
    ]
    lines.clear()
    Sequential([DepthwiseConv2D(3)]).summary(print_fn=lines.append)
    assert "│ ?            │ 0 (unbuilt) │" in lines[0]


def test_config_round_trip() -> None:
    model = two()
    model.add(Sequential([DepthwiseConv2D(1)], name="inner"))
    config = model.get_config()
    assert [entry["class_name"] for entry in config["layers"]] == [
        "InputLayer",
        "DepthwiseConv2D",
        "DepthwiseConv2D",
        "Sequential",
    ]
    assert config["layers"][2]["build_config"] == {"input_shape": (None, 6, 6, 3)}
    again = Sequential.from_config(json.loads(json.dumps(config)))
    assert json.dumps(again.get_config()) == json.dumps(config)
    again.set_weights(model.get_weights())
    x = draw(1, 8, 8, 3)
    assert_same_bits(again(x), model(x), config)


def test_configs_of_keras_2() -> None:
    dw = {
        "class_name": "DepthwiseConv2D",
        "config": {
            "name": "dw",
            "kernel_size": [3, 3],
            "activation": "hard_sigmoid",
            "batch_input_shape": [None, 8, 8, 3],
        },
    }
    for config in ([dw], {"name": "m", "layers": [dw]}):  # 2.2.4: a list, or without InputLayer
        model = Sequential.from_config(config)
        assert model.built
        assert model.layers[0].activation == dwconv.activations.hard_sigmoid_k2
    start = {
        "class_name": "InputLayer",
        "config": {"batch_input_shape": [None, 8, 8, 3], "dtype": "float32", "name": "in"},
    }
    dw["config"] = {"name": "dw", "kernel_size": [3, 3], "activation": "hard_sigmoid", "groups": 1}
    model = Sequential.from_config({"name": "m", "layers": [start, dw]})
    assert (model.name, model.output_shape) == ("m", (None, 6, 6, 3))


def test_layers_of_others_in_configs() -> None:
    with pytest.raises(ValueError, match="expected layers with get_config"):
        Sequential([Doubled()]).get_config()
    config = {"layers": [{"module": "m", "class_name": "Doubled", "config": {}}]}
    with pytest.raises(ValueError, match=r"class_name: expected one of .* received 'Doubled'"):
        Sequential.from_config(config)
    model = Sequential.from_config(config, {"Doubled": lambda config: Doubled()})
    assert isinstance(model.layers[0], Doubled)
    for bad in (3, {}, {"layers": 3}, {"layers": [3]}, {"layers": [{"class_name": "InputLayer"}]}):
        with pytest.raises(ValueError, match=r"expected a .*; received"):
            Sequential.from_config(bad)  # type: ignore[arg-type]
    for kind in ("InputLayer", "DepthwiseConv2D", "DepthwiseConv1D"):  # a list, as a model has
        with pytest.raises(ValueError, match=rf"config of '{kind}': expected a dict; received \["):
            Sequential.from_config({"layers": [{"class_name": kind, "config": [1, 2]}]})
    assert not Sequential.from_config(
        {"layers": [{"class_name": "Sequential", "config": []}]}
    ).weights


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))]
)
def test_copies_share_nothing(duplicate: Any) -> None:
    model = two()
    x = draw(1, 8, 8, 3)
    y = model(x)
    twin = duplicate(model)
    assert_same_bits(twin(x), y, "twin")
    twin.set_weights([np.zeros(w.shape) for w in twin.weights])
    twin.pop()
    assert_same_bits(model(x), y, "original")


# ---- layer_depthwise_conv_2d ---------------------------------------------------------------------


def test_the_documents_order() -> None:
    parameters = list(inspect.signature(layer_depthwise_conv_2d).parameters.values())
    # The R document's usage section, word by word; dilation_rate is by keyword.
    document = """object kernel_size strides padding depth_multiplier data_format activation
        use_bias depthwise_initializer bias_initializer depthwise_regularizer bias_regularizer
        activity_regularizer depthwise_constraint bias_constraint input_shape batch_input_shape
        batch_size dtype name trainable weights"""
    names = [*document.split(), "dilation_rate", "num_threads"]
    names += ["allow_strided_dilation", "unknown"]
    assert [p.name for p in parameters] == names
    assert parameters[-2].kind is inspect.Parameter.KEYWORD_ONLY
    # Whatever the layer takes, the function takes.
    layer = inspect.signature(DepthwiseConv2D).parameters
    assert {p.name for p in parameters} - {"object"} == set(layer)


def test_none_means_every_default() -> None:
    count = len(inspect.signature(layer_depthwise_conv_2d).parameters) - 6
    layer = layer_depthwise_conv_2d(None, 3, *[None] * count, dilation_rate=None, num_threads=None)
    assert layer.get_config() == {**DepthwiseConv2D(3).get_config(), "name": layer.name}


def test_positional_arguments_reach_the_layer() -> None:
    layer = layer_depthwise_conv_2d(
        None, [3.0, 2.0], [1.0, 1.0], "same", 2.0, "channels_last", "relu", False, dilation_rate=2
    )
    expected = DepthwiseConv2D(
        (3, 2), 1, "same", 2, activation="relu", use_bias=False, dilation_rate=2
    )
    assert layer.same_config(expected)


def test_object() -> None:
    x = draw(1, 8, 8, 3)
    model = Sequential([Input((8, 8, 3))])
    assert layer_depthwise_conv_2d(model, 3) is model
    assert layer_depthwise_conv_2d(model, 3).output_shape == (None, 4, 4, 3)

    weights = [draw(3, 3, 3, 1), draw(3)]
    y = layer_depthwise_conv_2d(x, 3, weights=weights)
    assert_same_bits(y, dwconv.depthwise_conv2d(x, *weights), "array")
    assert_same_bits(layer_depthwise_conv_2d(x.tolist(), 3, weights=weights), y, "list")
    assert layer_depthwise_conv_2d(Input((8, 8, 3)), 3).shape == (None, 6, 6, 3)

    first = DepthwiseConv2D(3, input_shape=(8, 8, 3))
    both = layer_depthwise_conv_2d(first, 2)
    assert isinstance(both, Sequential)
    assert both.layers[0] is first
    assert both.output_shape == (None, 5, 5, 3)
    assert len(layer_depthwise_conv_2d(Doubled(), 2).layers) == 2
    with pytest.raises(TypeError, match="x: expected an array; received a str"):
        layer_depthwise_conv_2d("image.png", 3)


def test_calls_as_in_keras() -> None:
    x = draw(1, 8, 8, 3)
    model = Sequential([DepthwiseConv2D(3), DepthwiseConv2D(3, activation="relu")])
    y = model(x)
    for again in (model(inputs=x), model(x, training=False), model(x=x, training=True)):
        assert_same_bits(again, y, "call")
    for arguments, keywords in (((), {}), ((x,), {"x": x}), ((x, x), {})):
        with pytest.raises(TypeError):
            model(*arguments, **keywords)
