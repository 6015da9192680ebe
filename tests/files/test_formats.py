"""Every format that is written: round trips, what others read of it, weights alone, mapping."""

from __future__ import annotations

import io
import json
import os
import sys
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import safetensors.numpy
from support.layers import draw, isolate
from test_saving import assert_same_layer, edit, filled, names

import dwconv
from dwconv import DepthwiseConv2D, FormatError, Sequential
from dwconv.formats import store

WITH_ALL = (".safetensors", ".npz", ".keras")
WITH_WEIGHTS = (*WITH_ALL, ".weights.h5")


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A name without a suffix, in a directory of the test's own."""
    directory = tmp_path / "files"
    directory.mkdir()
    return directory / "thing"


def nested() -> Sequential:
    inner = Sequential([filled(name="deep", use_bias=False)], name="inner")
    first = filled(name="first", trainable=False, activation="hard_sigmoid")
    return Sequential([dwconv.Input((4, 9, 2), name="start"), first, inner], name="outer")


def assert_same_model(actual: Sequential, expected: Sequential) -> None:
    assert isinstance(actual, Sequential)
    assert json.dumps(actual.get_config()) == json.dumps(expected.get_config())
    assert actual.built == expected.built
    assert [w.tobytes() for w in actual.weights] == [w.tobytes() for w in expected.weights]


# ---- round trips ---------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", WITH_ALL)
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"dtype": "float16", "use_bias": False, "padding": "same", "depth_multiplier": 3},
        {"dtype": "mixed_float16", "activation": "hard_sigmoid_k2", "trainable": False},
        {"dtype": "float64", "input_shape": (8, 9, 2), "depthwise_constraint": "max_norm"},
        {"dtype": "int32", "depthwise_initializer": "ones", "activation": "relu"},
        {"dtype": "bfloat16", "depth_multiplier": 2},
        {"dtype": "mixed_bfloat16"},
    ],
    ids=str,
)
def test_layers(
    path: Path, suffix: str, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = filled(**arguments)
    layer.save(path.with_suffix(suffix))
    again = dwconv.load(path.with_suffix(suffix))
    assert_same_layer(again, layer)
    assert again.input_shape == layer.input_shape == (None, None, None, 2)
    assert again._declared_shape == layer._declared_shape
    (read,) = dwconv.load_layers(path.with_suffix(suffix)).values()
    assert_same_layer(read, layer)
    if layer.dtype.name == "bfloat16":  # which NumPy has from a package that need not be there
        monkeypatch.setitem(sys.modules, "ml_dtypes", None)
        with pytest.raises(FormatError, match="ml_dtypes"):
            layer.load_weights(path.with_suffix(suffix))


@pytest.mark.parametrize("suffix", [*WITH_ALL, ".json"])
@pytest.mark.parametrize("shape", [None, (8, 8, 2)])
def test_layers_that_are_not_built(path: Path, suffix: str, shape: Any) -> None:
    layer = DepthwiseConv2D(3, input_shape=shape, activation="relu")
    layer.save(path.with_suffix(suffix))
    again = dwconv.load(path.with_suffix(suffix))
    assert not again.built
    assert_same_layer(again, layer)
    assert again._declared_shape == layer._declared_shape


@pytest.mark.parametrize("suffix", WITH_ALL)
def test_models(path: Path, suffix: str) -> None:
    model = nested()
    model.save(path.with_suffix(suffix))
    again = dwconv.load(path.with_suffix(suffix))
    assert_same_model(again, model)
    x = draw(2, 4, 9, 2)
    assert again(x).tobytes() == model(x).tobytes()
    layers = dwconv.load_layers(path.with_suffix(suffix))
    assert list(layers) == ["first", "inner/deep"]
    assert_same_layer(layers["inner/deep"], model.layers[1].layers[0])


@pytest.mark.parametrize("suffix", [*WITH_ALL, ".json"])
def test_models_that_are_not_built(path: Path, suffix: str) -> None:
    for layers in ([], [DepthwiseConv2D(3), DepthwiseConv2D(2)]):
        model = Sequential(layers, name="open")
        model.save(path.with_suffix(suffix))
        assert_same_model(dwconv.load(path.with_suffix(suffix)), model)


def test_an_architecture_makes_no_weights(path: Path) -> None:
    """Else a file of 2 KB could ask for terabytes."""
    model = nested()
    model.save(path.with_suffix(".json"))
    again = dwconv.load(path.with_suffix(".json"))
    assert not again.built
    assert again.input_shape == (None, 4, 9, 2)
    assert again.output_shape == model.output_shape
    again.build()
    assert [w.shape for w in again.weights] == [w.shape for w in model.weights]
    huge = (
        path.with_suffix(".json")
        .read_text()
        .replace('"kernel_size": [1, 2]', '"kernel_size": [1, 1000000000]')
    )
    path.with_suffix(".json").write_text(huge.replace("4, 9, 2", "4, 1000000009, 2"))
    assert len(dwconv.load_layers(path.with_suffix(".json"))) == 2


def test_weights_by_place_and_the_architecture_beside_them(path: Path) -> None:
    model = nested()
    model.save(path.with_suffix(".weights.h5"))
    with pytest.raises(FormatError, match=r"weights by place alone: expected the architecture"):
        dwconv.load(path.with_suffix(".weights.h5"))
    model.save(path.with_suffix(".json"))
    again = dwconv.load(path.with_suffix(".weights.h5"))
    assert [w.tobytes() for w in again.weights] == [w.tobytes() for w in model.weights]
    layer = filled()
    layer.save(path.with_suffix(".weights.h5"))
    layer.save(path.with_suffix(".json"))
    assert_same_layer(dwconv.load(path.with_suffix(".weights.h5")), layer)


def test_names_that_look_like_ours(path: Path) -> None:
    for name in ("kernel", "bias", "__metadata__"):
        model = Sequential([filled(name=name)])
        for suffix in WITH_ALL:
            model.save(path.with_suffix(suffix))
            assert_same_model(dwconv.load(path.with_suffix(suffix)), model)


class Doubling:
    """A layer of the user's; with weights if it has `get_weights`."""

    name = "doubling"

    def __call__(self, x: Any) -> Any:
        return 2 * x

    def compute_output_shape(self, shape: Any) -> Any:
        return shape

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name}


