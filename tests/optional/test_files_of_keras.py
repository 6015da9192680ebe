"""Files to and from the installed Keras 3 and tf_keras, whole networks among them.

Skipped without Keras; tests/data has small files of these and of older ones.
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
from dwconv import DepthwiseConv2D, Sequential

keras: Any = pytest.importorskip("keras")
if int(keras.__version__.split(".")[0]) < 3:
    pytest.skip("Keras 3 is needed", allow_module_level=True)


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


def numbers(tensor: Any) -> NDArray[Any]:
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def built(shape: Any = (None, 8, 9, 2), **arguments: Any) -> DepthwiseConv2D:
    layer = DepthwiseConv2D(**{"kernel_size": (3, 2), "name": "dw", **arguments})
    layer.build(shape)
    layer.set_weights(
        [draw(*w.shape, seed=i, dtype=str(w.dtype)) for i, w in enumerate(layer.weights)]
    )
    return layer


LAYERS: list[dict[str, Any]] = [
    {},
    {"use_bias": False, "padding": "same", "strides": 2, "depth_multiplier": 3},
    {"dtype": "float64", "activation": "hard_sigmoid", "dilation_rate": 2},
    {"dtype": "mixed_float16", "trainable": False},
    *({"dtype": dtype} for dtype in ("float16", "bfloat16", "mixed_bfloat16")),
    {"dtype": "int32", "depthwise_initializer": "ones"},
    {
        "shape": (None, None, None, 2),
        "depthwise_regularizer": "l1_l2",
        "bias_constraint": "max_norm",
    },
]


# ---- ours, read by Keras -------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", LAYERS, ids=str)
def test_keras_reads_our_layers(arguments: dict[str, Any], tmp_path: Path) -> None:
    layer = built(**arguments)
    path = tmp_path / "dw.keras"
    layer.save(path)
    model = keras.models.load_model(path)
    (theirs,) = model.layers
    assert type(theirs) is keras.layers.DepthwiseConv2D
    assert theirs.name == "dw"
    assert theirs.trainable == layer.trainable
    assert theirs.dtype_policy.name == layer.dtype_policy.name
    for actual, expected in zip(theirs.get_weights(), layer.get_weights(), strict=True):
        assert actual.dtype == expected.dtype
        assert actual.tobytes() == expected.tobytes()
    again = DepthwiseConv2D.from_config(theirs.get_config())
    assert again.same_config(layer)
    for suffix in (".keras", ".h5", ".weights.h5"):  # and back
        path = tmp_path / f"theirs{suffix}"
        (model.save_weights if "weights" in suffix else model.save)(path)
        config = layer.get_config() if "weights" in suffix else None
        (read,) = dwconv.load_layers(path, config).values()
        assert [w.tobytes() for w in read.weights] == [w.tobytes() for w in layer.weights]
        assert read.same_config(layer)


def nested() -> Sequential:
    inner = Sequential([built((None, 6, 8, 2), name="deep")], name="inner")
    start = dwconv.Input((8, 9, 2), name="start")
    return Sequential([start, built(name="first", activation="relu"), inner], name="outer")


def test_keras_reads_our_models_in_every_format(tmp_path: Path) -> None:
    model = nested()
    for suffix in (".keras", ".weights.h5", ".json"):
        model.save(tmp_path / f"outer{suffix}")
    loaded = keras.models.load_model(tmp_path / "outer.keras")
    text = (tmp_path / "outer.json").read_text(encoding="utf-8")
    by_parts = keras.models.model_from_json(text)
    by_parts.load_weights(tmp_path / "outer.weights.h5")
    for theirs in (loaded, by_parts):
        assert theirs.name == "outer"
        assert [layer.name for layer in theirs.layers] == ["first", "inner"]
        for actual, expected in zip(theirs.get_weights(), model.get_weights(), strict=True):
            assert actual.tobytes() == expected.tobytes()
        theirs.save(tmp_path / "again.keras")
        again = dwconv.load(tmp_path / "again.keras")
        assert [w.tobytes() for w in again.weights] == [w.tobytes() for w in model.weights]


def test_keras_reads_what_was_never_built(tmp_path: Path) -> None:
    DepthwiseConv2D(3, name="dw").save(tmp_path / "dw.keras")
    model = keras.models.load_model(tmp_path / "dw.keras")
    assert not model.layers[0].built
    DepthwiseConv2D(3, name="dw", input_shape=(5, 5, 2)).save(tmp_path / "dw.json")
    text = (tmp_path / "dw.json").read_text(encoding="utf-8")
    assert keras.models.model_from_json(text).output_shape == (None, 3, 3, 2)


# ---- whole networks of Keras, read by us ---------------------------------------------------------


def depthwise(model: Any, prefix: str = "") -> dict[str, Any]:
    """Keras' depthwise layers by our paths."""
    found: dict[str, Any] = {}
    for layer in model.layers:
        if hasattr(layer, "layers"):
            found |= depthwise(layer, f"{prefix}{layer.name}/")
        elif type(layer).__name__ == "DepthwiseConv2D":
            found[prefix + layer.name] = layer
    return found


