"""Initializers: the first values of a weight.

An initializer is a callable (shape, dtype=None) -> array; dtype None means float32.

The random ones follow Keras' distributions. They draw from NumPy's PCG64, so a seed gives other
values here than in Keras. With a seed every call gives the same values, which are drawn in float64
and then rounded to the dtype; without one every call draws new values. Values are drawn in pieces
of one stream, so that Ctrl-C ends a long call.

Fans are Keras': a kernel (kh, kw, C, M) has fan_in = kh*kw*C and fan_out = kh*kw*M, although in a
depthwise convolution an output depends on kh*kw inputs only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from . import casts
from .arguments import read_choice, read_integer, read_number, unwrap
from .dtypes import is_array_like, named, read_array
from .messages import short
from .registry import Config, Configured, Registry
from .waiting import waiting

# The standard deviation of a standard normal distribution that is cut at +-2:
# sqrt(1 - 4 phi(2) / (2 Phi(2) - 1)).
TRUNCATED_STDDEV = 0.87962566103423978
_CUT = 2.0

Array = NDArray[Any]
InitializerLike = Callable[..., Any]


def compute_fans(
    shape: Sequence[int],
    input_axes: Sequence[int] | None = None,
    output_axes: Sequence[int] | None = None,
) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight by Keras' rules.

    (): 1 and 1; (n,): n and n; (a, b): a and b; (..., a, b): a and b times the size of the leading
    axes. With both input_axes and output_axes: the products of those axes (Keras 3.15).
    """
    if input_axes is not None and output_axes is not None:
        fan_in = math.prod(shape[axis] for axis in input_axes)
        return fan_in, math.prod(shape[axis] for axis in output_axes)
    if len(shape) == 0:
        return 1, 1
    if len(shape) == 1:
        return shape[0], shape[0]
    receptive_field = math.prod(shape[:-2])
    return shape[-2] * receptive_field, shape[-1] * receptive_field


def _read_shape(shape: Any) -> tuple[int, ...]:
    sizes = shape if isinstance(shape, (tuple, list, np.ndarray)) else (shape,)
    lengths = tuple(read_integer("shape", size) for size in sizes)
    if any(length < 0 for length in lengths):
        raise ValueError(f"shape: expected sizes of at least 0; received {short(shape)}")
    return lengths


def _read_dtype(dtype: Any) -> np.dtype[Any]:
    """float32 for None, else a float or integer dtype (bfloat16 when ml_dtypes is imported)."""
    result = named("float32" if dtype is None else dtype)
    if result is None or (result.kind not in "fiu" and result.name != "bfloat16"):
        raise ValueError(
            f"dtype: expected a floating-point or integer dtype; received {short(dtype)}"
        )
    return result


def _check_numbers(value: Any) -> None:
    """ValueError for what is neither a number nor an array nor lists of them: of texts NumPy would
    make an array of the longest one's size for each.
    """
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, (list, tuple)):
            stack.extend(item)
        elif isinstance(item, (str, bytes, bytearray)) or not (
            isinstance(item, (int, float, np.generic)) or is_array_like(item)
        ):
            raise ValueError(
                f"value: expected a number or an array of numbers; received {short(value)}"
            )


def _read_seed(seed: Any) -> int | None:
    """An int or None, also out of the dict that Keras 3 writes for a SeedGenerator."""
    if isinstance(seed, Mapping):
        inner = seed.get("config")
        if seed.get("class_name") != "SeedGenerator" or not isinstance(inner, Mapping):
            raise ValueError(
                f"seed: expected an int, None or a SeedGenerator config; received {short(seed)}"
            )
        seed = inner.get("seed")
    if unwrap(seed) is None:
        return None
    return read_integer("seed", seed)


class Initializer(Configured):
    """The base class; a subclass defines `__call__` and, with arguments, `get_config`."""

    @property
    def yields_integers(self) -> bool:
        """Whether every value is a whole number, so that an integer layer can use it."""
        return False

    def __call__(self, shape: Any, dtype: Any = None) -> Array:
        """An array of the shape and dtype (None: float32)."""
        raise NotImplementedError(f"{type(self).__name__} does not define __call__")


def yields_integers(initializer: Any) -> bool:
    """Whether an initializer says that its values are whole; other callables cannot say."""
    return bool(getattr(initializer, "yields_integers", False))


# ---- fixed values --------------------------------------------------------------------------------


