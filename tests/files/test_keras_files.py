"""Files of real Kerases (tests/data), read without Keras and without h5py."""

from __future__ import annotations

import gzip
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from support import ROOT, assert_close
from support.layers import isolate

import dwconv
from dwconv import DepthwiseConv2D, FormatError, Sequential, load_layers

DATA = ROOT / "tests" / "data"
FILES = sorted(path.name.removesuffix(".gz") for path in DATA.glob("*.gz"))
CHAINS = [name for name in FILES if "-chain" in name]
MIXED = [name for name in FILES if "-mixed" in name]
WHOLE = [name for name in FILES if name.endswith((".h5", ".keras")) and "weights" not in name]


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


@pytest.fixture
def _without_h5py(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)


def unpack(name: str, directory: Path) -> Path:
    path = directory / name
    path.write_bytes(gzip.decompress((DATA / f"{name}.gz").read_bytes()))
    return path


def architecture(name: str) -> str:
    """The JSON of the model whose weights a file holds."""
    return f"{name.removesuffix('.weights.h5').removesuffix('-weights.h5')}.json"


def opened(name: str, directory: Path) -> dwconv.saving.Layers:
    """The layers of a file, weights alone with the architecture that the same Keras wrote."""
    path = unpack(name, directory)
    config = unpack(architecture(name), directory) if "weights" in name else None
    return load_layers(path, config)


def ramp(shape: tuple[int, ...], start: float) -> NDArray[Any]:
    """What tests/data/make.py fills weights with."""
    return (start + np.arange(np.prod(shape, dtype=int)) / 8).reshape(shape)


def assert_filled(layer: DepthwiseConv2D, number: int) -> None:
    """That the layer has the weights of the n-th depthwise layer of its model."""
    for i, array in enumerate(layer.get_weights()):
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, ramp(array.shape, number - 10 * i))


def test_every_generation_is_here() -> None:
    """Else the tests below would pass for want of files."""
    generations = {"keras-2.2.4", "tf-1.14", "tf-2.12", "tf-2.13", "tf-2.15", "tf_keras-2"}
    generations |= {"keras-3.0", "keras-3.6", "keras-3"}
    for kind in ("chain.json", "chain.h5", "mixed.json"):
        assert {name.removesuffix(f"-{kind}") for name in FILES if name.endswith(kind)} == (
            generations
        )
    for kind in ("chain.keras", "mixed.keras", "mixed.weights.h5"):
        found = {name.removesuffix(f"-{kind}") for name in FILES if name.endswith(kind)}
        assert found == generations - {"keras-2.2.4", "tf-1.14"}


@pytest.mark.usefixtures("_without_h5py")
@pytest.mark.parametrize("name", CHAINS)
def test_models_of_depthwise_layers_alone(name: str, tmp_path: Path) -> None:
    layers = opened(name, tmp_path)
    assert list(layers) == ["first", "second"]
    assert layers.skipped == {}
    first, second = layers.values()
    assert (first.name, first.kernel_size, first.strides) == ("first", (2, 1), (2, 2))
    assert (first.padding, first.depth_multiplier, first.data_format) == (
        "same",
        2,
        "channels_last",
    )
    assert first.use_bias
    assert not second.use_bias
    old = not name.startswith("keras-3")
    assert first.activation == dwconv.activations.get("hard_sigmoid", generation=2 if old else 3)
    assert first.depthwise_regularizer(np.ones(4)) == pytest.approx(0.04, rel=1e-7)
    assert isinstance(first.bias_constraint, dwconv.constraints.NonNeg)
    assert first.dtype == np.float32
    if name.endswith(".json"):
        assert not first.built
        assert not second.built
    else:
        assert_filled(first, 1)
        assert_filled(second, 2)
        assert second.input_shape[3] == 6


