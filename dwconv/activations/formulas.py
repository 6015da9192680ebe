"""The formulas of the activations: each function and its derivative, side by side.

They take float32 or float64 and return the same dtype; `dwconv.activations` casts around them and
silences NumPy's warnings. What happens at a kink is said there, too. A `..._backward` is for a
function of a whole axis: the gradient with respect to x, given that with respect to y (`upstream`).
"""

# NumPy types arithmetic with Python numbers as Any.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .erf import exp_minus_square, normal_cdf

Array = NDArray[Any]


def half(shape: tuple[int, ...], axis: int) -> int:
    if shape[axis] % 2:
        raise ValueError(f"glu: expected an even size of axis {axis}; received shape {shape}")
    return shape[axis] // 2


# ---- functions of an element ---------------------------------------------------------------------


def lowest(x: Array) -> Any:
    """The lowest finite number, to stand for -infinity in a product with 0."""
    return np.finfo(x.dtype).min


def finite(x: Array) -> Array:
    """x with the infinities replaced by the largest finite numbers."""
    limits = np.finfo(x.dtype)
    return np.clip(x, limits.min, limits.max)


def linear(x: Array) -> Array:
    """x"""
    return x


def linear_derivative(x: Array) -> Array:
    return np.ones_like(x)


def relu(
    x: Array, *, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0
) -> Array:
    """min(x, max_value) for x > threshold, else negative_slope * (x - threshold).

    Nair and Hinton 2010, 'Rectified linear units improve restricted Boltzmann machines'.
    At x = threshold it is 0, as Keras computes it (its text says x).
    """
    above = np.maximum(x, 0) if threshold == 0 else np.where(x <= threshold, 0, x)
    if max_value is not None:
        above = np.minimum(above, max_value)
    if negative_slope == 0:
        return np.asarray(above)
    return np.where(x > threshold, above, negative_slope * (x - threshold))


def relu_derivative(
    x: Array, *, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0
) -> Array:
    inside = np.ones_like(x) if max_value is None else np.where(x < max_value, 1.0, 0.0)
    return np.where(x > threshold, inside, negative_slope)


def relu6(x: Array) -> Array:
    """min(max(x, 0), 6); Krizhevsky 2010, 'Convolutional deep belief networks on CIFAR-10'."""
    return np.clip(x, 0, 6)


def relu6_derivative(x: Array) -> Array:
    return np.where((x > 0) & (x < 6), 1.0, 0.0)


def leaky_relu(x: Array, *, negative_slope: float = 0.2) -> Array:
    """x for x > 0, else negative_slope * x; Maas et al. 2013."""
    return relu(x, negative_slope=negative_slope)


def leaky_relu_derivative(x: Array, *, negative_slope: float = 0.2) -> Array:
    return relu_derivative(x, negative_slope=negative_slope)


def elu(x: Array, *, alpha: float = 1.0) -> Array:
    """x for x > 0, else alpha * (exp(x) - 1); Clevert et al. 2015, arXiv 1511.07289."""
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def elu_derivative(x: Array, *, alpha: float = 1.0) -> Array:
    return np.where(x >= 0, 1.0, alpha * np.exp(np.minimum(x, 0)))


_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SCALE = 1.0507009873554804934193349852946


def selu(x: Array) -> Array:
    """1.0507... * elu(x, alpha=1.6732...); Klambauer et al. 2017, arXiv 1706.02515."""
    return _SELU_SCALE * elu(x, alpha=_SELU_ALPHA)


def selu_derivative(x: Array) -> Array:
    return _SELU_SCALE * elu_derivative(x, alpha=_SELU_ALPHA)


def celu(x: Array, *, alpha: float = 1.0) -> Array:
    """max(x, 0) + min(alpha (exp(x / alpha) - 1), 0), alpha > 0; Barron 2017, arXiv 1704.07483."""
    check_positive("celu", "alpha", alpha)
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0) / alpha))


def celu_derivative(x: Array, *, alpha: float = 1.0) -> Array:
    check_positive("celu", "alpha", alpha)
    return np.exp(np.minimum(x, 0) / alpha)


def check_positive(name: str, parameter: str, value: float) -> None:
    if value <= 0:
        raise ValueError(f"{name}: expected a positive {parameter}; received {value!r}")


