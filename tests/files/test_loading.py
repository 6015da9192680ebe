"""load_layers: one layer that cannot be read hides no other; the user's objects; whose classes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from support.layers import isolate

import dwconv
from dwconv import DepthwiseConv2D, FormatError, load_layers
from dwconv.__main__ import main


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


def item(name: str, **arguments: Any) -> dict[str, Any]:
    config = {"name": name, "kernel_size": [1, 2], "use_bias": False, **arguments}
    return {"class_name": "DepthwiseConv2D", "config": config}


def model(*items: Any, name: str = "m", **arguments: Any) -> dict[str, Any]:
    config = {"name": name, "layers": list(items), **arguments}
    return {"class_name": "Model", "config": config}


def written(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


# ---- load ----------------------------------------------------------------------------------------

#: Documents of a layer alone, and how many depthwise layers are in them.
NOT_ONE_LAYER = {
    "an input": ({"class_name": "InputLayer", "config": {"name": "x"}}, 0),
    "our layer, which is an empty model": ({**model(model()), "dwconv": {"layer": {}}}, 0),
    "our layer, which is a model of two": (
        {**model(model(item("a"), item("b"))), "dwconv": {"layer": {}}},
        2,
    ),
}


@pytest.mark.parametrize("case", NOT_ONE_LAYER)
def test_a_layer_alone_that_is_not_one(case: str, tmp_path: Path) -> None:
    document, count = NOT_ONE_LAYER[case]
    path = written(tmp_path / "m.json", document)
    with pytest.raises(FormatError, match=f"expected one depthwise layer; received {count}"):
        dwconv.load(path)


# ---- on_error ------------------------------------------------------------------------------------

UNREADABLE: dict[str, tuple[dict[str, Any], str]] = {
    "strides and dilation of Keras 2": (
        {"strides": [2, 2], "dilation_rate": [2, 2], "groups": 1},
        "expected strides or dilation_rate to be 1",
    ),
    "activation": ({"activation": "mine"}, "activation: expected .* received 'mine'"),
    "initializer": (
        {
            "depthwise_initializer": {
                "module": "my.package",
                "class_name": "Mine",
                "config": {},
                "registered_name": "my>Mine",
            }
        },
        "depthwise_initializer: expected",
    ),
    "regularizer": ({"bias_regularizer": {"class_name": "Mine", "config": {}}}, "bias_regularizer"),
    "constraint": ({"depthwise_constraint": "mine"}, "depthwise_constraint: expected"),
    "policy": ({"dtype": {"class_name": "Mine", "config": {"name": "x"}}}, "dtype: expected"),
    "argument": ({"colour": 1}, "unexpected keyword argument 'colour'"),
    "value": ({"kernel_size": [3, "a"]}, "kernel_size: expected"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_one_layer_that_cannot_be_read(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, reason = UNREADABLE[case]
    document = model(item("first"), item("bad", **arguments), item("last"))
    path = written(tmp_path / "m.json", document)
    with pytest.raises(FormatError, match=f"layer 'bad': .*{reason}"):
        load_layers(path)
    with pytest.raises(FormatError, match=f"layer 'bad': .*{reason}"):
        dwconv.load(path)
    layers = load_layers(path, on_error="skip")
    assert list(layers) == ["first", "last"]
    assert list(layers.skipped) == ["bad"]
    assert layers.skipped["bad"].startswith("DepthwiseConv2D: layer 'bad': ")
    assert main(["inspect", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "not read bad, DepthwiseConv2D: layer 'bad': " in shown
    assert "first" in shown
    assert "last" in shown
    target = str(tmp_path / "last.safetensors")
    assert main(["convert", str(path), target, "--layer", "last"]) == 0
    assert main(["convert", str(path), target, "--layer", "bad"]) == 1
    assert "layer bad: DepthwiseConv2D: " in capsys.readouterr().err


def test_on_error_is_one_of_two(tmp_path: Path) -> None:
    path = written(tmp_path / "m.json", model(item("dw")))
    with pytest.raises(ValueError, match="on_error: expected 'raise' or 'skip'; received 'no'"):
        load_layers(path, on_error="no")  # type: ignore[arg-type]


def test_weights_of_one_layer_that_cannot_be_read(tmp_path: Path) -> None:
    """Missing, of another shape, of a type that is no number."""
    names = ("first", "none", "shape", "text", "last")
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file.attrs.update(model_config=json.dumps(model(*map(item, names))), keras_version="2.9.0")
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [name.encode() for name in names]
        for name in names:
            inner = group.create_group(name)
            weight = f"{name}/depthwise_kernel:0"
            inner.attrs["weight_names"] = [weight.encode()]
            array: Any = np.ones((1, 2, 3, 1) if name != "shape" else (2, 2, 3, 1), "f4")
            if name != "none":
                inner[weight] = array if name != "text" else array.astype("S4")
    with pytest.raises(FormatError, match="layer 'none': 'none': expected the dataset"):
        load_layers(path)
    layers = load_layers(path, on_error="skip")
    assert list(layers) == ["first", "last"]
    assert all(layer.built for layer in layers.values())
    assert "expected the dataset" in layers.skipped["none"]
    assert "expected shape (1, 2, any, 1); received (2, 2, 3, 1)" in layers.skipped["shape"]
    assert "expected numbers" in layers.skipped["text"]


def test_weights_alone_of_one_layer_that_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    by_place, by_name = tmp_path / "a.weights.h5", tmp_path / "b.h5"
    with h5py.File(by_place, "w") as file:
        for number, name in enumerate(("", "_1", "_2")):
            place = f"layers/depthwise_conv2d{name}/vars/0"
            options = {"compression": "lzf"} if number == 1 else {}
            file.create_dataset(place, data=np.ones((1, 2, 3, 1), "f4"), **options)
    with h5py.File(by_name, "w") as file:
        file.attrs["layer_names"] = [b"a", b"b"]
        for name in "ab":
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{name}/depthwise_kernel:0".encode()]
        file["a/a/depthwise_kernel:0"] = np.ones((1, 2, 3, 1), "f4")
    for path, bad, good in ((by_place, "depthwise_conv2d_1", 2), (by_name, "b", 1)):
        assert main(["inspect", str(path)]) == 0
        shown = capsys.readouterr().out
        assert f"not read {bad}: " in shown
        assert shown.count("(1, 2, 3, 1)") == good
        with pytest.raises(FormatError, match=r"expected (the filters|the dataset)"):
            DepthwiseConv2D((1, 2), use_bias=False, name=bad).load_weights(path)


# ---- custom_objects ------------------------------------------------------------------------------


def doubled(x: NDArray[Any]) -> NDArray[Any]:
    return x + x


class Mine(DepthwiseConv2D):
    """A layer of the user's with an argument of its own."""

    def __init__(self, kernel_size: Any, level: int = 0, **arguments: Any) -> None:
        super().__init__(kernel_size, **arguments)
        self.level = level