class Constant(Initializer):
    """One value everywhere, or an array that is broadcast to the shape.

    An integer dtype takes whole values in its range only: ValueError otherwise, and for an array
    that does not fit the shape.
    """

    def __init__(self, value: Any = 0.0) -> None:
        if isinstance(value, Mapping):
            value = _read_array_config(value)
        value = unwrap(value)
        self.value: int | float | Array
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            self.value = value  # NaN and infinities included: it is the user's choice
            return
        _check_numbers(value)
        array = casts.copy(read_array("value", value))
        if array.dtype.kind not in "fiu" and array.dtype.name != "bfloat16":
            raise ValueError(
                f"value: expected a number or an array of numbers; received {short(value)}"
            )
        self.value = array

    @property
    def yields_integers(self) -> bool:
        values = np.asarray(self.value)
        if values.dtype.kind in "iu":
            return True
        wide = values.astype(np.float64)
        return bool(np.all(np.isfinite(wide) & (wide == np.trunc(wide))))

    def __call__(self, shape: Any, dtype: Any = None) -> Array:
        sizes, kind = _read_shape(shape), _read_dtype(dtype)
        if kind.kind in "iu":
            self._check_fits(kind)
        try:
            return casts.filled(sizes, self.value, kind)
        except ValueError as error:
            received = np.shape(self.value)
            raise ValueError(
                f"expected a constant that fits {sizes}; received shape {received}"
            ) from error

    def _check_fits(self, dtype: np.dtype[Any]) -> None:
        limits, values = np.iinfo(dtype), np.asarray(self.value)
        fits = self.yields_integers
        # Python's ints compare exactly, where NumPy would compare int64 and uint64 in float64.
        if fits and values.size:
            fits = limits.min <= int(values.min()) and int(values.max()) <= limits.max
        if not fits:
            raise ValueError(
                f"expected whole values in the range of {dtype}; received {short(self.value)}"
            )

    def get_config(self) -> Config:
        if isinstance(self.value, np.ndarray):
            content = {"value": self.value.tolist(), "dtype": self.value.dtype.name}
            return {"value": {"class_name": "__numpy__", "config": content}}
        return {"value": self.value}


def _read_array_config(config: Mapping[str, Any]) -> Array:
    """The array in the dict that Keras writes for an array (__numpy__, __tensor__)."""
    content = config.get("config")
    if config.get("class_name") not in ("__numpy__", "__tensor__") or not isinstance(
        content, Mapping
    ):
        raise ValueError(
            "value: expected a number, an array or an array's config; "
            f"received {short(dict(config))}"
        )
    dtype = content.get("dtype")
    values = content.get("value")
    _check_numbers(values)
    try:
        return np.array(values, dtype=None if dtype is None else _read_dtype(dtype))
    except (OverflowError, TypeError, ValueError) as error:
        raise ValueError(
            f"value: expected an array's config; received one of {short(str(error))[1:-1]}"
        ) from error


class Zeros(Initializer):
    """0 everywhere."""

    @property
    def yields_integers(self) -> bool:
        return True

    def __call__(self, shape: Any, dtype: Any = None) -> Array:
        return np.zeros(_read_shape(shape), _read_dtype(dtype))


class Ones(Initializer):
    """1 everywhere."""

    @property
    def yields_integers(self) -> bool:
        return True

    def __call__(self, shape: Any, dtype: Any = None) -> Array:
        return casts.filled(_read_shape(shape), 1, _read_dtype(dtype))


class Identity(Initializer):
    """gain * the identity matrix, for shapes (a, b) only.

    ValueError for any other rank, as in Keras. So a layer whose config names it can be read and
    written, and given `weights`, but the initializer fits neither a depthwise kernel (kh, kw, C, M)
    nor a bias. Keras 1 called the argument `scale`. (Keras 3.15 forgets the gain in its config; it
    is written here.)
    """

    _renamed: ClassVar[Mapping[str, str]] = {"scale": "gain"}

    def __init__(self, gain: Any = 1.0) -> None:
        self.gain = read_number("gain", gain)

    def __call__(self, shape: Any, dtype: Any = None) -> Array:
        sizes, kind = _read_shape(shape), _read_dtype(dtype)
        if len(sizes) != 2:
            raise ValueError(f"Identity: expected a shape of rank 2; received {short(sizes)}")
        return np.asarray(Constant(self.gain)((), kind) * np.eye(*sizes).astype(kind))

    def get_config(self) -> Config:
        return {"gain": self.gain}


# ---- random values -------------------------------------------------------------------------------


