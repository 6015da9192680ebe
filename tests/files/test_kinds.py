"""Layers that are depthwise convolutions by another name, in files of real Kerases (tests/data,
made by make_kinds.py).
"""

from __future__ import annotations

import gzip
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from support import ROOT, assert_close
from support.layers import isolate

import dwconv
from dwconv import DepthwiseConv2D, FormatError, load_layers

DATA = ROOT / "tests" / "data"


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


def unpack(name: str, directory: Path) -> Path:
    path = directory / name
    path.write_bytes(gzip.decompress((DATA / f"{name}.gz").read_bytes()))
    return path


def ramp(shape: tuple[int, ...], start: float) -> NDArray[Any]:
    """What make_kinds.py fills weights with."""
    return (start + np.arange(np.prod(shape, dtype=int)) / 8).reshape(shape)


def assert_filled(layer: DepthwiseConv2D, number: int) -> None:
    for i, array in enumerate(layer.get_weights()):
        np.testing.assert_array_equal(array, ramp(array.shape, number - 10 * i))


KERASES = ("keras-3", "tf_keras-2", "tf-2.15")
#: TensorFlow 2.12 writes .keras as HDF5; its zip is -v3.keras.
EACH = [f"{keras}-NAME{suffix}" for keras in KERASES for suffix in (".keras", ".h5")]
EACH += ["tf-2.12-NAME-v3.keras", "tf-2.12-NAME.h5"]


# ---- what Keras computes -------------------------------------------------------------------------


@pytest.mark.parametrize("name", EACH)
def test_kinds_compute_what_keras_computes(name: str, tmp_path: Path) -> None:
    layers = load_layers(unpack(name.replace("NAME", "kinds"), tmp_path))
    assert layers.kinds == {
        "steps/in_time": "DepthwiseConv2D in TimeDistributed",
        "models/inner/deep": "DepthwiseConv2D in TimeDistributed",
        "grouped": "Conv2D with groups",
        "separable": "depthwise half of SeparableConv2D",
    }
    assert list(layers) == list(layers.kinds)
    assert layers.skipped == {
        "models": "TimeDistributed",
        "reshape": "Reshape",
        "separable": "SeparableConv2D: its pointwise half",
        "two_channels_each": "Conv2D",
    }
    keras = name.partition("-NAME")[0]
    text = gzip.decompress((DATA / f"{keras}-kinds-output.json.gz").read_bytes())
    outputs = json.loads(text)["layers"]
    for path, name in {
        "steps/in_time": "steps",
        "models/inner/deep": "models",
        "grouped": "grouped",
    }.items():
        x, y = (np.array(outputs[name][key], np.float32) for key in "xy")
        steps = x.shape[1] if x.ndim == 5 else 1
        x = x.reshape(-1, *x.shape[-3:])
        layer = layers[path]
        assert_close(layer(x).reshape(y.shape), y, bound(layer, x).reshape(y.shape), path)
        assert steps == (3 if name in ("steps", "models") else 1)
    # The pointwise half is a matrix of ramps and a bias, as make_kinds.py has filled them.
    half = layers["separable"]
    x, y = (np.array(outputs["separable"][key], np.float32) for key in "xy")
    channels = x.shape[-1] * 2
    pointwise = ramp((channels, y.shape[-1]), 5 - 10)
    found = half(x).astype(np.float64) @ pointwise + ramp((y.shape[-1],), 5 - 20)
    error = bound(half, x) @ np.abs(pointwise)
    eps = float(np.finfo(np.float32).eps)
    error += (channels + 2) * eps * (half(np.abs(x)) @ np.abs(pointwise) + 20)
    assert_close(found, y, error, "separable")


def bound(layer: DepthwiseConv2D, x: NDArray[Any]) -> NDArray[Any]:
    """What two computations in float32 of a layer with positive slopes of at most 1 differ by:
    each is within (taps + 2) eps S, S being the sum of the magnitudes.
    """
    weights = [np.abs(array) for array in layer.get_weights()]
    size = dwconv.reference.depthwise_conv2d(
        np.abs(x), *weights, strides=layer.strides, padding=layer.padding
    )
    taps = layer.kernel_size[0] * layer.kernel_size[1]
    return 2 * (taps + 2) * float(np.finfo(np.float32).eps) * size


def test_a_grouped_convolution_has_its_arguments(tmp_path: Path) -> None:
    layer = load_layers(unpack("keras-3-kinds.keras", tmp_path))["grouped"]
    assert (layer.name, layer.kernel.shape, layer.depth_multiplier) == ("grouped", (2, 2, 4, 2), 2)
    assert layer.activation == dwconv.activations.get("relu")
    assert layer.use_bias


def conv2d(**arguments: Any) -> dict[str, Any]:
    config = {"name": "conv", "kernel_size": [2, 2], "use_bias": False, **arguments}
    return {"class_name": "Conv2D", "config": config}


