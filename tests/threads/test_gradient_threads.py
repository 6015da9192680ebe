"""Gradients by several threads: the same to the bit for any number, and who says how many.

`make tsan` runs these tests under ThreadSanitizer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support import FLOATS, assert_same_bits

import dwconv
from dwconv import config, ops
from dwconv import isa as isas
from dwconv.ops import gradients

Array = NDArray[Any]

NAMES = ("dx", "dkernel", "dbias")


@st.composite
def problems(draw: st.DrawFn) -> dict[str, Any]:
    """Convolutions large enough for two threads: of few images and of many."""
    common = draw(st.booleans())  # kernel widths and strides that have kernels of their own
    size = draw(st.sampled_from([3, 5]) if common else st.integers(1, 4))
    stride = draw(st.integers(1, 2 if common else 3))
    multiplier = draw(st.sampled_from([1, 1, 1, 2]))
    return {
        "x_shape": (
            draw(st.integers(1, 9)),
            draw(st.integers(9, 24)),  # 5 taps, dilated by 2, reach 9
            draw(st.integers(9, 24)),  # 5 taps, dilated by 2, reach 9
            draw(st.sampled_from([3, 16, 24, 37, 64, 96])),
        ),
        "kernel": (draw(st.sampled_from([size, 3])), size, multiplier),
        "strides": (draw(st.integers(1, 2)), stride),
        "dilation_rate": draw(st.sampled_from([1, 1, 2])),
        "layout": draw(st.sampled_from(["channels_last", "channels_first"])),
        "padding": draw(st.sampled_from(["valid", "same", ((0, 2), (3, 1))])),
        "dtype": draw(st.sampled_from(FLOATS)),
        "seed": draw(st.integers(0, 2**32 - 1)),
    }


@pytest.mark.slow
@settings(max_examples=60)
@given(problem=problems())
def test_same_bits_for_any_number(problem: dict[str, Any]) -> None:
    """On every instruction set, all three gradients at once and dx alone."""
    random = np.random.default_rng(problem["seed"])
    height, width, multiplier = problem["kernel"]
    shape = (height, width, problem["x_shape"][3], multiplier)
    dtype = np.dtype(problem["dtype"])

    def draw(sizes: tuple[int, ...]) -> Array:
        return random.standard_normal(sizes).astype(dtype)

    kernel = draw(shape)
    spec = ops.ConvSpec.for_kernel(
        shape, problem["strides"], problem["padding"], problem["dilation_rate"], problem["layout"]
    )
    x_shape = spec.from_nhwc(*problem["x_shape"])
    arrays = None
    for isa in isas.available():
        plan = gradients.make_plan(spec, x_shape, dtype, kernel, isa)
        arrays = arrays or (draw(plan.y_shape), draw(plan.x_shape))
        dy, x = arrays
        assume(plan.threads(2) == 2)
        one = gradients.run(plan, dy, x, 1)
        for threads in (2, 3, 4):
            found = gradients.run(plan, dy, x, threads)
            for name, wanted, mine in zip(NAMES, one, found, strict=True):
                assert_same_bits(mine, wanted, (name, threads, isa, problem))
            alone = gradients.run(plan, dy, None, threads)[0]
            assert_same_bits(alone, one[0], (threads, isa, problem))


def arrays() -> tuple[Array, Array, Array]:
    """x, kernel and dy of a 3x3 convolution with 'same' padding."""
    random = np.random.default_rng(1)
    x, dy = (random.standard_normal((4, 20, 20, 48), np.float32) for _ in range(2))
    return x, random.standard_normal((3, 3, 48, 1), np.float32), dy


def test_few_work_stays_on_one_thread() -> None:
    spec, dtype = ops.ConvSpec((3, 3), padding="same"), np.dtype(np.float32)
    small = gradients.make_plan(spec, (1, 4, 4, 8), dtype, None)
    assert small.threads(4) == 1
    large = gradients.make_plan(spec, (4, 20, 20, 48), dtype, None)
    assert large.threads(4) == 4


def test_functions_and_layers_take_a_number() -> None:
    x, kernel, dy = arrays()
    options: dict[str, Any] = {"padding": "same"}
    dx = dwconv.depthwise_conv2d_input_grad(dy, kernel, x.shape, **options)
    dkernel = dwconv.depthwise_conv2d_kernel_grad(dy, x, kernel.shape, **options)
    dbias = dwconv.depthwise_conv2d_bias_grad(dy)
    for threads in (1, 2, 3):
        options["num_threads"] = threads
        found = dwconv.depthwise_conv2d_input_grad(dy, kernel, x.shape, **options)
        assert_same_bits(found, dx, threads)
        found = dwconv.depthwise_conv2d_kernel_grad(dy, x, kernel.shape, **options)
        assert_same_bits(found, dkernel, threads)
        assert_same_bits(dwconv.depthwise_conv2d_bias_grad(dy, num_threads=threads), dbias, threads)
        layer = dwconv.DepthwiseConv2D(
            3, padding="same", weights=[kernel, np.zeros(48, np.float32)], num_threads=threads
        )
        all_three = layer.vjp(x)[1](dy)
        assert_same_bits(all_three.input, dx, threads)
        assert_same_bits(all_three.kernel, dkernel, threads)
        assert_same_bits(all_three.bias, dbias, threads)


@pytest.mark.parametrize("number", [0, -1, 1.5, "two", True])
def test_what_is_no_number_is_refused(number: Any) -> None:
    x, kernel, dy = arrays()
    same: dict[str, Any] = {"padding": "same", "num_threads": number}
    for call in (
        lambda: dwconv.depthwise_conv2d_input_grad(dy, kernel, x.shape, **same),
        lambda: dwconv.depthwise_conv2d_kernel_grad(dy, x, kernel.shape, **same),
        lambda: dwconv.depthwise_conv2d_bias_grad(dy, num_threads=number),
    ):
        with pytest.raises((ValueError, TypeError), match="num_threads"):
            call()


def test_the_default_is_that_of_the_process() -> None:
    x, kernel, dy = arrays()
    before = config.num_threads()
    one = dwconv.depthwise_conv2d_kernel_grad(dy, x, kernel.shape, padding="same")
    config.set_num_threads(3)
    try:
        found = dwconv.depthwise_conv2d_kernel_grad(dy, x, kernel.shape, padding="same")
    finally:
        config.set_num_threads(before)
    assert_same_bits(found, one, "default")


@pytest.mark.parametrize("strides", [1, 2])
def test_layouts_give_the_same_bits(strides: int) -> None:
    random = np.random.default_rng(2)
    x = random.standard_normal((2, 11, 13, 21), np.float32)
    kernel = random.standard_normal((3, 3, 21, 2), np.float32)
    options: dict[str, Any] = {"padding": "same", "strides": strides}
    y = dwconv.depthwise_conv2d(x, kernel, **options)
    dy = random.standard_normal(y.shape).astype(np.float32)
    turned_x, turned_dy = (np.ascontiguousarray(a.transpose(0, 3, 1, 2)) for a in (x, dy))
    first = {**options, "data_format": "channels_first"}
    dx = dwconv.depthwise_conv2d_input_grad(dy, kernel, x.shape, **options)
    found = dwconv.depthwise_conv2d_input_grad(turned_dy, kernel, turned_x.shape, **first)
    assert found.flags.c_contiguous
    assert_same_bits(found.transpose(0, 2, 3, 1), dx, strides)
    assert_same_bits(
        dwconv.depthwise_conv2d_kernel_grad(turned_dy, turned_x, kernel.shape, **first),
        dwconv.depthwise_conv2d_kernel_grad(dy, x, kernel.shape, **options),
        strides,
    )
    assert_same_bits(
        dwconv.depthwise_conv2d_bias_grad(turned_dy, data_format="channels_first"),
        dwconv.depthwise_conv2d_bias_grad(dy),
        strides,
    )