class _RandomInitializer(Initializer):
    """Draws in float64 from a generator that `seed` starts, then rounds to the dtype."""

    def __init__(self, seed: Any = None) -> None:
        self.seed = _read_seed(seed)

    def _draw(self, generator: np.random.Generator, out: Array) -> None:
        """Fills an array, C-contiguous and of any float dtype."""
        raise NotImplementedError

    def __call__(self, shape: Any, dtype: Any = None) -> Array:
        """Random values; ValueError for an integer dtype."""
        sizes, kind = _read_shape(shape), _read_dtype(dtype)
        if kind.kind in "iu":
            raise ValueError(
                f"{type(self).__name__}: expected a floating-point dtype; received {kind}; "
                f"Zeros, Ones and Constant with a whole value yield integers"
            )
        # Keras takes negative seeds, PCG64 does not.
        seed = None if self.seed is None else self.seed % 2**64
        out = np.empty(sizes, kind)
        with np.errstate(all="ignore"):
            self._draw(np.random.Generator(np.random.PCG64(seed)), out)
        return out

    def get_config(self) -> Config:
        return {"seed": self.seed}


def _fill(out: Array, draw: Callable[[int], Array]) -> None:
    """Fills an array, C-contiguous, with what `draw` gives for each number of values in turn."""
    values = out.reshape(-1)
    for piece in casts.pieces(values.shape):
        some = values[piece]
        casts.assign(some, draw(some.size))


def _truncated_normal(
    generator: np.random.Generator, out: Array, finish: Callable[[Array], Array]
) -> None:
    """finish(values) of standard normal values, those beyond two standard deviations redrawn."""
    values = np.empty(out.size)
    _fill(values, generator.standard_normal)
    pieces = [values[piece] for piece in casts.pieces(values.shape)]
    outside = [np.flatnonzero(np.abs(piece) > _CUT) for piece in pieces]
    # All are drawn before any is drawn again, whatever the size of a piece.
    while any(places.size for places in outside):
        for number, (piece, places) in enumerate(zip(pieces, outside, strict=True)):
            piece[places] = again = generator.standard_normal(places.size)
            outside[number] = places[np.abs(again) > _CUT]
    flat = out.reshape(-1)
    for piece in casts.pieces(values.shape):
        casts.assign(flat[piece], finish(values[piece]))


class RandomNormal(_RandomInitializer):
    """Normal values of the given mean and standard deviation."""

    def __init__(self, mean: Any = 0.0, stddev: Any = 0.05, seed: Any = None) -> None:
        super().__init__(seed)
        self.mean = read_number("mean", mean)
        self.stddev = read_number("stddev", stddev, minimum=0)

    def _draw(self, generator: np.random.Generator, out: Array) -> None:
        _fill(out, lambda count: self.mean + self.stddev * generator.standard_normal(count))

    def get_config(self) -> Config:
        return {**super().get_config(), "mean": self.mean, "stddev": self.stddev}


class TruncatedNormal(RandomNormal):
    """Normal values, those beyond two standard deviations from the mean redrawn.

    `stddev` is that of the distribution before cutting; the values' own is 0.8796 of it.
    """

    def _draw(self, generator: np.random.Generator, out: Array) -> None:
        _truncated_normal(generator, out, lambda values: self.mean + values * self.stddev)


class RandomUniform(_RandomInitializer):
    """Uniform values from minval to maxval, which only rounding to the dtype can reach."""

    def __init__(self, minval: Any = -0.05, maxval: Any = 0.05, seed: Any = None) -> None:
        super().__init__(seed)
        self.minval = read_number("minval", minval)
        self.maxval = read_number("maxval", maxval)
        if self.minval > self.maxval:
            raise ValueError(f"expected minval <= maxval; received {self.minval} and {self.maxval}")

    def _draw(self, generator: np.random.Generator, out: Array) -> None:
        _fill(out, lambda count: generator.uniform(self.minval, self.maxval, count))

    def get_config(self) -> Config:
        return {**super().get_config(), "minval": self.minval, "maxval": self.maxval}


_MODES = ("fan_in", "fan_out", "fan_avg")
_DISTRIBUTIONS = ("truncated_normal", "untruncated_normal", "uniform")


