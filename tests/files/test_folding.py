"""`load_layers(path, fold=True)`: files of real Kerases, compared with what these computed, and
models that Keras 2 could have written, compared with the formulas.
"""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from support import ROOT, assert_close
from support.layers import isolate

import dwconv
from dwconv import DepthwiseConv2D, activations, load_layers
from dwconv.saving import Layers

DATA = ROOT / "tests" / "data"
KERASES = ["tf-2.15", "tf_keras-2", "keras-3.0", "keras-3.6", "keras-3"]
EPS = float(np.finfo(np.float32).eps)


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


def scatter(shape: tuple[int, ...], start: int) -> NDArray[Any]:
    """Numbers as tests/data/make.py makes them: from -0.75 to 0.8 in no order."""
    numbers = (start * 13 + np.arange(np.prod(shape, dtype=int)) * 37) % 101
    return (numbers / 64 - 0.75).reshape(shape)


# ---- files of real Kerases -----------------------------------------------------------------------


def content(name: str) -> bytes:
    return gzip.decompress((DATA / f"{name}.gz").read_bytes())


def blocks(keras: str, suffix: str, directory: Path, **options: Any) -> Layers:
    """The layers of `blocks`, which tests/data/make.py made."""
    path = directory / f"blocks.{suffix}"
    path.write_bytes(content(f"{keras}-blocks.{suffix}"))
    config = content(f"{keras}-blocks.json").decode() if suffix == "weights.h5" else None
    return load_layers(path, config, **options)


HARD_SWISH = ("tf.__operators__.add", "v3_relu", "tf.math.multiply", "v3_last")


@pytest.mark.parametrize("suffix", ["h5", "keras", "weights.h5"])
@pytest.mark.parametrize("keras", KERASES)
def test_blocks(keras: str, suffix: str, tmp_path: Path) -> None:
    layers = blocks(keras, suffix, tmp_path, fold=True)
    assert layers.folded == {
        "v1": ("v1_norm", "v1_relu"),
        "v1s": ("v1s_norm", "v1s_relu"),
        "v2": ("v2_norm", "v2_relu"),
        "v3": ("v3_norm", *(["v3_last"] if keras.startswith("keras-3") else HARD_SWISH)),
        "b0": ("b0_norm", "b0_swish"),
        "inner/deep": ("inner/deep_norm", "inner/deep_relu"),
        "last": ("last_norm",),
    }
    assert layers.unfolded == {
        "twice": "'twice' goes to 'twice_norm' (BatchNormalization) and 'twice_add' (Add)",
        "shared": "'shared' is called 2 times",
        "last": "'last_norm' is an output of the model",
    } or layers.unfolded == {
        "twice": "'twice' goes to 'twice_add' (Add) and 'twice_norm' (BatchNormalization)",
        "shared": "'shared' is called 2 times",
        "last": "'last_norm' is an output of the model",
    }
    assert {name: layer.activation.name for name, layer in layers.items()} == {
        **{"v1": "relu", "v1s": "relu", "v2": "relu", "v3": "hard_silu", "b0": "silu"},
        **{"inner/deep": "leaky_relu", "twice": "linear", "shared": "linear", "last": "linear"},
    }
    # What is part of another layer is not skipped; what is not is.
    assert not set(layers.skipped) & {path for paths in layers.folded.values() for path in paths}
    assert {"twice_norm", "last_relu", "v2_expand_norm", "b0_drop"} <= set(layers.skipped)
    plain = blocks(keras, suffix, tmp_path)
    assert list(plain) == list(layers)
    assert plain.folded == plain.unfolded == {}
    assert set(plain.skipped) >= {"v1_norm", "v1_relu", "inner/deep_norm"}
    for name in ("twice", "shared"):
        np.testing.assert_equal(layers[name].get_weights(), plain[name].get_weights())


@pytest.mark.parametrize("suffix", ["h5", "keras", "weights.h5"])
@pytest.mark.parametrize("keras", KERASES)
def test_output_of_blocks(keras: str, suffix: str, tmp_path: Path) -> None:
    layers = blocks(keras, suffix, tmp_path, fold=True)
    outputs = json.loads(content(f"{keras}-blocks-outputs.json"))["y"]
    assert set(outputs) == set(layers.folded)
    for name, y in outputs.items():
        layer = layers[name]
        size = {"v1": 6, "v1s": 7}.get(name, 3)
        x = scatter((1, size, size, layer.kernel.shape[2]), 5).astype(np.float32)
        assert_close(layer(x), np.array(y), blocks_bound(layer, x), (keras, suffix, name))


