"""What a layer and the functions take as an array, and what NumPy is told of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support import assert_same_bits
from support.layers import draw

import dwconv
from dwconv.layers.backward import Gradients

Array = NDArray[Any]


class DLPackOnly:
    """An array of another library that speaks DLPack and no other protocol."""

    def __init__(self, array: Array) -> None:
        self.array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()


class OnAnotherDevice(DLPackOnly):
    """The same on a GPU."""

    def __dlpack__(self, **_: Any) -> Any:
        raise BufferError("the array is on device 2, cuda")


X, KERNEL, BIAS = draw(1, 5, 6, 3), draw(2, 2, 3, 1, seed=1), draw(3, seed=2)
DY = draw(1, 4, 5, 3, seed=3)


def layer() -> dwconv.DepthwiseConv2D:
    return dwconv.DepthwiseConv2D(2, weights=[KERNEL, BIAS])


#: Each takes one array, and gives one.
USES: dict[str, tuple[str, Array, Callable[[Any], Any]]] = {
    "layer": ("x", X, lambda x: layer()(x)),
    "plan": ("x", X, lambda x: layer().plan(X.shape)(x)),
    "model": ("x", X, lambda x: dwconv.Sequential([layer()])(x)),
    "vjp": ("x", X, lambda x: layer().vjp(x)[0]),
    "pullback": ("dy", DY, lambda dy: layer().vjp(X)[1](dy).input),
    "weights": ("weights", KERNEL, lambda k: dwconv.DepthwiseConv2D(2, weights=[k, BIAS])(X)),
    "operation, x": ("x", X, lambda x: dwconv.depthwise_conv2d(x, KERNEL)),
    "operation, kernel": ("kernel", KERNEL, lambda k: dwconv.depthwise_conv2d(X, k)),
    "operation, bias": ("bias", BIAS, lambda b: dwconv.depthwise_conv2d(X, KERNEL, b)),
    "kernel gradient": (
        "dy",
        DY,
        lambda dy: dwconv.depthwise_conv2d_kernel_grad(dy, X, KERNEL.shape),
    ),
    "input gradient": (
        "dy",
        DY,
        lambda dy: dwconv.depthwise_conv2d_input_grad(dy, KERNEL, X.shape),
    ),
    "bias gradient": ("dy", DY, dwconv.depthwise_conv2d_bias_grad),
    "plan.run": ("x", X, lambda x: layer().plan(X.shape).run(x)),
    "reference, x": ("x", X, lambda x: dwconv.reference.depthwise_conv2d(x, KERNEL)),
    "reference, kernel": ("kernel", KERNEL, lambda k: dwconv.reference.depthwise_conv2d(X, k)),
    "reference, bias": ("bias", BIAS, lambda b: dwconv.reference.depthwise_conv2d(X, KERNEL, b)),
    "regularizer": ("x", X, lambda x: np.float64(dwconv.regularizers.L2()(x))),
    "slope of a penalty": ("x", X, dwconv.regularizers.L1(1).gradient),
    "constraint": ("w", X, dwconv.constraints.UnitNorm()),
    "initializer": ("value", X, lambda x: dwconv.initializers.Constant(x)(X.shape)),
    "an array as initializer": (
        "value",
        KERNEL,
        lambda k: dwconv.DepthwiseConv2D(2, depthwise_initializer=k, use_bias=False)(X),
    ),
    "step": ("kernel", KERNEL, lambda k: stepped(k)),
    "weight of PyTorch": ("weight", X[:, :1], dwconv.from_torch_weight),
}


def stepped(gradient: Any) -> Array:
    """A kernel after a step of an optimizer."""
    found = layer()
    found.build(X.shape)
    dwconv.optimizers.Adam().apply(found, Gradients(kernel=gradient))
    return found.get_weights()[0]


@pytest.mark.parametrize("use", USES)
def test_dlpack_alone(use: str) -> None:
    _, array, call = USES[use]
    assert_same_bits(call(DLPackOnly(array)), call(array), use)


@pytest.mark.parametrize("use", USES)
def test_dlpack_of_another_device(use: str) -> None:
    name, array, call = USES[use]
    with pytest.raises(TypeError, match=f"^(depthwise_conv2d: )?{name}.*: expected .*device 2"):
        call(OnAnotherDevice(array))


@pytest.mark.parametrize("use", USES)
def test_a_mask_is_not_dropped(use: str) -> None:
    """A convolution knows no mask: what is masked would count."""
    name, array, call = USES[use]
    masked = np.ma.masked_array(array, mask=np.zeros(array.shape, bool))
    with pytest.raises(TypeError, match=f"^(depthwise_conv2d: )?{name}.*: expected .*masked array"):
        call(masked)
    assert_same_bits(call(masked.filled(0)), call(array), use)


MASKED = np.ma.masked_array(X, mask=np.zeros(X.shape, bool))
LAYER = dwconv.DepthwiseConv2D(1)
LAYER.build(X.shape)
PLAN = LAYER.plan(X.shape)

#: Where else an array with a mask may come: what begins the message, and a call with it.
OTHER_USES: dict[str, tuple[str, Any]] = {
    "out of a plan": ("out", lambda: PLAN(X, MASKED)),
    "out of the operation": (
        "out",
        lambda: dwconv.depthwise_conv2d(X, LAYER.kernel, out=MASKED),
    ),
    "x of plan.run": ("x", lambda: PLAN.run(MASKED)),
    "out of plan.run": ("out", lambda: PLAN.run(X, MASKED)),
    "out of run_part": ("out", lambda: PLAN.run_part(X, MASKED, 0, 1)),
    "fused activation": ("x", lambda: dwconv.activations.gelu(MASKED)),
    "activation": ("x", lambda: dwconv.activations.get("mish")(MASKED)),
    "gradient": ("upstream", lambda: dwconv.activations.gelu.gradient(X, MASKED)),
    "regularizer": ("x", lambda: dwconv.regularizers.get("l2")(MASKED)),
    "constraint": ("w", lambda: dwconv.constraints.get("unit_norm")(MASKED)),
    "initializer": ("value", lambda: dwconv.initializers.Constant(MASKED)),
    "batch normalization": (
        "mean",
        lambda: dwconv.fold_batch_norm(LAYER, None, None, MASKED[0, 0, 0], np.ones(X.shape[3]), 0),
    ),
}


@pytest.mark.parametrize("use", OTHER_USES)
def test_a_mask_is_not_dropped_elsewhere(use: str) -> None:
    name, call = OTHER_USES[use]
    with pytest.raises(TypeError, match=f"^{name}: expected .*masked array"):
        call()


HUGE, TINY = 1e300, 1e-300  # infinite and zero in float32


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("activation", [None, "softmax", "gelu"])
def test_numpy_raises_nothing(dtype: str, activation: str | None) -> None:
    """A cast may overflow or underflow; that is no error of the call, whatever NumPy is told."""
    x = np.full((1, 4, 4, 2), HUGE)
    x[:, :2] = TINY
    x[:, 2, 0] = np.nan
    with np.errstate(all="ignore"):
        kernel = np.full((2, 2, 2, 1), HUGE).astype(dtype)
        narrow = x.astype(dtype)
    with np.errstate(all="raise"):
        made = dwconv.DepthwiseConv2D(2, dtype=dtype, activation=activation)
        made.build(x.shape)
        made.set_weights([np.full((2, 2, 2, 1), 1e-50), [1e100, 1e-100]])
        y = made(x)
        assert y.dtype == dtype
        made.plan(x.shape)(x)
        made.vjp(x)[1](np.full(y.shape, HUGE))
        dwconv.depthwise_conv2d(narrow, kernel, [HUGE, TINY], activation=activation)


class TensorShape:
    """As TensorFlow's: no sequence, and `as_list` fails where the rank is unknown."""

    def __init__(self, *sizes: int | None, known: bool = True) -> None:
        self._sizes, self._known = sizes, known

    def as_list(self) -> list[int | None]:
        if not self._known:
            raise ValueError("as_list() is not defined on an unknown TensorShape.")
        return list(self._sizes)


def test_a_tensor_shape_is_a_shape() -> None:
    layer = dwconv.DepthwiseConv2D(3)
    layer.build(TensorShape(None, 8, 8, 4))
    assert layer.kernel.shape == (3, 3, 4, 1)
    assert layer.compute_output_shape(TensorShape(2, 8, 8, 4)) == (2, 6, 6, 4)
    assert layer.plan(TensorShape(2, 8, 8, 4)).y_shape == (2, 6, 6, 4)
    assert dwconv.Input(TensorShape(8, 8, 4)).shape == (None, 8, 8, 4)
    with pytest.raises(ValueError, match="expected a sequence of sizes"):
        dwconv.Input(TensorShape(known=False))