class VarianceScaling(_RandomInitializer):
    """Values of variance scale / n, n being fan_in, fan_out or their mean (`mode`), and at least 1.

    Args:
        distribution: 'truncated_normal' (also 'normal'): cut at two standard deviations, with
            variance scale / n after cutting; 'untruncated_normal'; 'uniform' on +-sqrt(3 scale /
            n). Any case, as in Keras.
        input_axes, output_axes: both or neither: axes whose product is fan_in, fan_out (Keras
            3.15).

    ValueError for a scale that is not positive and for an unknown mode or distribution.
    """

    def __init__(
        self,
        scale: Any = 1.0,
        mode: Any = "fan_in",
        distribution: Any = "truncated_normal",
        seed: Any = None,
        input_axes: Any = None,
        output_axes: Any = None,
    ) -> None:
        super().__init__(seed)
        self.scale = read_number("scale", scale)
        if self.scale <= 0:
            raise ValueError(f"scale: expected a positive number; received {short(scale)}")
        self.mode = read_choice("mode", mode, _MODES)
        word = unwrap(distribution)
        word = word.lower() if isinstance(word, str) else word
        word = "truncated_normal" if word == "normal" else word
        self.distribution = read_choice("distribution", word, _DISTRIBUTIONS)
        self.input_axes = _read_fan_axes("input_axes", input_axes)
        self.output_axes = _read_fan_axes("output_axes", output_axes)
        if (self.input_axes is None) != (self.output_axes is None):
            raise ValueError(
                "expected both input_axes and output_axes or neither; "
                f"received {short(input_axes)} and {short(output_axes)}"
            )

    def variance(self, shape: Sequence[int]) -> float:
        """The variance of the values of a weight of this shape."""
        fan_in, fan_out = compute_fans(shape, self.input_axes, self.output_axes)
        count = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        return self.scale / max(1.0, count)

    def _draw(self, generator: np.random.Generator, out: Array) -> None:
        variance = self.variance(out.shape)
        limit, stddev = math.sqrt(3 * variance), math.sqrt(variance)
        if self.distribution == "uniform":
            _fill(out, lambda count: generator.uniform(-limit, limit, count))
        elif self.distribution == "untruncated_normal":
            _fill(out, lambda count: stddev * generator.standard_normal(count))
        else:
            stddev /= TRUNCATED_STDDEV
            _truncated_normal(generator, out, lambda values: values * stddev)

    def get_config(self) -> Config:
        config = super().get_config()
        config |= {"scale": self.scale, "mode": self.mode, "distribution": self.distribution}
        return config | self._axes_config()

    def _axes_config(self) -> Config:
        # Written only when used: Keras before 3.15 does not know them.
        if self.input_axes is None:
            return {}
        return {"input_axes": self.input_axes, "output_axes": self.output_axes}


def _read_fan_axes(argument: str, value: Any) -> list[int] | None:
    if value is None:
        return None
    axes = value if isinstance(value, (list, tuple, np.ndarray)) else (value,)
    return [read_integer(argument, axis) for axis in axes]


class _FixedScaling(VarianceScaling):
    """A VarianceScaling whose first three arguments are fixed by its name."""

    _scaling: ClassVar[tuple[float, str, str]]

    def __init__(self, seed: Any = None, input_axes: Any = None, output_axes: Any = None) -> None:
        scale, mode, distribution = self._scaling
        super().__init__(scale, mode, distribution, seed, input_axes, output_axes)

    def get_config(self) -> Config:
        return {"seed": self.seed} | self._axes_config()


class GlorotUniform(_FixedScaling):
    """Uniform on +-sqrt(6 / (fan_in + fan_out)).

    For a kernel (kh, kw, C, M): +-sqrt(6 / (kh kw (C + M))).
    Glorot and Bengio 2010, 'Understanding the difficulty of training deep feedforward neural
    networks'.
    """

    _scaling = (1.0, "fan_avg", "uniform")


class GlorotNormal(_FixedScaling):
    """Truncated normal of variance 2 / (fan_in + fan_out). Glorot and Bengio 2010."""

    _scaling = (1.0, "fan_avg", "truncated_normal")


class HeUniform(_FixedScaling):
    """Uniform on +-sqrt(6 / fan_in). He et al. 2015, 'Delving deep into rectifiers'."""

    _scaling = (2.0, "fan_in", "uniform")


class HeNormal(_FixedScaling):
    """Truncated normal of variance 2 / fan_in. He et al. 2015."""

    _scaling = (2.0, "fan_in", "truncated_normal")


class LecunUniform(_FixedScaling):
    """Uniform on +-sqrt(3 / fan_in). LeCun et al. 1998, 'Efficient BackProp'."""

    _scaling = (1.0, "fan_in", "uniform")


class LecunNormal(_FixedScaling):
    """Truncated normal of variance 1 / fan_in. LeCun et al. 1998; Klambauer et al. 2017."""

    _scaling = (1.0, "fan_in", "truncated_normal")


