"""`make torture`: two seconds of CPU time, and that it finds what is wrong."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torture

import dwconv


@pytest.mark.slow
@pytest.mark.usefixtures("ieee")
def test_two_seconds() -> None:
    tally = torture.torture(seconds=2, seed=0, clock=time.process_time)
    assert tally.cases > 5
    assert tally.calls >= tally.cases
    assert tally.gradients > 0
    assert tally.quantized > 0
    assert 0 < tally.worst <= 1
    assert 0 < tally.worst_gradient <= 1


@pytest.mark.usefixtures("ieee")
@pytest.mark.parametrize(
    "name",
    ["depthwise_conv2d", "depthwise_conv2d_kernel_grad", "quantized_depthwise_conv2d"],
)
def test_a_wrong_digit_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One element of one result differs by a thousandth, or by one if it is a byte."""
    right = getattr(dwconv, name)

    def wrong(*arguments: object, **options: object) -> object:
        y = right(*arguments, **options)
        if y.size and np.issubdtype(y.dtype, np.floating):
            y.flat[0] = y.flat[0] * y.dtype.type(1.001) + y.dtype.type(0.001)
        elif y.size and y.dtype.itemsize == 1:
            y.flat[0] ^= 1
        return y

    monkeypatch.setattr(dwconv, name, wrong)
    with pytest.raises(AssertionError, match=r"^--case \d+: (Case|Quantized)\("):
        torture.torture(seconds=20, seed=0)
