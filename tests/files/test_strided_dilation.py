"""Strides together with dilation in files: Keras 3 computes them, older ones refuse them."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from support import assert_same_bits
from support.layers import draw, isolate

import dwconv
from dwconv import DepthwiseConv2D


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


BOTH: dict[str, Any] = {"strides": 2, "dilation_rate": 2, "padding": "same"}


@pytest.mark.parametrize("in_a_model", [False, True])
@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".keras", ".json"])
def test_round_trip(suffix: str, in_a_model: bool, tmp_path: Path) -> None:
    layer = DepthwiseConv2D(3, **BOTH, allow_strided_dilation=True, input_shape=(9, 9, 2))
    saved: Any = dwconv.Sequential([layer]) if in_a_model else layer
    x = draw(1, 9, 9, 2)
    y = saved(x)
    path = tmp_path / f"both{suffix}"
    saved.save(path)
    again = dwconv.load(path)
    assert (again.layers[0] if in_a_model else again).same_config(layer)
    if suffix != ".json":
        assert_same_bits(again(x), y, suffix)


def test_keras_reads_what_is_written(tmp_path: Path) -> None:
    """Keras refuses arguments that it does not know."""
    path = tmp_path / "both.keras"
    DepthwiseConv2D(3, **BOTH, allow_strided_dilation=True, input_shape=(9, 9, 2)).save(path)
    with zipfile.ZipFile(path) as file:
        assert b"allow_strided_dilation" not in file.read("config.json")


def test_architectures(tmp_path: Path) -> None:
    """A bare architecture: modules are what Keras 3 writes and Keras 2 does not."""
    config = {"name": "both", "kernel_size": [3, 3], "strides": [2, 2], "dilation_rate": [2, 2]}
    entry: dict[str, Any] = {"class_name": "DepthwiseConv2D", "config": config}
    path = tmp_path / "model.json"
    model = {"class_name": "Sequential", "config": {"name": "s", "layers": [entry]}}
    path.write_text(json.dumps(model), encoding="utf-8")
    with pytest.raises(dwconv.FormatError, match=r"both.*expected strides or dilation"):
        dwconv.load_layers(path)
    entry["module"] = "keras.layers"
    path.write_text(json.dumps(model), encoding="utf-8")
    assert list(dwconv.load_layers(path)) == ["both"]