@pytest.mark.usefixtures("_without_h5py")
@pytest.mark.parametrize("name", MIXED)
def test_models_that_hold_other_layers(name: str, tmp_path: Path) -> None:
    layers = opened(name, tmp_path)
    separable = layers.pop("inner/separable")
    assert list(layers) == ["frozen", "inner/deep", "last"]
    assert layers.kinds == {
        **dict.fromkeys(layers, "DepthwiseConv2D"),
        "inner/separable": "depthwise half of SeparableConv2D",
    }
    assert (separable.kernel_size, separable.use_bias) == ((1, 1), False)
    assert layers.skipped == {
        "conv": "Conv2D",
        "norm": "BatchNormalization",
        "inner/separable": "SeparableConv2D: its pointwise half",
        "relu": "ReLU",
        "flat": "Flatten",
        "dense": "Dense",
    }
    assert [layer.trainable for layer in layers.values()] == [False, True, True]
    assert [layer.kernel_size for layer in layers.values()] == [(2, 2), (1, 2), (2, 2)]
    if not name.endswith(".json"):
        assert [layer.kernel.shape for layer in layers.values()] == [
            (2, 2, 2, 1),
            (1, 2, 2, 1),
            (2, 2, 2, 2),
        ]
        for number, layer in enumerate(layers.values(), 1):
            assert_filled(layer, number)
        np.testing.assert_array_equal(separable.kernel, ramp((1, 1, 2, 1), 0))


@pytest.mark.parametrize("name", [name for name in CHAINS if name in WHOLE])
def test_the_output_is_that_of_the_keras_that_wrote_it(name: str, tmp_path: Path) -> None:
    model = dwconv.load(unpack(name, tmp_path))
    assert isinstance(model, Sequential)
    assert [layer.name for layer in model.layers] == ["first", "second"]
    generation = name.partition("-chain")[0]
    output = json.loads(gzip.decompress((DATA / f"{generation}-output.json.gz").read_bytes()))
    x = ramp((1, 5, 4, 3), -3).astype(np.float32)
    assert_close(model(x), np.array(output["y"]), chain_bound(model, x), name)


def chain_bound(model: Sequential, x: NDArray[Any]) -> NDArray[Any]:
    """What two computations of `chain` in float32 may differ by.

    The first layer's sums, of 2 taps, are within (2 + 2) eps S of the truth, S being the sum of the
    magnitudes; hard_sigmoid has a slope of 0.2 at most and adds two roundings of at most
    0.2 S + 1. The second layer multiplies that by its weights and has 4 taps of at most 1 itself.
    """
    eps = float(np.finfo(np.float32).eps)
    first, second = model.layers
    options = {"strides": first.strides, "padding": first.padding}
    size = dwconv.reference.depthwise_conv2d(*map(np.abs, (x, *first.get_weights())), **options)
    error = 0.2 * 4 * eps * size + 2 * eps * (0.2 * size + 1)
    (weights,) = map(np.abs, second.get_weights())
    error = dwconv.reference.depthwise_conv2d(error, weights)
    error += (4 + 2) * eps * dwconv.reference.depthwise_conv2d(np.ones_like(size), weights)
    return 2 * error  # Keras' and ours


def test_models_with_other_layers_are_not_loaded_as_models(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"received 'conv', a Conv2D\. `load_layers` reads"):
        dwconv.load(unpack("tf-2.15-mixed.h5", tmp_path))


@pytest.mark.parametrize("name", ["tf-2.12-chain.keras", "tf-2.15-chain.keras", "keras-3-chain.h5"])
def test_the_bytes_say_the_format_not_the_name(name: str, tmp_path: Path) -> None:
    path = unpack(name, tmp_path)
    for suffix in (".keras", ".h5", ".hdf5", ".H5"):
        renamed = tmp_path / f"renamed{suffix}"
        shutil.copy(path, renamed)
        assert_filled(load_layers(renamed)["second"], 2)


# ---- weights alone -------------------------------------------------------------------------------