class Small(dwconv.initializers.Zeros):
    """An initializer of the user's."""


def test_custom_objects_stand_for_what_a_config_names(tmp_path: Path) -> None:
    """As in Keras: by class name, registered name, or the name of a function, as either generation
    writes them; before the built-in ones.
    """
    small = {"module": None, "class_name": "Small", "config": {}, "registered_name": "my>Small"}
    function = {
        "module": "builtins",
        "class_name": "function",
        "config": "doubled",
        "registered_name": "function",
    }
    document = model(
        item("a", activation="doubled"),
        item("b", activation=function, depthwise_initializer=small),
        item("c", activation="relu"),
    )
    path = written(tmp_path / "m.json", document)
    with pytest.raises(FormatError, match="layer 'a': activation: expected"):
        load_layers(path)
    for name in ("Small", "my>Small"):
        layers = load_layers(path, custom_objects={"doubled": doubled, name: Small})
        assert [layers[key].activation is doubled for key in "abc"] == [True, True, False]
        assert type(layers["b"].depthwise_initializer) is Small
    relu = load_layers(path, custom_objects={"doubled": doubled, "Small": Small, "relu": doubled})
    assert relu["c"].activation is doubled
    x = np.ones((1, 1, 2, 1), np.float32)
    layers["a"].build(x.shape)
    layers["a"].set_weights([np.ones((1, 2, 1, 1))])
    assert layers["a"](x) == 4