class Orthogonal(_RandomInitializer):
    """gain * a uniformly random matrix with orthonormal columns, or rows if it is wider than high.

    The weight is seen as a matrix (product of all axes but the last, last axis): (kh*kw*C, M) for a
    depthwise kernel. The Q of a QR decomposition of a normal random matrix, each column given the
    sign of R's diagonal, which makes Q uniform (Mezzadri 2007, 'How to generate random matrices
    from the classical compact groups'). Saxe et al. 2013, arXiv 1312.6120. ValueError for fewer
    than two axes. Keras 1 called the argument `scale`.

    Ctrl-C ends the call while LAPACK decomposes a large matrix, but not the thread that does it.
    """

    _renamed: ClassVar[Mapping[str, str]] = {"scale": "gain"}

    def __init__(self, gain: Any = 1.0, seed: Any = None) -> None:
        super().__init__(seed)
        self.gain = read_number("gain", gain)

    def _draw(self, generator: np.random.Generator, out: Array) -> None:
        if out.ndim < 2:
            raise ValueError(
                f"Orthogonal: expected a shape of at least rank 2; received {short(out.shape)}"
            )
        rows, columns = math.prod(out.shape[:-1]), out.shape[-1]
        normal = np.empty((max(rows, columns), min(rows, columns)))
        _fill(normal, generator.standard_normal)
        # LAPACK cannot be interrupted: Ctrl-C leaves it to end by itself.
        long = normal.size * normal.shape[1] > casts.PIECE
        q, r = waiting(lambda: np.linalg.qr(normal)) if long else np.linalg.qr(normal)
        signs = np.where(np.diagonal(r) < 0, -1.0, 1.0)
        matrix = out.reshape(rows, columns)
        turned = matrix if rows >= columns else matrix.T
        signs = np.broadcast_to(signs, q.shape)  # a column's sign each
        for piece in casts.pieces(q.shape):
            casts.assign(turned[piece], self.gain * (q[piece] * signs[piece]))

    def get_config(self) -> Config:
        return {**super().get_config(), "gain": self.gain}


# ---- names ---------------------------------------------------------------------------------------

_REGISTRY: Registry[InitializerLike] = Registry("initializer", "keras.initializers")


def _add(entry: type[Initializer], snake_case: str, *aliases: str) -> None:
    """Add an initializer by its class name and snake_case name, both also with tf.keras' V2."""
    name = entry.__name__
    _REGISTRY.add(name, entry, snake_case, f"{name}V2", f"{snake_case}V2", *aliases)


_add(Zeros, "zeros", "zero")
_add(Ones, "ones", "one")
_add(Constant, "constant")
_add(RandomNormal, "random_normal", "normal")
_add(RandomUniform, "random_uniform", "uniform")
_add(TruncatedNormal, "truncated_normal")
_add(VarianceScaling, "variance_scaling")
_add(GlorotNormal, "glorot_normal")
_add(GlorotUniform, "glorot_uniform")
_add(HeNormal, "he_normal")
_add(HeUniform, "he_uniform")
_add(LecunNormal, "lecun_normal")
_add(LecunUniform, "lecun_uniform")
_add(Orthogonal, "orthogonal", "OrthogonalInitializer")
_add(Identity, "identity", "IdentityInitializer")

register = _REGISTRY.register
names = _REGISTRY.names


def get(identifier: Any) -> InitializerLike | None:
    """The initializer for None, a name, a config dict, an array, a class or a callable.

    An array becomes a `Constant`. None stays None: the layer knows its own defaults.
    ValueError for an unknown name, naming the nearest known ones, and for anything else.
    """
    if is_array_like(identifier) and not isinstance(identifier, (type, bytes, bytearray)):
        return Constant(identifier)
    return _REGISTRY.get(identifier)


def serialize(initializer: Any) -> Any:
    """None, or what Keras 3 writes: {module, class_name, config, registered_name}."""
    return _REGISTRY.serialize(initializer)


def deserialize(
    config: Any, custom_objects: Mapping[str, Any] | None = None
) -> InitializerLike | None:
    """The initializer that a config of any Keras generation describes.

    custom_objects maps further names to classes or functions, and wins over the built-ins.
    """
    return _REGISTRY.deserialize(config, custom_objects)


__all__ = [
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Identity",
    "Initializer",
    "InitializerLike",
    "LecunNormal",
    "LecunUniform",
    "Ones",
    "Orthogonal",
    "RandomNormal",
    "RandomUniform",
    "TruncatedNormal",
    "VarianceScaling",
    "Zeros",
    "compute_fans",
    "deserialize",
    "get",
    "names",
    "register",
    "serialize",
]


def __dir__() -> list[str]:
    return sorted(__all__)