def randomize(model: Any) -> None:
    rng = np.random.default_rng(0)
    model.set_weights([rng.standard_normal(w.shape).astype(w.dtype) for w in model.get_weights()])


def assert_same_layers(path: Path, model: Any, config: Any = None) -> None:
    theirs, ours = depthwise(model), dwconv.load_layers(path, config)
    assert sorted(ours) == sorted(theirs)
    for name, layer in ours.items():
        for actual, expected in zip(layer.weights, theirs[name].get_weights(), strict=True):
            assert actual.dtype == expected.dtype
            assert actual.tobytes() == expected.tobytes(), name
        assert layer.trainable == theirs[name].trainable
    # One of them also computes the same.
    name, layer = list(ours.items())[-1]
    x = draw(1, 9, 9, layer.kernel.shape[2])
    options = {"strides": layer.strides, "padding": layer.padding}
    bound = 2 * tolerance(x, *layer.get_weights(), *[None] * (not layer.use_bias), **options)
    assert_close(layer(x), np.asarray(theirs[name](x)).astype(np.float64), bound, name)


def networks(package: Any) -> list[tuple[str, Any]]:
    size = {"input_shape": (32, 32, 3), "weights": None}
    inner = package.applications.MobileNetV2(alpha=0.35, include_top=False, **size)
    for layer in inner.layers[:30]:
        layer.trainable = False
    outer = package.Sequential([inner, package.layers.Flatten(), package.layers.Dense(2)])
    return [
        ("mobilenet", package.applications.MobileNet(alpha=0.25, **size)),
        ("v2 within", outer),
        # Keras 2 has '/' in the names of this one's layers.
        ("v3", package.applications.MobileNetV3Small(minimalistic=True, **size)),
    ]


@pytest.mark.parametrize("number", range(3))
def test_networks_of_keras_3(number: int, tmp_path: Path) -> None:
    name, model = networks(keras)[number]
    randomize(model)
    (tmp_path / f"{name}.json").write_text(model.to_json(), encoding="utf-8")
    for suffix in (".keras", ".h5", ".weights.h5"):
        if suffix == ".h5" and name == "v2 within" and keras.__version__.startswith("3.0."):
            continue  # Keras 3.0 cannot write it: two datasets of one name
        path = tmp_path / f"{name}{suffix}"
        (model.save_weights if "weights" in suffix else model.save)(path)
        assert_same_layers(path, model)


@pytest.mark.parametrize("number", range(3))
def test_networks_of_keras_2(number: int, tmp_path: Path) -> None:
    tf_keras: Any = pytest.importorskip("tf_keras")
    name, model = networks(tf_keras)[number]
    randomize(model)
    (tmp_path / f"{name}.json").write_text(model.to_json(), encoding="utf-8")
    for suffix in (".keras", ".h5", ".weights.h5", "_weights.h5"):
        path = tmp_path / f"{name}{suffix}"
        (model.save_weights if "weights" in suffix else model.save)(str(path))
        assert_same_layers(path, model)


def test_the_complaint(tmp_path: Path) -> None:
    """Keras 3 does not read what Keras 2 wrote, for `groups: 1` (issue 19151 of Keras). We do, and
    write what it reads.
    """
    tf_keras: Any = pytest.importorskip("tf_keras")
    model = tf_keras.Sequential([tf_keras.layers.DepthwiseConv2D(3, input_shape=(8, 8, 3))])
    randomize(model)
    old, new = tmp_path / "old.h5", tmp_path / "new.keras"
    model.save(str(old))
    with pytest.raises((TypeError, ValueError), match="groups"):
        keras.models.load_model(old)
    dwconv.load(old).save(new)
    x = draw(1, 8, 8, 3)
    expected = np.asarray(model(x)).astype(np.float64)
    kernel, bias = model.get_weights()
    assert_close(
        numbers(keras.models.load_model(new)(x)), expected, 2 * tolerance(x, kernel, bias), ""
    )
    assert json.loads(keras.models.load_model(new).to_json())["class_name"] == "Sequential"