def test_custom_layers(tmp_path: Path) -> None:
    items = [
        {"class_name": "my>Mine", "config": {"name": "old", "kernel_size": 1, "level": 1}},
        {
            "module": "my",
            "class_name": "Mine",
            "registered_name": "my>Mine",
            "config": {"name": "new", "kernel_size": 1, "level": 2},
        },
        item("own"),
    ]
    path = written(tmp_path / "m.json", model(*items))
    assert list(load_layers(path)) == ["own"]
    for name in ("my>Mine", "Mine"):
        layers = load_layers(path, custom_objects={name: Mine})
        levels = {path: getattr(layer, "level", None) for path, layer in layers.items()}
        assert levels == {"old": 1, "new": 2, "own": None}
    layers = load_layers(path, custom_objects={"Mine": object, "DepthwiseConv2D": Mine})
    assert type(layers["own"]) is Mine
    assert sorted(layers.skipped) == ["new", "old"]


# ---- whose class ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "class_name", "registered", "is_keras"),
    [
        ("keras.layers", "DepthwiseConv2D", None, True),
        ("keras.src.layers.convolutional", "DepthwiseConv2D", "DepthwiseConv2D", True),
        ("tensorflow.python.keras.layers", "DepthwiseConv2D", None, True),
        ("tf_keras.layers", "DepthwiseConv2D", "", True),
        ("keras.layers", "DepthwiseConv2D", "Custom>DepthwiseConv2D", False),
        ("mine.layers", "DepthwiseConv2D", "mine>x", False),
        ("mine.layers", "DepthwiseConv2D", None, False),
        ("keras_cv.layers", "DepthwiseConv2D", None, False),
        ("__main__", "DepthwiseConv2D", "DepthwiseConv2D", False),
        (None, "DepthwiseConv2D", "Custom>DepthwiseConv2D", False),
        (None, "DepthwiseConv2D", "DepthwiseConv2D", False),  # not registered, of __main__
        (None, "Custom>DepthwiseConv2D", None, False),
        (3, "DepthwiseConv2D", None, False),
    ],
)
@pytest.mark.parametrize("place", ["outside", "in a model", "in a wrapper"])
def test_a_users_class_of_that_name(
    module: Any,
    class_name: str,
    registered: Any,
    is_keras: bool,
    place: str,
    tmp_path: Path,
) -> None:
    inner = {**item("dw"), "module": module, "registered_name": registered}
    inner["class_name"] = class_name
    around: dict[str, Callable[[Any], Any]] = {
        "outside": lambda inner: inner,
        "in a model": lambda inner: model(inner, name="inner"),
        "in a wrapper": lambda inner: {
            "class_name": "TimeDistributed",
            "config": {"name": "steps", "layer": inner},
        },
    }
    layers = load_layers(written(tmp_path / "m.json", model(around[place](inner))))
    assert len(layers) == is_keras
    assert bool(layers.skipped) != is_keras


def test_other_layers_of_the_users(tmp_path: Path) -> None:
    """A Conv2D or SeparableConv2D of the user's is none of Keras'."""
    config = {"name": "x", "kernel_size": [2, 2], "filters": 4, "groups": 4}
    for name in ("Conv2D", "SeparableConv2D"):
        other = {
            "module": "mine",
            "class_name": name,
            "config": config,
            "build_config": {"input_shape": [None, 9, 9, 4]},
        }
        assert load_layers(written(tmp_path / "m.json", model(other))) == {}


# ---- weights by the order of layers --------------------------------------------------------------


def by_name(path: Path, document: Any, groups: dict[str, dict[str, Any]], **root: Any) -> Path:
    """A whole model of Keras 1 or 2; outermost layer -> weight name -> array."""
    with h5py.File(path, "w") as file:
        file.attrs.update(model_config=json.dumps(document), keras_version="2.2.4-tf", **root)
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [name.encode() for name in groups]
        for name, weights in groups.items():
            inner = group.create_group(name)
            inner.attrs["weight_names"] = [weight.encode() for weight in weights]
            for weight, array in weights.items():
                inner[weight] = array
    return path