def document(*items: Any) -> dict[str, Any]:
    return {"class_name": "Sequential", "config": {"name": "s", "layers": list(items)}}


def loaded(tmp_path: Path, *items: Any, **options: Any) -> Any:
    path = tmp_path / "model.json"
    path.write_text(json.dumps(document(*items)), encoding="utf-8")
    return load_layers(path, **options)


def test_grouped_convolutions_without_weights(tmp_path: Path) -> None:
    """Without weights the input that the layer was built for tells, or nothing does."""
    item = conv2d(filters=8, groups=4, kernel_constraint="max_norm", padding="same")
    layers = loaded(tmp_path, item)
    assert layers == {}
    assert layers.skipped == {
        "conv": "Conv2D: without weights it is not known how many channels a group has"
    }
    layers = loaded(tmp_path, {**item, "build_config": {"input_shape": [None, 9, 9, 4]}})
    assert (layers["conv"].depth_multiplier, layers["conv"].padding) == (2, "same")
    assert layers["conv"].depthwise_constraint is None  # over other axes it is another one
    layers = loaded(tmp_path, {**item, "build_config": {"input_shape": [None, 9, 9, 8]}})
    assert layers.skipped == {"conv": "Conv2D"}
    for other in (conv2d(filters=8), conv2d(filters=8, groups=3), conv2d(filters="x", groups=[])):
        assert loaded(tmp_path, other).skipped == {"conv": "Conv2D"}


# ---- tfmot ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize(
    ("name", "prefix", "kind"),
    [
        ("quantized", "quant", "DepthwiseConv2D in QuantizeWrapperV2, without its rounding"),
        ("pruned", "prune_low_magnitude", "DepthwiseConv2D in PruneLowMagnitude"),
    ],
)
def test_wrappers_of_tfmot(name: str, prefix: str, kind: str, suffix: str, tmp_path: Path) -> None:
    path = unpack(f"tfmot-{name}{suffix}", tmp_path)
    layers = load_layers(path)
    plain, active = f"{prefix}_plain/plain", f"{prefix}_active/active"
    assert layers.kinds == {plain: kind, active: kind}
    assert_filled(layers[plain], 0)
    assert_filled(layers[active], 2)
    linear, relu = map(dwconv.activations.get, ("linear", "relu"))
    assert [layer.activation for layer in layers.values()] == [linear, relu]
    assert f"{prefix}_norm" in layers.skipped
    target = DepthwiseConv2D(2, use_bias=False, name="active")
    target.load_weights(path)
    assert_filled(target, 2)


def test_weights_in_a_users_wrapper(tmp_path: Path) -> None:
    """They are not loaded as a layer, but a layer may take them: nothing says "there is none"."""
    inner = {"class_name": "DepthwiseConv2D", "config": {"name": "dw", "kernel_size": [1, 2]}}
    mine = {"class_name": "Mine", "config": {"name": "mine", "layer": inner}}
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file.attrs.update(model_config=json.dumps(document(mine)), keras_version="2.15.0")
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [b"mine"]
        weights = group.create_group("mine")
        weights.attrs["weight_names"] = [b"dw/depthwise_kernel:0", b"dw/bias:0", b"mine/step:0"]
        weights["dw/depthwise_kernel:0"] = ramp((1, 2, 2, 1), 3).astype("f4")
        weights["dw/bias:0"] = ramp((2,), -7).astype("f4")
        weights["mine/step:0"] = np.int32(1)
    assert load_layers(path) == {}
    target = DepthwiseConv2D((1, 2))
    target.load_weights(path)
    assert_filled(target, 3)


def test_a_users_wrapper_may_do_anything(tmp_path: Path) -> None:
    inner = {"class_name": "DepthwiseConv2D", "config": {"name": "dw", "kernel_size": 3}}
    mine = {"class_name": "Mine", "config": {"name": "mine", "layer": inner}}
    layers = loaded(tmp_path, mine)
    assert layers == {}
    assert layers.skipped == {
        "mine/dw": "DepthwiseConv2D: in a Mine, which may change what it does"
    }
    dense = {"class_name": "Dense", "config": {"name": "dense"}}
    other = {"class_name": "TimeDistributed", "config": {"name": "steps", "layer": dense}}
    assert loaded(tmp_path, other).skipped == {"steps": "TimeDistributed"}


# ---- where weights are ---------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_names_in_any_alphabet(suffix: str, tmp_path: Path) -> None:
    layers = load_layers(unpack(f"keras-3-alphabet{suffix}", tmp_path))
    names = ["глубина", "深度", "tiefe_ä", *(f"ñ{i}" for i in range(9)), "ascii"]
    assert list(layers) == [layer.name for layer in layers.values()] == names
    for number, layer in enumerate(layers.values()):
        assert_filled(layer, number)