def test_the_architecture_beside_weights_or_given(tmp_path: Path) -> None:
    for name in ("tf-1.14-mixed-weights.h5", "keras-3-mixed.weights.h5"):
        path = unpack(name, tmp_path)
        with pytest.raises(FormatError, match=r"expected the architecture.*\.json"):
            load_layers(path)
        config = unpack(architecture(name), tmp_path)
        text = config.read_text(encoding="utf-8")
        for given in (config, str(config), text, json.loads(text), json.loads(text)["config"]):
            assert_filled(load_layers(path, given)["last"], 3)
        shutil.copy(config, path.with_name(path.name.removesuffix(".h5") + ".json"))
        assert_filled(load_layers(path)["inner/deep"], 2)
    alone = DepthwiseConv2D((1, 2), weights=[kernel(), np.zeros(3)], name="dw")
    alone.build((None, 4, 4, 3))
    alone.save(tmp_path / "alone.weights.h5")
    (layer,) = load_layers(tmp_path / "alone.weights.h5", alone.get_config()).values()
    np.testing.assert_array_equal(layer.kernel, kernel())
    whole = unpack("tf-2.15-mixed.h5", tmp_path)
    with pytest.raises(ValueError, match="config: expected None"):
        load_layers(whole, config)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    path = unpack("tf-1.14-mixed-weights.h5", tmp_path)
    config = unpack("tf-1.14-chain.json", tmp_path)
    with pytest.raises(FormatError, match="weights of layer 'first'; received none"):
        load_layers(path, config)
    path = unpack("keras-3-chain.weights.h5", tmp_path)
    config = unpack("keras-3-mixed.json", tmp_path)
    with pytest.raises(FormatError, match=r"keras-3-chain.weights.h5: layer 'frozen': "):
        load_layers(path, config)
    several = json.loads(unpack("keras-3-chain.json", tmp_path).read_text(encoding="utf-8"))
    several["config"]["layers"].append(layer_config("third"))
    with pytest.raises(FormatError, match="weights of layer 'third'; received none"):
        load_layers(path, several)


WEIGHTED = [name for name in CHAINS if not name.endswith(".json")]


@pytest.mark.parametrize("name", WEIGHTED)
def test_load_weights_into_a_layer(name: str, tmp_path: Path) -> None:
    path = unpack(name, tmp_path)
    by_name = DepthwiseConv2D(2, use_bias=False, name="second")
    other = DepthwiseConv2D(2, use_bias=False, name="third")
    if name.endswith(".weights.h5") and not name.startswith(("keras-3.6", "keras-3-")):
        # The older ones have no names of layers, only depthwise_conv2d and so on.
        number = 2 if name.startswith(("tf-2.12", "tf-2.13")) else 1
        by_name = DepthwiseConv2D(2, use_bias=False, name=f"depthwise_conv2d_{number}")
    by_name.load_weights(path)
    assert_filled(by_name, 2)
    with pytest.raises(FormatError, match="expected one depthwise layer, or one named 'third'"):
        other.load_weights(path)
    assert not other.built


# ---- layouts that no Keras at hand writes --------------------------------------------------------
# Made with h5py as the sources of those Kerases lay them out.


def layer_config(name: str, **arguments: Any) -> dict[str, Any]:
    config = {"name": name, "kernel_size": [1, 2], "padding": "valid", **arguments}
    return {"class_name": "DepthwiseConv2D", "config": config}


def write_by_name(path: Path, config: Any, layers: dict[str, dict[str, Any]], **root: Any) -> None:
    """A whole model of Keras 1 or 2; layer -> weight name -> array."""
    with h5py.File(path, "w") as file:
        file.attrs.update(model_config=json.dumps(config).encode(), **root)
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [name.encode() for name in layers]
        for name, weights in layers.items():
            inner = group.create_group(name)
            inner.attrs["weight_names"] = [weight.encode() for weight in weights]
            for weight, array in weights.items():
                inner[weight] = array


def kernel(start: float = 1, dtype: str = "f4") -> NDArray[Any]:
    return ramp((1, 2, 3, 1), start).astype(dtype)


def test_a_bare_list_as_config_and_weights_at_the_root(tmp_path: Path) -> None:
    path = tmp_path / "old.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(
            {"class_name": "Sequential", "config": [layer_config("dw", activation="hard_sigmoid")]}
        )
        file.attrs["keras_version"] = "1.2.2"
        file.attrs["layer_names"] = np.array([b"dw"])
        group = file.create_group("dw")
        group.attrs["weight_names"] = np.array([b"dw_W", b"dw_b"])
        group["dw_W"], group["dw_b"] = kernel(), np.zeros(3, "f4")
    layer = load_layers(path)["dw"]
    np.testing.assert_array_equal(layer.kernel, kernel())
    assert layer.activation == dwconv.activations.get("hard_sigmoid", generation=1)
    assert isinstance(dwconv.load(path), Sequential)