def blocks_bound(layer: DepthwiseConv2D, x: NDArray[Any]) -> NDArray[Any]:
    """What two computations of a block in float32 may differ by.

    All numbers are below 0.82, gamma without a scale is 1, and variance + epsilon is at least 0.25:
    the bias, the mean and beta together add at most (0.82 + 0.82) * 2 + 0.82 < 4.2 to the sum of
    the magnitudes of the taps. Each of the 9 taps, the bias and, in Keras, some 8 operations of the
    normalization round once; so does each weight of ours. No activation has a slope above 1.5
    (hard_silu's at 3) and an error of more than 8 eps.
    """
    options = {"strides": layer.strides, "padding": layer.padding}
    size = dwconv.reference.depthwise_conv2d(abs(x), abs(layer.kernel), **options) + 4.2
    return (1.5 * (2 * (9 + 2) + 8 + 2) + 8) * EPS * size


def test_an_architecture_alone(tmp_path: Path) -> None:
    path = tmp_path / "blocks.json"
    path.write_bytes(content("keras-3-blocks.json"))
    layers = load_layers(path, fold=True)
    assert layers.folded == {}
    assert layers.unfolded["v1"].startswith("'v1_norm' (BatchNormalization): expected a file with")
    assert not layers["v1"].built


# ---- models that Keras 2 could have written ------------------------------------------------------

CHANNELS = 3
NORM = ("gamma", "beta", "moving_mean", "moving_variance")


def item(kind: str, name: str, source: Any = None, **config: Any) -> dict[str, Any]:
    """A layer; `source`: of a functional model, the layers that it is called with."""
    made = {"class_name": kind, "config": {"name": name, **config}, "name": name}
    if source is not None:
        sources = source if isinstance(source, list) else [source]
        made["inbound_nodes"] = [[[each, 0, 0, {}] for each in sources]] if sources else []
    return made


def depthwise(source: Any = None, **config: Any) -> dict[str, Any]:
    return item("DepthwiseConv2D", "dw", source, **{"kernel_size": [2, 2], **config})


def norm(source: Any = None, name: str = "bn", **config: Any) -> dict[str, Any]:
    return item("BatchNormalization", name, source, **{"axis": [3], "epsilon": 0.01, **config})


def sequential(*layers: dict[str, Any]) -> dict[str, Any]:
    return {"class_name": "Sequential", "config": {"name": "model", "layers": list(layers)}}


def functional(*layers: dict[str, Any], outputs: tuple[str, ...] = ()) -> dict[str, Any]:
    last = outputs or (layers[-1]["name"],)
    config = {
        "name": "model",
        "layers": [item("InputLayer", "in", []), *layers],
        "input_layers": [["in", 0, 0]],
        "output_layers": [[name, 0, 0] for name in last],
    }
    return {"class_name": "Functional", "config": config}


def weights_of(layer: dict[str, Any], number: int) -> dict[str, NDArray[Any]]:
    """Numbers for a layer, by the names that Keras 2 gives weights."""
    config, kind = layer["config"], layer["class_name"]
    if kind == "DepthwiseConv2D":
        names = ["depthwise_kernel", "bias"][: 1 + config.get("use_bias", True)]
        shapes = {"depthwise_kernel": (*config["kernel_size"], CHANNELS, 1), "bias": (CHANNELS,)}
        found = {name: scatter(shapes[name], number + i) for i, name in enumerate(names)}
    elif kind.startswith(("BatchNorm", "SyncBatchNorm")):
        left_out = {"gamma": "scale", "beta": "center"}
        names = [name for name in NORM if config.get(left_out.get(name, ""), True)]
        found = {name: scatter((CHANNELS,), number + i) for i, name in enumerate(names)}
        found["moving_variance"] = found["moving_variance"] + 1
    else:
        return {}
    dtype = "float16" if config.get("dtype") == "float16" and "kernel_size" in config else "f4"
    return {name: array.astype(dtype) for name, array in found.items()}