def exponential(x: Array) -> Array:
    """exp(x)"""
    return np.exp(x)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)); computed from exp(-|x|), which never overflows."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, small) / (1 + small)


def sigmoid_derivative(x: Array) -> Array:
    small = np.exp(-np.abs(x))
    return small / np.square(1 + small)


def log_sigmoid(x: Array) -> Array:
    """log(1 / (1 + exp(-x))) = -softplus(-x)"""
    return -softplus(-x)


def log_sigmoid_derivative(x: Array) -> Array:
    return sigmoid(-x)


def silu(x: Array) -> Array:
    """x * sigmoid(x), also called swish; Ramachandran et al. 2017, arXiv 1710.05941."""
    return np.maximum(x, lowest(x)) * sigmoid(x)


def silu_derivative(x: Array) -> Array:
    return sigmoid(x) + finite(x) * sigmoid_derivative(x)


def gelu(x: Array, *, approximate: bool = False) -> Array:
    """x * Phi(x), Phi the normal distribution; Hendrycks and Gimpel 2016, arXiv 1606.08415.

    approximate: x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))).
    """
    lower = np.maximum(x, lowest(x))
    if approximate:
        return lower * sigmoid(gelu_argument(x))
    return lower * normal_cdf(x)


def gelu_argument(x: Array) -> Array:
    # 1 + tanh(u) = 2 sigmoid(2u): no cancellation for negative u.
    return math.sqrt(8 / math.pi) * x * (1 + 0.044715 * x * x)


def gelu_derivative(x: Array, *, approximate: bool = False) -> Array:
    near = np.clip(x, -1e3, 1e3)  # the factors of x are 0 far before, and must not become 0 * inf
    if approximate:
        u = gelu_argument(near)
        slope = math.sqrt(8 / math.pi) * (1 + 3 * 0.044715 * near * near)
        return sigmoid(u) + near * sigmoid_derivative(u) * slope
    density = exp_minus_square(near, 0.5) / math.sqrt(2 * math.pi)
    return normal_cdf(x) + near * density


def mish(x: Array) -> Array:
    """x * tanh(softplus(x)); Misra 2019, arXiv 1908.08681."""
    return np.maximum(x, lowest(x)) * mish_parts(x)[0]


def mish_parts(x: Array) -> tuple[Array, Array]:
    """t = tanh(softplus(x)) and 1 - t^2, from s = exp(-|x|) without overflow or cancellation."""
    small = np.exp(-np.abs(x))
    # With e = exp(x): t = (e^2 + 2e) / (e^2 + 2e + 2); for x > 0 both times s^2.
    numerator = np.where(x > 0, 1 + 2 * small, small * (small + 2))
    rest = np.where(x > 0, 2 * small * small, 2.0)
    tanh = numerator / (numerator + rest)
    return tanh, rest / (numerator + rest) * (1 + tanh)


def mish_derivative(x: Array) -> Array:
    tanh, complement = mish_parts(x)
    return tanh + finite(x) * complement * sigmoid(x)


