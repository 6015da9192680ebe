"""PyTorch's layout of weights, against its definition: a grouped cross-correlation by SciPy."""

from __future__ import annotations

import numpy as np
import pytest

import dwconv


@pytest.mark.parametrize(("channels", "multiplier"), [(1, 1), (3, 1), (1, 3), (3, 2)])
def test_the_channels_of_a_grouped_convolution(channels: int, multiplier: int) -> None:
    signal = pytest.importorskip("scipy.signal")
    rng = np.random.default_rng(channels * 10 + multiplier)
    weight = rng.integers(-9, 9, (channels * multiplier, 1, 2, 3)).astype(float)  # exact sums
    x = rng.integers(-9, 9, (1, channels, 5, 6)).astype(float)
    expected = [
        # torch: output channel o of groups=C reads input channel o // (C*M / C)
        signal.correlate2d(x[0, output // multiplier], weight[output, 0], mode="valid")
        for output in range(channels * multiplier)
    ]
    kernel = dwconv.from_torch_weight(weight, multiplier)
    y = dwconv.depthwise_conv2d(x, kernel, data_format="channels_first")
    np.testing.assert_array_equal(y[0], expected)
    np.testing.assert_array_equal(dwconv.to_torch_weight(kernel), weight)
    assert kernel.flags.c_contiguous


def test_a_tensor_that_requires_gradients() -> None:
    class Tensor:  # as torch's: NumPy takes it only once it is detached
        def __array__(self, *_, **__):
            raise RuntimeError("requires grad")

        def detach(self):
            return np.ones((2, 1, 3, 3), np.float32)

    assert dwconv.from_torch_weight(Tensor()).shape == (3, 3, 2, 1)


@pytest.mark.parametrize(
    ("shape", "multiplier"), [((4, 2, 3, 3), 1), ((4, 1, 3), 1), ((4, 1, 3, 3), 3)]
)
def test_other_shapes(shape: tuple[int, ...], multiplier: int) -> None:
    with pytest.raises(ValueError, match=r"weight: expected shape \(C\*M, 1, kh, kw\)"):
        dwconv.from_torch_weight(np.zeros(shape), multiplier)


def test_the_hint_of_a_layer() -> None:
    weight, bias = np.zeros((4, 1, 3, 5)), np.zeros(4)
    with pytest.raises(ValueError, match="from_torch_weight"):
        dwconv.DepthwiseConv2D((3, 5), weights=[weight, bias])
    layer = dwconv.DepthwiseConv2D((3, 5), input_shape=(8, 8, 4))
    layer.build()
    with pytest.raises(ValueError, match="from_torch_weight"):
        layer.set_weights([weight, bias])
    layer.set_weights([dwconv.from_torch_weight(weight), bias])
    with pytest.raises(ValueError, match=r"^[^?]*received \(4, 1, 5, 3\)$"):
        layer.set_weights([np.zeros((4, 1, 5, 3)), bias])


def test_the_hint_where_a_kernel_looks_like_torchs() -> None:
    for channels in (4, 32):  # 32: as a kernel it would be higher than the image
        x, weight = np.zeros((1, 8, 8, channels)), np.zeros((channels, 1, 3, 3))
        with pytest.raises(ValueError, match="from_torch_weight"):
            dwconv.depthwise_conv2d(x, weight)
    x = np.zeros((1, 8, 8, 4))
    with pytest.raises(ValueError, match=r"^kernel: expected [^?]*$"):
        dwconv.depthwise_conv2d(x, np.zeros((3, 3, 5, 1)))