def test_floats_of_another_size_where_the_config_has_no_dtype(tmp_path: Path) -> None:
    path = tmp_path / "old.h5"
    config = {"class_name": "Sequential", "config": [layer_config("dw", use_bias=False)]}
    write_by_name(path, config, {"dw": {"dw/depthwise_kernel:0": kernel(dtype=">f8")}})
    assert load_layers(path)["dw"].dtype == np.float64
    config["config"][0]["config"]["dtype"] = "float32"
    for dtype in ("f2", "f8"):  # Keras casts to what the config says
        write_by_name(path, config, {"dw": {"dw/depthwise_kernel:0": kernel(dtype=dtype)}})
        layer = load_layers(path)["dw"]
        assert layer.kernel.dtype == np.float32
        np.testing.assert_array_equal(layer.kernel, kernel())
    write_by_name(path, config, {"dw": {"dw/depthwise_kernel:0": kernel(dtype="i4")}})
    with pytest.raises(FormatError, match="expected dtype float32; received int32"):
        load_layers(path)


def test_channels_first(tmp_path: Path) -> None:
    path = tmp_path / "first.h5"
    config = layer_config("dw", use_bias=False, data_format="channels_first")
    weights = {"dw": {"dw/depthwise_kernel:0": kernel()}}
    write_by_name(path, {"class_name": "Sequential", "config": [config]}, weights)
    assert load_layers(path)["dw"].input_shape == (None, 3, None, None)


def test_slashes_in_names(tmp_path: Path) -> None:
    """MobileNetV3 of Keras 2 has layers named expanded_conv/depthwise."""
    path = tmp_path / "v3.h5"
    config = {"class_name": "Sequential", "config": [layer_config("block/dw", use_bias=False)]}
    write_by_name(path, config, {"block/dw": {"block/dw/depthwise_kernel:0": kernel()}})
    layers = load_layers(path)
    assert list(layers) == ["block/dw"]
    assert layers["block/dw"].name == "block_dw"


def nested(*names: str) -> dict[str, Any]:
    inner = [{"class_name": "Sequential", "config": [layer_config("dw", use_bias=False)]}]
    models = [{**inner[0], "name": name} for name in names]
    outer = {"class_name": "Model", "config": {"name": "outer", "layers": models}}
    return {"class_name": "Model", "config": {"name": "whole", "layers": [outer]}}


def test_models_in_models_share_a_group(tmp_path: Path) -> None:
    path = tmp_path / "deep.h5"
    weights = {"a/dw/depthwise_kernel:0": kernel(1), "b/dw/depthwise_kernel:0": kernel(2)}
    write_by_name(path, nested("a", "b"), {"outer": weights})
    layers = load_layers(path)
    assert list(layers) == ["outer/a/dw", "outer/b/dw"]
    np.testing.assert_array_equal(layers["outer/b/dw"].kernel, kernel(2))
    # TensorFlow 1 makes names unique where they are not.
    write_by_name(path, nested("a"), {"outer": {"dw_1/depthwise_kernel:0": kernel(3)}})
    np.testing.assert_array_equal(load_layers(path)["outer/a/dw"].kernel, kernel(3))
    two = {"x/dw/depthwise_kernel:0": kernel(1), "y/dw/depthwise_kernel:0": kernel(2)}
    write_by_name(path, nested("a"), {"outer": two})
    with pytest.raises(FormatError, match="outer/a/dw': expected one layer of that name"):
        load_layers(path)


def test_long_lists_of_names_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "long.h5"
    config = {"class_name": "Sequential", "config": [layer_config("dw", use_bias=False)]}
    write_by_name(path, config, {"dw": {"dw/depthwise_kernel:0": kernel()}})
    with h5py.File(path, "r+") as file:
        group = file["model_weights"]
        for owner, name in ((group, "layer_names"), (group["dw"], "weight_names")):
            owner.attrs[f"{name}0"] = owner.attrs[name]
            del owner.attrs[name]
    np.testing.assert_array_equal(load_layers(path)["dw"].kernel, kernel())


def test_a_model_within_a_frozen_model_is_frozen(tmp_path: Path) -> None:
    config = nested("a")
    config["config"]["layers"][0]["config"]["trainable"] = False
    path = tmp_path / "frozen.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    assert not load_layers(path)["outer/a/dw"].trainable


def test_a_users_layer_of_the_same_name_is_not_ours(tmp_path: Path) -> None:
    item = {**layer_config("dw"), "module": "mine.layers", "registered_name": "mine>x"}
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"class_name": "Sequential", "config": [item]}), encoding="utf-8")
    layers = load_layers(path)
    assert layers == {}
    assert layers.skipped == {"dw": "DepthwiseConv2D"}
