"""Tensors in, NumPy arrays out: no copy on the way in, errors that name the argument."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import dwconv
from dwconv.dtypes import read_array


def case(dtype: Any = "f4") -> tuple[Any, Any, Any]:
    """(layer, x, y)"""
    layer = dwconv.DepthwiseConv2D(3)
    x = np.random.default_rng(1).standard_normal((2, 8, 9, 4)).astype(dtype)
    return layer, x, layer(x)


def is_array_of(y: Any, expected: Any) -> None:
    assert type(y) is np.ndarray
    assert y.dtype == expected.dtype
    assert y.tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "int32"])
def test_torch(dtype: str) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("ml_dtypes")
    layer, x, _ = case()
    tensor = torch.from_numpy(x * 10).to(getattr(torch, dtype))
    array = read_array("x", tensor)
    assert array.ctypes.data == tensor.data_ptr()
    assert array.dtype.name == dtype
    assert (array.astype("f8") == tensor.double().numpy()).all()
    is_array_of(layer(tensor), layer(array))
    moved = tensor.permute(0, 2, 1, 3)
    assert read_array("x", moved).ctypes.data == tensor.data_ptr()
    is_array_of(layer(moved), layer(array.transpose(0, 2, 1, 3)))
    is_array_of(
        dwconv.depthwise_conv2d(tensor, torch.from_numpy(np.array(layer.kernel))),
        dwconv.depthwise_conv2d(array, layer.kernel),
    )


def test_torch_tensors_that_have_no_array() -> None:
    torch = pytest.importorskip("torch")
    layer, x, y = case()
    tensor = torch.from_numpy(x)
    for wrong in (tensor.clone().requires_grad_(), tensor.to("meta"), tensor.to_sparse()):
        with pytest.raises(TypeError, match=r"^x: expected an array for the CPU; received"):
            layer(wrong)
    is_array_of(layer(tensor.clone().requires_grad_().detach()), y)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int32"])
def test_jax(dtype: str) -> None:
    jax = pytest.importorskip("jax")
    layer, x, _ = case()
    tensor = jax.numpy.asarray(x * 10).astype(dtype)
    array = read_array("x", tensor)
    assert array.ctypes.data == tensor.unsafe_buffer_pointer()
    assert array.dtype.name == dtype
    is_array_of(layer(tensor), layer(np.asarray(tensor)))


def test_jax_tracers_have_no_array() -> None:
    jax = pytest.importorskip("jax")
    layer, x, _ = case()
    with pytest.raises(TypeError):
        jax.jit(layer)(x)
