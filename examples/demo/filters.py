"""The filter bank of the demo, and two other ways to apply it: NumPy and SciPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

#: What output channel c*M + m shows of input channel c, m = 0, 1, 2.
NAMES = ("Gaussian blur", "Sobel x", "Sobel y")

SIZE = 7


def bank(channels: int) -> Array:
    """(SIZE, SIZE, channels, 3) float32: Gaussian blur, Sobel x and Sobel y for every channel.

    The Sobel operator of size n is the outer product of a smoothing and a differentiating vector:
    [1, 1] convolved n - 1 times with itself, and n - 3 times with [1, 0, -1] for the other; here as
    a correlation, positive where values grow to the right or downwards, and scaled so that a step
    of height 1 gives at most 1.
    """
    offsets = np.arange(SIZE) - SIZE // 2
    gauss = np.exp(-(offsets**2) / (2 * (SIZE / 4) ** 2))
    gauss /= gauss.sum()
    smooth = np.poly1d([1, 1]) ** (SIZE - 1)
    slope = np.poly1d([1, 1]) ** (SIZE - 3) * np.poly1d([-1, 0, 1])
    smooth_vector = smooth.coeffs / smooth.coeffs.sum()
    slope_vector = slope.coeffs / np.abs(slope.coeffs).sum() * 2
    filters = [
        np.outer(gauss, gauss),
        np.outer(smooth_vector, slope_vector),
        np.outer(slope_vector, smooth_vector),
    ]
    one = np.stack(filters, axis=-1)[:, :, np.newaxis, :]
    return np.ascontiguousarray(np.repeat(one, channels, axis=2), dtype=np.float32)


def with_numpy(x: Array, kernel: Array) -> Array:
    """Depthwise convolution, 'valid', vectorised: one multiply-add of whole images per tap.

    x (N, H, W, C), kernel (kh, kw, C, M) -> (N, OH, OW, C*M), in the dtype of x.
    """
    kernel_h, kernel_w, channels, multiplier = kernel.shape
    out_h, out_w = x.shape[1] - kernel_h + 1, x.shape[2] - kernel_w + 1
    y = np.zeros((x.shape[0], out_h, out_w, channels, multiplier), x.dtype)
    for i in range(kernel_h):
        for j in range(kernel_w):
            y += x[:, i : i + out_h, j : j + out_w, :, np.newaxis] * kernel[i, j]
    return y.reshape(*y.shape[:3], channels * multiplier)


def with_scipy(x: Array, kernel: Array) -> Array:
    """The same by scipy.ndimage.correlate, one call per image, channel and filter."""
    from scipy import ndimage

    kernel_h, kernel_w, channels, multiplier = kernel.shape
    out_h, out_w = x.shape[1] - kernel_h + 1, x.shape[2] - kernel_w + 1
    top, left = kernel_h // 2, kernel_w // 2
    y = np.empty((x.shape[0], out_h, out_w, channels * multiplier), x.dtype)
    for n in range(x.shape[0]):
        for c in range(channels):
            for m in range(multiplier):
                full = ndimage.correlate(x[n, :, :, c], kernel[:, :, c, m], mode="constant")
                y[n, :, :, c * multiplier + m] = full[top : top + out_h, left : left + out_w]
    return y
