"""An item that is no layer's never hides the others: `on_error="skip"`, `inspect`,
`load_weights`.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from support import slow
from support.layers import isolate

from dwconv import DepthwiseConv2D, FormatError, load_layers
from dwconv.__main__ import main


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


def without(key: str) -> Callable[[dict[str, Any]], Any]:
    return lambda item: {k: value for k, value in item.items() if k != key}


#: What becomes of a layer's item, the name that it then has, and what is said of it.
FAULTS: dict[str, tuple[Callable[[dict[str, Any]], Any], str, str]] = {
    "null": (lambda item: None, "item 1", "expected an item with class_name and config"),
    "a number": (lambda item: 3, "item 1", "expected an item with class_name and config"),
    "a list": (lambda item: [item], "item 1", "expected an item with class_name and config"),
    "a text": (lambda item: "dw", "item 1", "expected an item with class_name and config"),
    "empty": (lambda item: {}, "item 1", "expected an item with class_name and config"),
    "no config": (without("config"), "item 1", "expected an item with class_name and config"),
    "config is null": (lambda item: {**item, "config": None}, "item 1", "expected an item"),
    "config is a number": (lambda item: {**item, "config": 1}, "item 1", "expected an item"),
    "no class": (without("class_name"), "bad", "class_name: expected a string"),
    "class is null": (lambda item: {**item, "class_name": None}, "bad", "class_name: expected"),
    "class is a list": (lambda item: {**item, "class_name": ["x"]}, "bad", "class_name: expected"),
    "class is long": (lambda item: {**item, "class_name": "x" * 2000}, "bad", "class_name: exp"),
    "name is a number": (
        lambda item: {**item, "config": {**item["config"], "name": 7}}, "item 1", "name: exp"),
    "name is empty": (
        lambda item: {**item, "config": {**item["config"], "name": ""}}, "item 1", "name"),
    "name is long": (
        lambda item: {**item, "config": {**item["config"], "name": "x" * 2000}}, "item 1", "name"),
    "name is another's": (
        lambda item: {**item, "config": {**item["config"], "name": "first"}}, "item 1",
        "expected names of layers once; received 'first' twice"),
    "a model without layers": (
        lambda item: {"class_name": "Sequential", "config": {"name": "bad", "layers": {}}}, "bad",
        "layers: expected a list"),
    "a wrapper of none": (
        lambda item: {"class_name": "TimeDistributed", "config": {"name": "bad", "layer": {
            "class_name": "x" * 2000, "config": {"name": "in"}}}}, "bad/in", "class_name: exp"),
    "a kernel_size of text": (
        lambda item: {**item, "config": {**item["config"], "kernel_size": "3"}}, "bad",
        "kernel_size: expected"),
}  # fmt: skip

NAMES = ("first", "bad", "last")


def item(name: str) -> dict[str, Any]:
    config = {"name": name, "kernel_size": [1, 2], "use_bias": False}
    return {"class_name": "DepthwiseConv2D", "config": config}


def document(fault: str, within: str) -> tuple[dict[str, Any], str]:
    """A model with a layer that is damaged, and the path to its model."""
    make = FAULTS[fault][0]
    items = [make(item(name)) if name == "bad" else item(name) for name in NAMES]
    inner = {"class_name": "Sequential", "config": {"name": "inner", "layers": items}}
    if within == "":
        return inner, ""
    outer = inner
    if within == "wrapper":
        outer = {"class_name": "TimeDistributed", "config": {"name": "around", "layer": inner}}
    model = {"class_name": "Sequential", "config": {"name": "m", "layers": [outer]}}
    return model, "inner/" if within == "model" else "around/inner/"


def kernel(number: int) -> Any:
    return np.full((1, 2, 3, 1), number, "f4")


def written(form: str, model: dict[str, Any], prefix: str, path: Path) -> Path:
    """A file with the model and, but for JSON, the weights 0, 1, 2 of its layers."""
    if form == "json":
        path = path / "m.json"
        path.write_text(json.dumps(model))
        return path
    parts = prefix.split("/")[:-1]
    if form == "by name":
        with h5py.File(path / "m.h5", "w") as file:
            file.attrs.update(model_config=json.dumps(model), keras_version="2.9.0")
            group = file.create_group("model_weights")
            groups = {name: [name] for name in NAMES} if not parts else {parts[0]: list(NAMES)}
            group.attrs["layer_names"] = [name.encode() for name in groups]
            for outermost, names in groups.items():
                inner = group.create_group(outermost)
                weights = [f"{name}/depthwise_kernel:0" for name in names]
                inner.attrs["weight_names"] = [weight.encode() for weight in weights]
                for name, weight in zip(names, weights, strict=True):
                    inner[weight] = kernel(NAMES.index(name))
        return path / "m.h5"
    place = {0: "", 1: "layers/sequential/", 2: "layers/time_distributed/layer/"}[len(parts)]
    with h5py.File(path / "w.h5", "w") as file:
        for number, end in enumerate(("", "_1", "_2")):
            file[f"{place}layers/depthwise_conv2d{end}/vars/0"] = kernel(number)
    with zipfile.ZipFile(path / "m.keras", "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.0.0"}))
        archive.writestr("config.json", json.dumps(model))
        archive.write(path / "w.h5", "model.weights.h5")
    return path / "m.keras"


@pytest.mark.parametrize("within", ["", *slow("model", "wrapper")])
@pytest.mark.parametrize("form", ["json", "by name", "by place"])
@pytest.mark.parametrize("fault", FAULTS)
def test_one_malformed_item(
    fault: str, form: str, within: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, name, reason = FAULTS[fault]
    if form == "by place" and fault in ("a model without layers", "a wrapper of none"):
        pytest.skip("the weights would be elsewhere")
    model, prefix = document(fault, within)
    path = written(form, model, prefix, tmp_path)
    with pytest.raises(FormatError, match=reason):
        load_layers(path)
    layers = load_layers(path, on_error="skip")
    assert list(layers) == [f"{prefix}first", f"{prefix}last"]
    reasons = {path: why for path, why in layers.skipped.items() if ": " in why}
    assert list(reasons) == [prefix + name]
    assert reason in reasons[prefix + name]
    for index, last in ((0, "first"), (2, "last")):
        layer = layers[prefix + last]
        assert layer.built == (form != "json")
        if layer.built:
            np.testing.assert_array_equal(layer.get_weights()[0], kernel(index))
    assert load_layers(path, on_error="skip", fold=True).keys() == layers.keys()
    assert main(["inspect", str(path)]) == 0
    shown = capsys.readouterr().out
    for part in (f"{prefix}first", f"{prefix}last", f"not read {prefix}{name}"):
        assert part in shown
    if form != "json":
        layer = DepthwiseConv2D((1, 2), use_bias=False, name="last")
        layer.load_weights(path)
        np.testing.assert_array_equal(layer.get_weights()[0], kernel(2))


def test_all_items_malformed(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    items = [None, {}, item("dw"), item("dw"), {"class_name": "DepthwiseConv2D"}]
    model = {"class_name": "Sequential", "config": {"name": "m", "layers": items}}
    path.write_text(json.dumps(model))
    layers = load_layers(path, on_error="skip")
    assert list(layers) == ["dw"]
    assert list(layers.skipped) == ["item 0", "item 1", "item 3", "item 4"]
    assert layers.skipped["item 4"].startswith("DepthwiseConv2D: layer 'item 4': expected an item")


def test_models_nested_too_deep_hide_no_other(tmp_path: Path) -> None:
    deep = item("in")
    for number in range(40):
        deep = {"class_name": "Sequential", "config": {"name": f"m{number}", "layers": [deep]}}
    path = tmp_path / "m.json"
    model = {"class_name": "Sequential", "config": {"name": "m", "layers": [deep, item("dw")]}}
    path.write_text(json.dumps(model))
    with pytest.raises(FormatError, match="expected models nested 32 deep at most"):
        load_layers(path)
    layers = load_layers(path, on_error="skip")
    assert list(layers) == ["dw"]
    assert [why for why in layers.skipped.values() if "nested 32 deep" in why]


@pytest.mark.parametrize("groups", [2, 3, 4])
def test_places_after_an_item_without_a_class(groups: int, tmp_path: Path) -> None:
    """The groups in the file tell whether it is a depthwise layer, too; or nothing does."""
    items = [item("first"), {"config": {"name": "bad"}}, item("last")]
    model = {"class_name": "Sequential", "config": {"name": "m", "layers": items}}
    with h5py.File(tmp_path / "w.h5", "w") as file:
        for number in range(groups):
            end = f"_{number}" if number else ""
            file[f"layers/depthwise_conv2d{end}/vars/0"] = kernel(number)
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.0.0"}))
        archive.writestr("config.json", json.dumps(model))
        archive.write(tmp_path / "w.h5", "model.weights.h5")
    layers = load_layers(path, on_error="skip")
    found = {name: float(layer.get_weights()[0][0, 0, 0, 0]) for name, layer in layers.items()}
    assert (
        found == {2: {"first": 0, "last": 1}, 3: {"first": 0, "last": 2}, 4: {"first": 0}}[groups]
    )
    if groups == 4:
        assert "an item before it has no class" in layers.skipped["last"]