def test_layers_of_the_users(path: Path) -> None:
    model = Sequential([filled(), Doubling()])
    model.save(path.with_suffix(".npz"))
    layers = dwconv.load_layers(path.with_suffix(".npz"))
    assert layers.skipped == {"doubling": "Doubling"}
    assert_same_layer(layers["dw"], model.layers[0])
    with pytest.raises(FormatError, match="received 'doubling', a Doubling"):
        dwconv.load(path.with_suffix(".npz"))
    model.layers[1].get_weights = lambda: [np.ones(1)]
    with pytest.raises(ValueError, match=r"expected layers of dwconv; received .*, with weights"):
        model.save(path.with_suffix(".npz"))


# ---- what others read ----------------------------------------------------------------------------


def test_numpy_reads_npz_without_pickles(path: Path) -> None:
    layer = filled()
    layer.save(path.with_suffix(".npz"))
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as file:
        assert sorted(file) == ["__metadata__", "bias", "kernel"]
        assert file["kernel"].tobytes() == layer.get_weights()[0].tobytes()
        metadata = json.loads(file["__metadata__"].item())
    assert metadata["format"] == "dwconv"
    assert json.loads(metadata["layer"])["config"]["kernel_size"] == [1, 2]


def test_h5py_reads_the_layout_of_keras_3(path: Path) -> None:
    model = nested()
    model.save(path.with_suffix(".keras"))
    with zipfile.ZipFile(path.with_suffix(".keras")) as archive:
        assert sorted(archive.namelist()) == ["config.json", "metadata.json", "model.weights.h5"]
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert json.loads(archive.read("metadata.json"))["keras_version"].startswith("3.")
        config = json.loads(archive.read("config.json"))
        weights = archive.read("model.weights.h5")
    assert config["class_name"] == "Sequential"
    assert config["config"]["layers"][1]["config"]["dtype"] == "float32"  # any Keras 3 reads that
    with h5py.File(io.BytesIO(weights)) as file:
        kernel = file["layers/sequential/layers/depthwise_conv2d/vars/0"][()]
        bias = file["layers/depthwise_conv2d/vars/1"][()]
    assert kernel.tobytes() == model.weights[2].tobytes()
    assert bias.tobytes() == model.weights[1].tobytes()


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_without_h5py_the_error_names_the_extra(
    path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    filled().save(path.with_suffix(suffix))
    before = path.with_suffix(suffix).read_bytes()
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"needs h5py.*pip install 'dwconv\[keras\]'"):
        filled().save(path.with_suffix(suffix))
    assert path.with_suffix(suffix).read_bytes() == before
    assert names(path) == [f"thing{suffix}"]