def softplus(x: Array) -> Array:
    """log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)); Glorot et al. 2011."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def softsign(x: Array) -> Array:
    """x / (1 + |x|); Bergstra et al. 2009."""
    x = finite(x)
    return x / (1 + np.abs(x))


def softsign_derivative(x: Array) -> Array:
    return np.square(1 / (1 + np.abs(x)))


def squareplus(x: Array, *, b: float = 4) -> Array:
    """(x + sqrt(x^2 + b)) / 2, b >= 0; Barron 2021, arXiv 2112.11687."""
    return squareplus_parts(x, b)[0]


def squareplus_parts(x: Array, b: float) -> tuple[Array, Array]:
    """y and sqrt(x^2 + b); for x < 0 as b / 2 / (sqrt(x^2 + b) - x), which does not cancel."""
    if b < 0:
        raise ValueError(f"squareplus: expected b of at least 0; received {b!r}")
    root = np.hypot(x, np.asarray(math.sqrt(b), dtype=x.dtype))
    # Halves are added: the sum itself can overflow.
    above, below = 0.5 * root + 0.5 * x, 0.5 * root - 0.5 * x
    return np.where(x < 0, 0.25 * b / below, above), root


def squareplus_derivative(x: Array, *, b: float = 4) -> Array:
    near = finite(x)
    value, root = squareplus_parts(near, b)
    # At 0 with b = 0, where it is relu, 0 / 0 becomes relu'(0).
    return np.where(
        np.isinf(root), np.where(near > 0, 1.0, 0.0), value / np.where(root > 0, root, 1.0)
    )


def tanh(x: Array) -> Array:
    """(exp(x) - exp(-x)) / (exp(x) + exp(-x))"""
    return np.tanh(x)


def tanh_derivative(x: Array) -> Array:
    small = np.exp(-np.abs(x))
    return np.square(2 * small / (1 + small * small))


def tanh_shrink(x: Array) -> Array:
    """x - tanh(x)

    Near 0 by Lambert's continued fraction tanh(x) = x / (1 + c), c = x^2 / (3 + x^2 / (5 + ...)),
    since there x and tanh(x) cancel: x c / (1 + c).
    """
    near = np.clip(x, -1.0, 1.0)
    square = near * near
    fraction = np.zeros_like(square)
    for odd in range(19, 1, -2):  # at 1 the part left out is below 1e-19
        fraction = square / (odd + fraction)
    return np.where(np.abs(x) <= 1, near * fraction / (1 + fraction), x - np.tanh(x))


def tanh_shrink_derivative(x: Array) -> Array:
    return np.square(np.tanh(x))


def hard_sigmoid(x: Array) -> Array:
    """min(max(x + 3, 0), 6) / 6, the Keras 3 one."""
    return np.clip(x + 3, 0, 6) / 6


def hard_sigmoid_derivative(x: Array) -> Array:
    return np.where(np.abs(x) < 3, 1 / 6, 0.0)


def hard_sigmoid_k2(x: Array) -> Array:
    """min(max(0.2 x + 0.5, 0), 1), the one of Keras 1 and 2."""
    return np.clip(0.2 * x + 0.5, 0, 1)


def hard_sigmoid_k2_derivative(x: Array) -> Array:
    return np.where(np.abs(x) < 2.5, 0.2, 0.0)


def hard_silu(x: Array) -> Array:
    """x min(max(x + 3, 0), 6) / 6, also hard_swish; Howard et al. 2019, arXiv 1905.02244."""
    return np.maximum(x, -3) * hard_sigmoid(x)


def hard_silu_derivative(x: Array) -> Array:
    near = np.clip(x, -3, 3)
    return np.where(x <= -3, 0.0, np.where(x >= 3, 1.0, (2 * near + 3) / 6))


def hard_tanh(x: Array) -> Array:
    """min(max(x, -1), 1)"""
    return np.clip(x, -1, 1)


def hard_tanh_derivative(x: Array) -> Array:
    return np.where(np.abs(x) <= 1, 1.0, 0.0)


def hard_shrink(x: Array, *, threshold: float = 0.5) -> Array:
    """x for |x| > threshold, else 0."""
    return np.where(np.abs(x) <= threshold, 0.0, x)


def hard_shrink_derivative(x: Array, *, threshold: float = 0.5) -> Array:
    return np.where(np.abs(x) > threshold, 1.0, 0.0)


def soft_shrink(x: Array, *, threshold: float = 0.5) -> Array:
    """x - threshold for x > threshold, x + threshold for x < -threshold, else 0."""
    return x - np.clip(x, -threshold, threshold)


def threshold(x: Array, *, threshold: float, default_value: float) -> Array:
    """x for x > threshold, else default_value. Both must be given, as in Keras."""
    return np.where(x <= threshold, default_value, x)


def threshold_derivative(x: Array, *, threshold: float, default_value: float) -> Array:
    return np.where(x > threshold, 1.0, 0.0)


def sparse_plus(x: Array) -> Array:
    """0 for x <= -1, (x + 1)^2 / 4 between, x for x >= 1; the integral of sparse_sigmoid."""
    near = np.clip(x, -1, 1)
    return np.where(x >= 1, x, np.square((near + 1) / 2))


def sparse_plus_derivative(x: Array) -> Array:
    return sparse_sigmoid(x)


def sparse_sigmoid(x: Array) -> Array:
    """min(max((x + 1) / 2, 0), 1)"""
    return (np.clip(x, -1, 1) + 1) / 2


def sparse_sigmoid_derivative(x: Array) -> Array:
    return np.where(np.abs(x) < 1, 0.5, 0.0)


# ---- functions of a whole axis -------------------------------------------------------------------


def below_maximum(name: str, x: Array, axis: int) -> Array:
    """x less its maximum along the axis, 0 at the maximum also when that is infinite."""
    if x.ndim == 0:
        raise ValueError(f"{name}: expected an array with an axis; received a scalar")
    if x.size == 0:
        return x
    maximum = np.max(x, axis=axis, keepdims=True)
    return np.where(x == maximum, 0.0, x - maximum)


def softmax(x: Array, *, axis: int = -1) -> Array:
    """exp(x_i) / sum of exp(x_j) along the axis. Infinite maxima share the 1 equally."""
    powers = np.exp(below_maximum("softmax", x, axis))
    return powers / np.sum(powers, axis=axis, keepdims=True)


def softmax_backward(x: Array, upstream: Array, *, axis: int = -1) -> Array:
    y = softmax(x, axis=axis)
    return y * (upstream - np.sum(upstream * y, axis=axis, keepdims=True))


def log_softmax(x: Array, *, axis: int = -1) -> Array:
    """x_i - log(sum of exp(x_j)) along the axis."""
    below = below_maximum("log_softmax", x, axis)
    if x.size == 0:
        return below
    # log1p of the sum without one maximum, whose part is 1: the maximum's own result keeps its
    # digits.
    others = np.exp(below)
    np.put_along_axis(others, np.expand_dims(np.argmax(below, axis=axis), axis), 0.0, axis)
    return below - np.log1p(np.sum(others, axis=axis, keepdims=True))


def log_softmax_backward(x: Array, upstream: Array, *, axis: int = -1) -> Array:
    total = np.sum(upstream, axis=axis, keepdims=True)
    return upstream - softmax(x, axis=axis) * total


def sparsemax(x: Array, *, axis: int = -1) -> Array:
    """max(x - tau, 0), tau such that the sum along the axis is 1.

    The nearest point of the probability simplex. (Keras 3.15 gets tau wrong as soon as two values
    stay positive: its rows do not sum to 1.)
    Martins and Astudillo 2016, arXiv 1602.02068.
    """
    # Only values less than 1 below the maximum can count, so that -1 may stand for -infinity.
    below = np.maximum(below_maximum("sparsemax", x, axis), -1)
    if x.size == 0:
        return below
    falling = -np.sort(-below, axis=axis)
    excess = np.cumsum(falling, axis=axis) - 1
    shape = [1] * x.ndim
    shape[axis] = -1
    counts = np.arange(1, x.shape[axis] + 1, dtype=x.dtype).reshape(shape)
    support = np.sum(falling * counts > excess, axis=axis, keepdims=True)
    last = np.maximum(support, 1) - 1
    tau = np.take_along_axis(excess, last, axis) / (last + 1)
    return np.maximum(below - tau, 0)


def sparsemax_backward(x: Array, upstream: Array, *, axis: int = -1) -> Array:
    y = sparsemax(x, axis=axis)
    inside = np.where(y > 0, 1.0, 0.0)
    count = np.maximum(np.sum(inside, axis=axis, keepdims=True), 1)
    mean = np.sum(np.where(y > 0, upstream, 0.0), axis=axis, keepdims=True) / count
    return np.where(np.isnan(y), np.nan, np.where(y > 0, upstream - mean, 0.0))


def glu(x: Array, *, axis: int = -1) -> Array:
    """a sigmoid(b), a and b the halves of the axis; Dauphin et al. 2016, arXiv 1612.08083."""
    if x.ndim == 0:
        raise ValueError("glu: expected an array with an axis; received a scalar")
    a, b = np.split(x, [half(x.shape, axis)], axis=axis)
    return a * sigmoid(b)


def glu_backward(x: Array, upstream: Array, *, axis: int = -1) -> Array:
    a, b = np.split(x, [half(x.shape, axis)], axis=axis)
    parts = upstream * sigmoid(b), upstream * a * sigmoid_derivative(b)
    return np.concatenate(parts, axis=axis)
