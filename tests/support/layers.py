"""What the tests of layers share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import dwconv
from dwconv import naming
from support import assert_close, tolerance


def isolate(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """Fresh names, and no keras.json of whoever runs the tests."""
    naming.reset()
    monkeypatch.setenv("KERAS_HOME", str(home))
    monkeypatch.setenv("HOME", str(home))


def draw(*shape: int, seed: int = 0, dtype: str = "float32") -> NDArray[Any]:
    """Standard normal numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def check_output(layer: dwconv.DepthwiseConv2D, x: NDArray[Any], y: NDArray[Any]) -> None:
    """Asserts that y is the reference's output; for linear, relu and relu6."""
    kernel, *rest = layer.get_weights()
    bias = rest[0] if rest else None
    options = {
        "strides": layer.strides,
        "padding": layer.padding,
        "dilation_rate": layer.dilation_rate,
        "data_format": layer.data_format,
        "activation": getattr(layer.activation, "name", None),
    }
    x = x.astype(kernel.dtype)
    expected = dwconv.reference.depthwise_conv2d(x, kernel, bias, **options)
    assert y.dtype == kernel.dtype
    assert_close(y, expected, tolerance(x, kernel, bias, **options), layer)
