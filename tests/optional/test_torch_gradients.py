"""The gradients against PyTorch's autograd. Skipped without PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support import Case, assert_close
from support.gradient_reference import bounds, output_shape

import dwconv

torch: Any = pytest.importorskip("torch")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "case",
    [
        Case((9, 11), 20, padding=((1, 1), (1, 1)), batch=2),
        Case((12, 13), 33, (5, 3), padding=((2, 2), (1, 1)), strides=(2, 2)),
        Case((12, 13), 7, (3, 2), 3, strides=(1, 3), padding=((2, 2), (0, 0)), batch=3),
        Case((13, 14), 5, (3, 3), 2, padding=((2, 2), (4, 4)), dilation_rate=(2, 3)),
    ],
    ids=repr,
)
def test_against_autograd(case: Case, dtype: str) -> None:
    case = Case(**{**vars(case), "dtype": dtype})
    x, kernel, _ = case.arrays()
    dy = np.random.default_rng(1).standard_normal(output_shape(case)).astype(dtype)
    inputs = torch.from_numpy(x.transpose(0, 3, 1, 2).copy()).requires_grad_()
    # (kh, kw, C, M) -> (C*M, 1, kh, kw)
    flat = kernel.reshape(*case.kernel_size, 1, -1).transpose(3, 2, 0, 1).copy()
    weight = torch.from_numpy(flat).requires_grad_()
    offset = torch.zeros(flat.shape[0], dtype=weight.dtype, requires_grad=True)
    y = torch.nn.functional.conv2d(
        inputs,
        weight,
        offset,
        stride=case.strides,
        padding=(case.padding[0][0], case.padding[1][0]),
        dilation=case.dilation_rate,
        groups=case.channels,
    )
    upstream = torch.from_numpy(dy.transpose(0, 3, 1, 2).copy())
    theirs = torch.autograd.grad(y, (inputs, weight, offset), upstream)
    expected = (
        theirs[0].numpy().transpose(0, 2, 3, 1),
        theirs[1].numpy().transpose(2, 3, 1, 0).reshape(kernel.shape),
        theirs[2].numpy(),
    )
    options: Any = {
        "strides": case.strides,
        "padding": case.padding,
        "dilation_rate": case.dilation_rate,
    }
    ours = (
        dwconv.depthwise_conv2d_input_grad(dy, kernel, x.shape, **options),
        dwconv.depthwise_conv2d_kernel_grad(dy, x, kernel.shape, **options),
        dwconv.depthwise_conv2d_bias_grad(dy),
    )
    # Both sides round, PyTorch's in an order of its own of at most as many terms.
    terms = dy.shape[0] * dy.shape[1] * dy.shape[2] + kernel.size
    for found, wanted, bound in zip(ours, expected, bounds(case, x, kernel, dy), strict=True):
        assert_close(found, wanted.astype(np.float64), bound * (1 + terms / 64), case)