def write(path: Path, model: dict[str, Any], **changed: dict[str, NDArray[Any]]) -> Path:
    """The model as Keras 2 writes it, with weights; `changed`: those of some layers."""
    with h5py.File(path, "w") as file:
        file.attrs.update(model_config=json.dumps(model).encode(), keras_version="2.11.0")
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [one["name"].encode() for one in model["config"]["layers"]]
        for number, layer in enumerate(model["config"]["layers"]):
            name = layer["name"]
            weights = changed.get(name, weights_of(layer, number))
            inner = group.create_group(name)
            inner.attrs["weight_names"] = [f"{name}/{leaf}:0".encode() for leaf in weights]
            for leaf, array in weights.items():
                inner[f"{name}/{leaf}:0"] = array
    return path


def whole(*layers: dict[str, Any]) -> dict[str, Any]:
    """The model of these layers: in a row if they do not say what they are called with."""
    return (functional if "inbound_nodes" in layers[0] else sequential)(*layers)


def fold(tmp_path: Path, model: dict[str, Any], **changed: Any) -> Layers:
    return load_layers(write(tmp_path / "m.h5", model, **changed), fold=True)


def check(tmp_path: Path, model: dict[str, Any], *after: Any) -> Layers:
    """That `dw` computes its convolution and then what is in `after`, in float64: the number of a
    normalization in the model, or a function.
    """
    layers = fold(tmp_path, model)
    layer, plain = layers["dw"], load_layers(tmp_path / "m.h5")["dw"]
    first = layer.data_format == "channels_first"
    x = scatter((1, CHANNELS, 5, 4) if first else (1, 5, 4, CHANNELS), 3).astype(np.float32)
    kernel, *bias = plain.get_weights()
    y = dwconv.reference.depthwise_conv2d(x, kernel, *bias, data_format=layer.data_format)
    for step in after:
        if callable(step):
            y = step(y)
            continue
        given = model["config"]["layers"][step]
        weights = {"gamma": np.ones(CHANNELS), "beta": np.zeros(CHANNELS)}
        weights.update(weights_of(given, step))
        shape = (CHANNELS, 1, 1) if first else (CHANNELS,)
        gamma, beta, mean, variance = (weights[name].astype(float).reshape(shape) for name in NORM)
        y = gamma * (y - mean) / np.sqrt(variance + given["config"]["epsilon"]) + beta
    # Sums of 4 taps and a bias of numbers below 0.82, each normalization doubling them at most and
    # adding its mean and beta: below (4 * 0.82**2 + 0.82) * 4 + 10. Each step rounds once.
    assert_close(layer(x), y, np.full(y.shape, (4 + 4) * EPS * 25), (layers.folded, after))
    return layers


def relu(y: NDArray[Any]) -> NDArray[Any]:
    return np.maximum(y, 0)


@pytest.mark.parametrize(
    "kind",
    [
        "BatchNormalization",
        "BatchNormalizationV1",
        "BatchNormalizationV2",
        "SyncBatchNormalization",
        "SyncBatchNorm",
    ],
)
def test_classes_of_normalizations(kind: str, tmp_path: Path) -> None:
    model = whole(depthwise(), {**norm(), "class_name": kind})
    assert check(tmp_path, model, 1).folded == {"dw": ("bn",)}