def kernel(number: float, size: tuple[int, int] = (1, 2), multiplier: int = 1) -> NDArray[Any]:
    return np.full((*size, 2, multiplier), number, "f4")


def numbers(layers: dict[str, DepthwiseConv2D]) -> dict[str, float]:
    return {path: float(layer.kernel.flat[0]) for path, layer in layers.items()}  # type: ignore[union-attr]


def scopes(*names: str) -> dict[str, NDArray[Any]]:
    return {f"{name}/depthwise_kernel:0": kernel(i) for i, name in enumerate(names)}


def test_order_wins_over_names(tmp_path: Path) -> None:
    """Within a model and among the outermost layers: what Keras restores."""
    path = tmp_path / "m.h5"
    inner = model(item("dw"), item("dw_1"), item("dw_2"), name="inner")
    for names in (
        ("dw", "dw_1", "dw_2"),
        ("dw_1", "dw_1_1", "dw_2"),
        ("dw_1", "dw_2", "dw"),
        ("x/dw_2", "y/dw", "dw"),
    ):
        by_name(path, model(inner), {"inner": scopes(*names)})
        found = numbers(load_layers(path))
        assert list(found.values()) == [0, 1, 2], names
    flat = model(item("a"), item("b"))
    by_name(path, flat, {"b": scopes("b"), "a": {"a/depthwise_kernel:0": kernel(5)}})
    assert numbers(load_layers(path)) == {"a": 0, "b": 5}


def test_names_win_where_the_order_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    inner = model(item("a"), item("b", kernel_size=[3, 3]), name="inner")
    weights = {"b/depthwise_kernel:0": kernel(2, (3, 3)), "a/depthwise_kernel:0": kernel(1)}
    by_name(path, model(inner), {"inner": weights})
    assert numbers(load_layers(path)) == {"inner/a": 1, "inner/b": 2}
    flat = model(item("a"), item("b", kernel_size=[3, 3]))
    groups = {name[0]: {name: array} for name, array in weights.items()}
    by_name(path, flat, groups)
    assert numbers(load_layers(path)) == {"a": 1, "b": 2}
    # One layer more than weights: there is no order to go by.
    more = model(item("a"), item("c"), item("b", kernel_size=[3, 3]), name="inner")
    by_name(path, model(more), {"inner": weights})
    with pytest.raises(FormatError, match="inner/c': expected its weights; received others"):
        load_layers(path)
    assert numbers(load_layers(path, on_error="skip")) == {"inner/a": 1, "inner/b": 2}


def test_other_layers_between(tmp_path: Path) -> None:
    """Weights of batch normalizations, dense and separable layers stand between, and behind
    those that are trained.
    """
    others = [
        {"class_name": kind, "config": {"name": name}}
        for kind, name in (
            ("BatchNormalization", "bn"),
            ("SeparableConv2D", "sep"),
            ("Dense", "dense"),
            ("ReLU", "relu"),
        )
    ]
    others[1]["config"].update(kernel_size=[1, 2], filters=2)  # type: ignore[union-attr]
    inner = model(others[0], item("dw"), others[1], others[3], item("dw_1"), others[2], name="in")
    vector = np.zeros(2, "f4")
    weights = {
        "bn_1/gamma:0": vector,
        "dw_1/depthwise_kernel:0": kernel(0),
        "sep_1/depthwise_kernel:0": kernel(7),
        "sep_1/pointwise_kernel:0": np.ones((1, 1, 2, 2), "f4"),
        "dw_1_1/depthwise_kernel:0": kernel(1),
        "dense_1/kernel:0": np.ones((2, 2), "f4"),
        "bn_1/moving_mean:0": vector,
    }
    path = by_name(tmp_path / "m.h5", model(inner), {"in": weights})
    assert numbers(load_layers(path)) == {"in/dw": 0, "in/sep": 7, "in/dw_1": 1}