# ---- weights alone -------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", WITH_WEIGHTS)
def test_weights_of_a_layer(path: Path, suffix: str) -> None:
    layer = filled()
    layer.save_weights(path.with_suffix(suffix))
    for other in (
        filled(name="other"),
        DepthwiseConv2D((1, 2)),
        DepthwiseConv2D((1, 2), weights=[np.ones((1, 2, 2, 1)), [0, 0]]),
    ):
        other.load_weights(path.with_suffix(suffix))
        assert [w.tobytes() for w in other.weights] == [w.tobytes() for w in layer.weights]
        assert other.built


class Mine(DepthwiseConv2D):
    """A subclass: nothing in a file could find it again."""

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mine": 1}


@pytest.mark.parametrize("suffix", [*WITH_WEIGHTS, ".json"])
def test_subclasses_are_saved_as_weights_alone(path: Path, suffix: str) -> None:
    path = path.with_suffix(suffix)
    layer = Mine((1, 2), input_shape=(4, 4, 2))
    layer.build()
    inner = type("Inner", (Sequential,), {})([filled()])
    for thing in (layer, Sequential([layer]), Sequential([inner])):
        with pytest.raises(ValueError, match="expected"):
            thing.save(path)
        assert names(path) == []
    if suffix != ".json":
        layer.save_weights(path)
        other = Mine((1, 2))
        other.load_weights(path)
        assert [w.tobytes() for w in other.weights] == [w.tobytes() for w in layer.weights]


def test_what_has_no_weights(path: Path) -> None:
    with pytest.raises(ValueError, match=r"path: expected a format with weights"):
        filled().save_weights(path.with_suffix(".json"))
    with pytest.raises(ValueError, match="call build first"):
        DepthwiseConv2D(3).save_weights(path.with_suffix(".npz"))
    DepthwiseConv2D((1, 2), name="dw").save(path.with_suffix(".npz"))
    filled().save(path.with_suffix(".json"))
    for suffix in (".npz", ".json"):
        with pytest.raises(FormatError, match="expected weights of 'dw'; it has none"):
            filled().load_weights(path.with_suffix(suffix))


def test_weights_of_one_of_many(path: Path) -> None:
    model = Sequential([filled(name="a"), filled(name="b", dtype="float64")])
    for suffix in WITH_ALL:
        model.save(path.with_suffix(suffix))
        layer = DepthwiseConv2D((1, 2), name="b", dtype="float64")
        layer.load_weights(path.with_suffix(suffix))
        assert layer.kernel.tobytes() == model.layers[1].kernel.tobytes()
        with pytest.raises(FormatError, match=r"or one named 'c'; received \['a', 'b'\]"):
            filled(name="c").load_weights(path.with_suffix(suffix))


def test_weights_of_others(path: Path) -> None:
    kernel, bias = draw(1, 2, 3, 1), draw(3)
    safetensors.numpy.save_file({"kernel": kernel, "bias": bias}, path.with_suffix(".safetensors"))
    np.savez(path.with_suffix(".npz"), kernel=np.asfortranarray(kernel), bias=bias.astype(">f4"))
    for suffix in (".safetensors", ".npz"):
        layer = DepthwiseConv2D((1, 2))
        layer.load_weights(path.with_suffix(suffix))
        np.testing.assert_array_equal(layer.kernel, kernel)
        np.testing.assert_array_equal(layer.bias, bias)
        with pytest.raises(FormatError, match="not from dwconv"):
            dwconv.load(path.with_suffix(suffix))


@pytest.mark.parametrize("suffix", WITH_WEIGHTS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel_size": (2, 2)}, r"weights\[0\], the kernel: expected shape"),
        ({"depth_multiplier": 2}, r"weights\[0\], the kernel: expected shape"),
        ({"use_bias": False}, r"expected \['kernel'\]; received \['bias', 'kernel'\]"),
        ({"dtype": "float64"}, "expected dtype float64; received float32"),
        ({"input_shape": (None, None, 3)}, "expected 2 channels|expected shape"),
    ],
)
def test_weights_that_do_not_fit_change_nothing(
    path: Path, suffix: str, arguments: dict[str, Any], message: str
) -> None:
    filled().save(path.with_suffix(suffix))
    layer = DepthwiseConv2D(**{"kernel_size": (1, 2), "name": "dw", **arguments})
    for build in (False, True):
        if build:
            layer.build((None, None, None, 3 if "input_shape" in arguments else 2))
        before = layer.get_weights()
        with pytest.raises(FormatError, match=message) as caught:
            layer.load_weights(path.with_suffix(suffix))
        assert str(caught.value).startswith(f"{path.with_suffix(suffix)}: ")
        assert layer.built is build
        assert [w.tobytes() for w in layer.weights] == [w.tobytes() for w in before]
    assert layer._initial is None