@pytest.mark.parametrize("name", EACH)
def test_a_layer_of_two_models(name: str, tmp_path: Path) -> None:
    layers = load_layers(unpack(name.replace("NAME", "shared"), tmp_path))
    assert list(layers) == ["one/both", "two/both", "two/own"]
    for layer, number in zip(layers.values(), (0, 0, 1), strict=True):
        assert_filled(layer, number)


@pytest.mark.parametrize("name", ["shifted", "frozen"])
def test_graph_mode_shifts_names(name: str, tmp_path: Path) -> None:
    """Layer dw_1 has the weights dw_1_1/..., or, with a frozen layer at the end, dw_2_2/..."""
    layers = load_layers(unpack(f"tf1-{name}.h5", tmp_path))
    assert list(layers) == ["inner/dw", "inner/dw_1", "inner/dw_2"]
    for number, layer in enumerate(layers.values()):
        assert_filled(layer, number)
    assert layers["inner/dw"].trainable is (name == "shifted")


@pytest.mark.parametrize("keras", KERASES)
def test_models_whose_layers_are_in_code(keras: str, tmp_path: Path) -> None:
    path = unpack(f"{keras}-own.keras", tmp_path)
    layers = load_layers(path)
    assert layers == {}
    assert layers.skipped.pop("own") == "Own"
    assert len(layers.skipped) == 2
    for name, why in layers.skipped.items():
        assert name.startswith("own/")
        assert "the file has its weights, (2, 2, 2, 1)" in why
        assert "in the code of Own" in why
    first = next(name for name, why in layers.skipped.items() if "(2,)" in why)
    target = DepthwiseConv2D(2, name=first.rpartition("/")[2])
    target.load_weights(path)
    assert_filled(target, 0)
    weights = unpack(f"{keras}-own.weights.h5", tmp_path)
    with pytest.raises(FormatError, match="expected the architecture"):
        load_layers(weights)


# ---- folders -------------------------------------------------------------------------------------


def unzip(name: str, directory: Path) -> Path:
    folder = directory / f"{name} folder"
    with zipfile.ZipFile(unpack(name, directory)) as archive:
        archive.extractall(folder)
    return folder


def test_a_folder_that_keras_has_not_zipped(tmp_path: Path) -> None:
    folder = unzip("keras-3-mixed.keras", tmp_path)
    layers = load_layers(folder)
    assert layers.kind == "folder of Keras 3.15.1, a whole model"
    assert_filled(layers["last"], 3)
    assert not load_layers(folder / "config.json")["last"].built
    assert_filled(load_layers(folder / "model.weights.h5")["last"], 3)  # config.json is beside it
    assert_filled(dwconv.load(unzip("keras-3-chain.keras", tmp_path)).layers[1], 2)
    (folder / "model.weights.h5").unlink()
    with pytest.raises(FormatError, match=r"layer .*: expected the weights as model\.weights\.h5"):
        load_layers(folder)
    skipped = load_layers(folder, on_error="skip").skipped
    assert "expected the weights as model.weights.h5" in skipped["last"]


def test_other_folders_say_what_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    folder.mkdir()
    with pytest.raises(FormatError, match=r"saved: expected a file, or a folder that has config"):
        load_layers(folder)
    (folder / "saved_model.pb").write_bytes(b"\x08\x01")
    with pytest.raises(FormatError, match=r"a SavedModel of TensorFlow\. Load it .*\.save\('model"):
        load_layers(folder)
    with pytest.raises(FormatError, match=r"saved_model\.pb"):
        load_layers(folder / "saved_model.pb")
    (folder / "saved_model.pb").rename(folder / "checkpoint")
    with pytest.raises(FormatError, match="a checkpoint of TensorFlow"):
        load_layers(folder)


# ---- names of files ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["mask_detector.model", "model", "weights.05-0.31", "model.h5.bak", "model.hd5", "深"]
)
def test_files_of_any_name(name: str, tmp_path: Path) -> None:
    for source in ("tf-2.15-mixed.h5", "keras-3-mixed.keras", "keras-3-mixed.json"):
        path = tmp_path / name
        shutil.copy(unpack(source, tmp_path), path)
        assert next(iter(load_layers(path))) == "frozen"
    layer = DepthwiseConv2D(2, name="dw")
    layer.build((None, 4, 4, 2))
    for suffix in (".safetensors", ".npz", ".keras"):
        layer.save(tmp_path / f"own{suffix}")
        path = tmp_path / name
        (tmp_path / f"own{suffix}").replace(path)
        np.testing.assert_array_equal(dwconv.load(path).kernel, layer.kernel)


def test_what_no_reader_knows(tmp_path: Path) -> None:
    path = tmp_path / "model"
    for content, message in (
        (b"", "truncated: expected a file of Keras; received an empty one"),
        (b"\x08\x01\x12", "a message such as saved_model.pb"),
        (b"\x80\x04\x95", "a pickle"),
        (b"hello", "expected HDF5, zip or JSON of a Keras; received b'hello'"),
    ):
        path.write_bytes(content)
        with pytest.raises(FormatError, match=message):
            load_layers(path)