def test_layers_of_one_name(tmp_path: Path) -> None:
    """A batch normalization and a depthwise layer, in models within the model, as tf_keras names
    their weights: without the models around them.
    """
    norm = {"class_name": "BatchNormalization", "config": {"name": "a"}}
    inner = model(model(norm, item("b"), name="deep"), item("a"), name="in")
    vector = np.zeros(2, "f4")
    weights = {
        "a/gamma:0": vector,
        "a/beta:0": vector,
        "b/depthwise_kernel:0": kernel(1),
        "a/depthwise_kernel:0": kernel(2),
        "a/moving_mean:0": vector,
        "a/moving_variance:0": vector,
    }
    path = by_name(tmp_path / "m.h5", model(inner), {"in": weights})
    assert numbers(load_layers(path)) == {"in/deep/b": 1, "in/a": 2}
    # The same by names, where a weight of a third layer is missing.
    inner["config"]["layers"].append(item("c"))
    by_name(path, model(inner), {"in": weights})
    assert numbers(load_layers(path, on_error="skip")) == {"in/deep/b": 1, "in/a": 2}


def test_frozen_layers_come_last(tmp_path: Path) -> None:
    """Keras 2 lists what is trained first, for each model that is within another one. A model that
    is frozen as a whole keeps that order within.
    """
    deep = model(item("c", trainable=False), item("d"), name="deep")
    path = tmp_path / "m.h5"
    inner = model(item("a", trainable=False), item("b"), deep, item("e"), name="in")
    by_name(path, model(inner), {"in": scopes(*(f"x_{i}" for i in range(5)))})
    found = numbers(load_layers(path))
    assert found == {"in/b": 0, "in/deep/d": 1, "in/e": 2, "in/a": 3, "in/deep/c": 4}
    deep["config"]["trainable"] = False
    by_name(path, model(inner), {"in": scopes(*(f"x_{i}" for i in range(5)))})
    found = numbers(load_layers(path))
    assert found == {"in/b": 0, "in/e": 1, "in/a": 2, "in/deep/d": 3, "in/deep/c": 4}
    # TensorFlow 1.8 wrote all in their place. Where both fit, names tell.
    by_name(path, model(inner), {"in": scopes("a", "b", "c", "d", "e")})
    assert list(numbers(load_layers(path)).values()) == [0, 1, 2, 3, 4]


def test_an_architecture_of_another_session(tmp_path: Path) -> None:
    """Keras counts names on: those in a file of weights are not those of the architecture."""
    path = tmp_path / "w.h5"
    relu = {"class_name": "ReLU", "config": {"name": "re_lu_7"}}
    start = {"class_name": "InputLayer", "config": {"name": "input_5"}}
    document = model(start, item("dw_3"), relu, item("dw_4"))
    groups = {
        "input_1": {},
        "dw": scopes("dw"),
        "re_lu": {},
        "dw_1": {"dw_1/depthwise_kernel:0": kernel(9)},
    }
    by_name(path, document, groups)
    assert numbers(load_layers(path)) == {"dw_3": 0, "dw_4": 9}
    # Also where it has other layers besides.
    by_name(path, model(start, item("dw_3"), item("dw_4")), groups)
    assert numbers(load_layers(path)) == {"dw_3": 0, "dw_4": 9}
    by_name(path, model(start, item("dw_3"), item("dw_4"), item("dw_5")), groups)
    with pytest.raises(FormatError, match="expected the weights of layer 'dw_3'; received none"):
        load_layers(path)


def test_a_colon_in_a_name(tmp_path: Path) -> None:
    """Keras 3 allows it; in Keras 2 what comes after one is the number of an output."""
    names = ("x:y", "x:z")
    inner = {**model(*map(item, names), name="inner"), "inbound_nodes": []}
    groups = {"inner": {f"inner/{name}/kernel": kernel(i) for i, name in enumerate(names)}}
    path = by_name(tmp_path / "m.h5", model(inner), groups)
    assert numbers(load_layers(path)) == {"inner/x:y": 0, "inner/x:z": 1}