# ---- mapping -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_mapped_weights(path: Path, dtype: str) -> None:
    path = path.with_suffix(".safetensors")
    model = Sequential([filled(dtype=dtype), filled(name="b", dtype=dtype, use_bias=False)])
    model.save(path)
    mapped = dwconv.load(path, mmap=True)
    assert_same_model(mapped, model)
    x = draw(1, 3, 4, 2)
    assert mapped(x).tobytes() == model(x).tobytes()
    for array in mapped.weights:
        assert not array.flags.writeable
        base = array
        while not isinstance(base, np.memmap) and base.base is not None:
            base = base.base
        assert isinstance(base, np.memmap)
    copies = mapped.get_weights()
    Sequential([filled(name="c", dtype=dtype)]).save(path)  # in the place of the mapped file
    assert [w.tobytes() for w in mapped.weights] == [w.tobytes() for w in copies]
    mapped.set_weights([np.zeros_like(w) for w in copies])
    assert not any(w.any() for w in mapped.weights)


def test_mapping_reads_no_weights(path: Path) -> None:
    path = path.with_suffix(".safetensors")
    layer = DepthwiseConv2D(3, depthwise_initializer="zeros", use_bias=False)
    layer.build((None, 3, 3, 1_000_000))  # 36 MB
    layer.save(path)
    content = path.read_bytes()
    tracemalloc.start()
    try:
        dwconv.load(path, mmap=True)
        mapped = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        dwconv.load(path)
        read = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert mapped < 1_000_000 < len(content) < read


def test_a_mapped_model_is_one_open_file(path: Path) -> None:
    path = path.with_suffix(".safetensors")
    model = Sequential([filled(name=f"dw{i}") for i in range(20)])
    model.save(path)
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    handle = os.open(path, os.O_RDONLY)
    os.close(handle)
    resource.setrlimit(resource.RLIMIT_NOFILE, (handle + 3, limits[1]))
    try:
        mapped = dwconv.load(path, mmap=True)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert_same_model(mapped, model)


@pytest.mark.parametrize("suffix", [".npz", ".keras"])
def test_only_safetensors_is_mapped(path: Path, suffix: str) -> None:
    filled().save(path.with_suffix(suffix))
    with pytest.raises(ValueError, match=r"mmap: expected a \.safetensors file; received"):
        dwconv.load(path.with_suffix(suffix), mmap=True)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        ({"dtype": "F32", "shape": [1, 2, 2, 1], "data_offsets": [0, 16]}, "damaged"),
        ({"dtype": "F32", "shape": [1, 2, 3, 1], "data_offsets": [8, 24]}, "damaged"),
        ({"dtype": "F32", "shape": [1, 2, -2, -1], "data_offsets": [8, 24]}, "damaged"),
        ({"dtype": "F32", "shape": [0, 2**60, 2**60, 1], "data_offsets": [8, 24]}, "damaged"),
        ({"dtype": "F64", "shape": [1, 2, 1, 1], "data_offsets": [8, 24]}, "dtype float32"),
        ({"dtype": "U32", "shape": [1, 2, 2, 1], "data_offsets": [8, 24]}, "expected a dtype"),
        ({"shape": [1, 2, 2, 1], "data_offsets": [8, 24]}, "expected a dtype"),
        ({"dtype": "F32", "shape": "1221", "data_offsets": [8, 24]}, "damaged"),
        ({"dtype": "F32", "shape": [1, 2, 2, 1], "data_offsets": [8, 2**40]}, "truncated"),
    ],
)
def test_damaged_headers_of_mapped_files(path: Path, tensor: dict[str, Any], message: str) -> None:
    path = path.with_suffix(".safetensors")
    filled().save(path)
    edit(path, lambda header: header.update(kernel=tensor))
    with pytest.raises(FormatError, match=message):
        dwconv.load(path, mmap=True)


# ---- writing whole or not at all -----------------------------------------------------------------


@pytest.mark.parametrize("suffix", [*store.WRITERS])
def test_a_failure_leaves_the_old_file(
    path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    path = path.with_name(f"thing{suffix}")
    filled().save(path)
    before = path.read_bytes()

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fail)
        with pytest.raises(OSError, match="disk full"):
            nested().save(path)
    broken = filled(activation="relu")
    broken.activation = lambda y: y
    if suffix != ".weights.h5":
        with pytest.raises(ValueError, match="lambda"):
            broken.save(path)
    assert path.read_bytes() == before
    assert names(path) == [path.name]
