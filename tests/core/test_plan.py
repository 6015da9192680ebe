"""What a plan says of itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support import Case, lanes

from dwconv import ops


def made(case: Case, isa: str) -> Any:
    x, kernel, bias = case.arrays()
    return ops.make_plan(case.spec, x.shape, kernel, bias, isa=isa)


@pytest.mark.parametrize(
    "case",
    [
        Case((7, 9), padding="same"),
        Case((8, 6), padding="same", strides=(2, 3), multiplier=2, batch=3),
        Case((9, 9), kernel_size=(2, 5), padding=((4, 0), (1, 7)), dilation_rate=(3, 2)),
        Case((5, 5), kernel_size=(5, 5)),
    ],
    ids=repr,
)
def test_multiply_adds_are_the_valid_taps(case: Case, isa: str) -> None:
    """A convolution of ones with ones counts them."""
    x, kernel, _ = case.arrays()
    plan = made(case, isa)
    y = plan(np.ones_like(x), np.empty(plan.y_shape, x.dtype))
    kernel_of_ones = ops.make_plan(case.spec, x.shape, np.ones_like(kernel), None, isa=isa)
    y = kernel_of_ones(np.ones_like(x), y)
    assert plan.info()["multiply_adds"] == y.sum(), (case, isa)


def test_sizes(dtype: str, isa: str) -> None:
    case = Case((6, 7), 11, padding="same", dtype=dtype)
    x, _, _ = case.arrays()
    info = made(case, isa).info()
    assert info["lanes"] in {lanes(name, dtype) for name in (isa, "avx2")}
    assert info["x_bytes"] == info["y_bytes"] == x.nbytes
    vectors = info["blocks"] * (1 + 9)
    assert info["weight_bytes"] == vectors * info["lanes"] * x.dtype.itemsize


def test_merged_pixels(isa: str) -> None:
    """Three channels of floats: as many pixels as a vector has lanes fill three vectors."""
    info = made(Case((12, 64), 3, padding="same"), isa).info()
    if isa == "portable":  # no tiles, nothing to gain
        assert info["merged_pixels"] == 1
    else:
        assert info["merged_pixels"] == info["lanes"]
        assert info["blocks"] == 3


def test_a_batch_that_no_machine_holds(isa: str) -> None:
    """Sizes are counted, not multiplied out of range."""
    kernel = np.ones((3, 3, 1, 1), np.float32)
    plan = ops.make_plan(ops.ConvSpec((3, 3)), (2**55, 3, 3, 1), kernel, None, isa=isa)
    assert plan.info()["multiply_adds"] == 9 * 2**55