@pytest.mark.parametrize(
    "config",
    [
        {"scale": False},
        {"center": False},
        {"scale": False, "center": False},
        {"axis": -1},
        {"axis": 3},
        {"axis": [-1]},
        {"mode": 0},
        {"dtype": "float32"},
        {"trainable": False},
        {"epsilon": 1e-5},
        {"momentum": 0.5, "fused": True, "renorm": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("use_bias", [True, False])
def test_configs_of_normalizations(config: dict[str, Any], use_bias: bool, tmp_path: Path) -> None:
    model = whole(depthwise(use_bias=use_bias), norm(**config))
    layers = check(tmp_path, model, 1)
    assert layers.folded == {"dw": ("bn",)}
    assert layers.unfolded == {}
    assert layers.skipped == {}


@pytest.mark.parametrize("axis", [1, -3, [1]])
def test_channels_first(axis: Any, tmp_path: Path) -> None:
    model = whole(depthwise(data_format="channels_first"), norm(axis=axis))
    assert check(tmp_path, model, 1).folded == {"dw": ("bn",)}


@pytest.mark.parametrize(
    ("layer", "function"),
    [
        (item("Activation", "act", activation="relu"), relu),
        (item("Activation", "act", activation="linear"), lambda y: y),
        (item("Activation", "act", activation="relu6"), lambda y: np.clip(y, 0, 6)),
        (
            item("Activation", "act", activation="hard_sigmoid"),
            lambda y: np.clip(y / 5 + 0.5, 0, 1),
        ),
        (item("ReLU", "act", max_value=0.5), lambda y: np.clip(y, 0, 0.5)),
        (item("ReLU", "act", max_value=None, negative_slope=0.0, threshold=0.0), relu),
        (item("LeakyReLU", "act", alpha=0.25), lambda y: np.where(y < 0, y / 4, y)),
        (item("ELU", "act", alpha=1.0), lambda y: np.where(y < 0, np.expm1(y), y)),
        (item("ThresholdedReLU", "act", theta=0.5), lambda y: np.where(y > 0.5, y, 0)),
        (item("TFOpLambda", "act", function="nn.relu6"), lambda y: np.clip(y, 0, 6)),
        (item("TFOpLambda", "act", function="math.tanh"), np.tanh),
        (item("TFOpLambda", "act", function="nn.leaky_relu"), lambda y: np.where(y < 0, y / 5, y)),
    ],
    ids=lambda value: str(value).partition(" at 0x")[0],  # pytest -n: no address
)
@pytest.mark.parametrize("normalized", [True, False])
def test_activations(
    layer: dict[str, Any], function: Any, normalized: bool, tmp_path: Path
) -> None:
    between = [norm()] if normalized else []
    layers = check(tmp_path, whole(depthwise(), *between, layer), *[1] * normalized, function)
    assert layers.folded == {"dw": (*["bn"] * normalized, "act")}
    assert layers.unfolded == layers.skipped == {}


def test_arguments_of_functions(tmp_path: Path) -> None:
    act = {
        **item("TFOpLambda", "act", function="nn.leaky_relu"),
        "inbound_nodes": [["dw", 0, 0, {"alpha": 0.5, "name": None}]],
    }
    check(tmp_path, whole(depthwise("in"), act), lambda y: np.where(y < 0, y / 2, y))
    act["inbound_nodes"][0][3]["other"] = 1
    assert fold(tmp_path, whole(depthwise("in"), act)).unfolded == {
        "dw": "'act' (TFOpLambda) is called with other=1"
    }


def test_two_normalizations_and_dropout(tmp_path: Path) -> None:
    model = whole(
        depthwise(),
        item("Dropout", "drop", rate=0.5),
        norm(),
        norm(name="bn2", scale=False),
        item("GaussianNoise", "noise"),
        item("ReLU", "act"),
        item("Dropout", "drop2", rate=0.5),
        item("Flatten", "flat"),
    )
    layers = check(tmp_path, model, 2, 3, relu)
    assert layers.folded == {"dw": ("drop", "bn", "bn2", "noise", "act")}
    assert layers.skipped == {"drop2": "Dropout", "flat": "Flatten"}
    assert layers.unfolded == {}


def test_multiplied_by_its_sigmoid(tmp_path: Path) -> None:
    """EfficientNet's swish before Keras had one, either way round."""

    def sigmoid(y: NDArray[Any]) -> NDArray[Any]:
        return 1 / (1 + np.exp(-y))

    for factors in (["bn", "act"], ["act", "bn"]):
        model = whole(
            depthwise("in"),
            norm("dw"),
            item("Activation", "act", "bn", activation="sigmoid"),
            item("Multiply", "product", factors),
        )
        layers = check(tmp_path, model, 2, lambda y: y * sigmoid(y))
        assert layers.folded == {"dw": ("bn", "act", "product")}
    # Keras 2's hard_sigmoid has another slope than that of hard_silu.
    model["config"]["layers"][3]["config"]["activation"] = "hard_sigmoid"
    assert check(tmp_path, model, 2).folded == {"dw": ("bn",)}
    model["config"]["layers"][3]["config"]["activation"] = "sigmoid"
    model["config"]["output_layers"].append(["act", 0, 0])
    layers = check(tmp_path, model, 2)
    assert layers.unfolded == {"dw": "'bn' goes to 'act' (Activation) and 'product' (Multiply)"}


REFUSED: dict[str, tuple[list[dict[str, Any]], str]] = {
    "axis": (
        [depthwise(), norm(axis=[1])],
        r"'bn' \(BatchNormalization\) has the axis 1; the channels have 3",
    ),
    "axes": ([depthwise(), norm(axis=[1, 3])], r"has the axis \[1, 3\]"),
    "first": (
        [depthwise(data_format="channels_first"), norm()],
        r"has the axis 3; the channels have 1",
    ),
    "mode": ([depthwise(), norm(mode=1)], "has mode=1"),
    "renorm": ([depthwise(), norm(renorm=True)], "has renorm=True"),
    "dtype": ([depthwise(), norm(dtype="float64")], "computes in float64, the layer in float32"),
    "policy": ([depthwise(), norm(dtype="float128")], r"'bn' .*: dtype: expected one of"),
    "scale": ([depthwise(), norm(scale="no")], "'bn' .*: scale: expected"),
    "epsilon": ([depthwise(), norm(epsilon="tiny")], "'bn' .*: epsilon: expected a finite number"),
    "active": (
        [depthwise(activation="relu"), norm()],
        r"'bn' \(BatchNormalization\) follows the activation relu",
    ),
    "user": (
        [depthwise(), {**norm(), "module": "mine"}],
        r"'dw' is followed by 'bn' \(BatchNormalization\)",
    ),
    "between": (
        [depthwise(), item("ZeroPadding2D", "pad", padding=1), norm()],
        r"'dw' is followed by 'pad' \(ZeroPadding2D\)",
    ),
    "weights": (
        [depthwise(), item("PReLU", "act")],
        r"'dw' is followed by 'act' \(PReLU\)",
    ),
    "unknown": (
        [depthwise(), item("Activation", "act", activation="mine")],
        r"'act' \(Activation\): .*'mine'",
    ),
    "nothing": ([depthwise()], "'dw' is an output of the model"),
    "twice": (
        [depthwise("in"), norm("dw"), item("Add", "sum", ["dw", "bn"])],
        r"'dw' goes to 'bn' \(BatchNormalization\) and 'sum' \(Add\)",
    ),
    "class": ([depthwise("in"), norm("dw"), item("Add", "x", "bn")], "its class, 'Mine', may call"),
    "model": (
        [depthwise(), {**norm(), "config": {"name": "bn", "layers": []}}],
        r"'bn' \(BatchNormalization\): expected a layer; received a model",
    ),
    "list": (
        [depthwise(), {**item("Activation", "act"), "config": []}],
        r"'dw' is followed by 'act' \(Activation\)",
    ),
    "wrapped": (
        [item("TimeDistributed", "td", layer=depthwise()), norm()],
        "it is within a TimeDistributed",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_not_folded(case: str, tmp_path: Path) -> None:
    layers, reason = REFUSED[case]
    model = whole(*layers)
    if case == "class":
        model["class_name"] = "Mine"
    changed = {"td": weights_of(depthwise(), 0)} if case == "wrapped" else {}
    path = write(tmp_path / "m.h5", model, **changed)
    plain, found = load_layers(path), load_layers(path, fold=True)
    assert found.folded == {}
    assert found.skipped == plain.skipped
    (name,) = found.unfolded
    assert re.search(reason, found.unfolded[name])
    assert list(found) == list(plain) == [name]
    np.testing.assert_equal(found[name].get_weights(), plain[name].get_weights())
    assert found[name].get_config() == plain[name].get_config()


def test_outputs_of_the_model(tmp_path: Path) -> None:
    layers = [depthwise("in"), norm("dw"), item("ReLU", "act", "bn")]
    assert fold(tmp_path, functional(*layers, outputs=("act", "dw"))).unfolded == {
        "dw": "'dw' is an output of the model"
    }
    found = check(tmp_path, functional(*layers, outputs=("act", "bn")), 2)
    assert found.folded == {"dw": ("bn",)}
    assert found.unfolded == {"dw": "'bn' is an output of the model"}


@pytest.mark.parametrize(("who", "said"), [("bn", "bn"), ("dw", "dw")])
def test_called_in_training(who: str, said: str, tmp_path: Path) -> None:
    layers = [depthwise("in"), norm("dw")]
    node = layers[who == "bn"]["inbound_nodes"][0][0]
    node[3] = {"training": False, "mask": None}
    assert fold(tmp_path, functional(*layers)).folded == {"dw": ("bn",)}
    node[3] = {"training": True}
    found = fold(tmp_path, functional(*layers))
    assert found.folded == {}
    assert f"'{said}'" in found.unfolded["dw"]
    assert "is called with training=True" in found.unfolded["dw"]


def test_shared_layers(tmp_path: Path) -> None:
    """A shared normalization is not folded. A shared activation is, and stays for other calls."""
    two = {**depthwise("in"), "name": "dw2", "config": {**depthwise()["config"], "name": "dw2"}}
    act = {**item("ReLU", "act"), "inbound_nodes": [[["dw", 0, 0, {}]], [["dw2", 0, 0, {}]]]}
    total = {**item("Add", "sum"), "inbound_nodes": [[["act", 0, 0, {}], ["act", 1, 0, {}]]]}
    found = check(tmp_path, functional(depthwise("in"), two, act, total), relu)
    assert found.folded == {"dw": ("act",), "dw2": ("act",)}
    assert found.skipped == {"act": "ReLU", "sum": "Add"}
    shared = {**norm(), "inbound_nodes": act["inbound_nodes"]}
    total["inbound_nodes"] = [[["bn", 0, 0, {}], ["bn", 1, 0, {}]]]
    found = fold(tmp_path, functional(depthwise("in"), two, shared, total))
    assert found.folded == {}
    assert found.unfolded["dw"] == "'bn' (BatchNormalization) is called 2 times"


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        ({}, "expected 4 weights; received 0"),
        ({"gamma": np.ones(3, "f4")}, "expected 4 weights; received 1"),
        (dict.fromkeys(NORM, np.ones(4, "f4")), r"expected shape \(3,\); received \(4,\)"),
        (dict.fromkeys(NORM, -np.ones(3, "f4")), "variance: expected positive values"),
        (dict.fromkeys(NORM, np.full(3, np.inf, "f4")), "expected a folded"),
    ],
    ids=str,
)
def test_weights_that_do_not_fit(weights: Any, reason: str, tmp_path: Path) -> None:
    model = whole(depthwise(), norm())
    found = fold(tmp_path, model, bn=weights)
    assert found.folded == {}
    assert list(found.unfolded) == ["dw"]
    assert re.search(reason, found.unfolded["dw"]), found.unfolded
    plain = load_layers(tmp_path / "m.h5")["dw"]
    np.testing.assert_equal(found["dw"].get_weights(), plain.get_weights())


def test_a_dtype_that_cannot_hold_the_weights(tmp_path: Path) -> None:
    model = whole(depthwise(dtype="float16"), norm(dtype="float16"))
    assert fold(tmp_path, model).folded == {"dw": ("bn",)}
    large = dict.fromkeys(NORM, np.full(3, 1e4, "f4")) | {"moving_variance": np.zeros(3, "f4")}
    found = fold(tmp_path, model, bn=large)
    assert found.folded == {}
    assert "expected a folded kernel that float16 holds" in found.unfolded["dw"]


def test_names_in_messages_are_harmless(tmp_path: Path) -> None:
    bad = "\x1b[31m"
    found = fold(tmp_path, whole(depthwise(), item("Thing" + bad, "x" + bad)))
    assert "\x1b" not in found.unfolded["dw"]


def test_a_users_activation(tmp_path: Path) -> None:
    """What custom_objects name is set as it is."""
    model = whole(depthwise(), item("Activation", "act", activation="mine"))

    def mine(y: NDArray[Any]) -> NDArray[Any]:
        return y * 2

    path = write(tmp_path / "m.h5", model)
    layers = load_layers(path, fold=True, custom_objects={"mine": mine})
    assert layers.folded == {"dw": ("act",)}
    x = scatter((1, 5, 4, CHANNELS), 3).astype(np.float32)
    np.testing.assert_array_equal(layers["dw"](x), 2 * load_layers(path)["dw"](x))


def test_hard_sigmoid_is_that_of_the_keras(tmp_path: Path) -> None:
    model = whole(depthwise(), item("Activation", "act", activation="hard_sigmoid"))
    path = write(tmp_path / "m.h5", model)
    assert load_layers(path, fold=True)["dw"].activation == activations.hard_sigmoid_k2
    with h5py.File(path, "r+") as file:
        file.attrs["keras_version"] = "3.0.0"
    assert load_layers(path, fold=True)["dw"].activation == activations.hard_sigmoid
