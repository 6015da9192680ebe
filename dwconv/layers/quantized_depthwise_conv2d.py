"""`QuantizedDepthwiseConv2D`: a frozen layer of int8 weights.

Shape letters: N batch, H height, W width, C input channels, M depth multiplier, kh/kw kernel
height/width, OH/OW output height/width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import _core, dtypes, naming
from ..arguments import PaddingLike, PairLike, Threads
from ..formats import Arrays, Document, FormatError, PathLike, short, store
from ..formats.entries import QUANTIZED as CLASS_NAME
from ..ops import ConvSpec, quantized
from ..ops.epilogue import Array

_ARRAYS = ("kernel", "bias", "kernel_scale")
_SUFFIXES = (".safetensors", ".npz")
_MOST_PLANS = 16  # sizes of images whose plans are kept


class QuantizedDepthwiseConv2D:
    """Depthwise convolution of quantized numbers, with weights that do not change.

    Called with x (N, H, W, C) of int8 or uint8, it returns (N, OH, OW, C*M) of the dtype of its
    y_zero_point; `dwconv.quantized_depthwise_conv2d` has the formula and the arguments.
    `DepthwiseConv2D.quantize` makes one of a layer of floats. Any number of threads may call it.

    Args:
        kernel: (kh, kw, C, M) int8; copied, as are bias and scales.
        bias: (C*M,) int32, or None.
        x_scale, kernel_scale, y_scale: positive numbers; kernel_scale one or (C*M,).
        x_zero_point, y_zero_point: NumPy's int8 or uint8, whose dtypes x and y have; plain ints are
            int8.
        strides, padding, dilation_rate: as for `DepthwiseConv2D`. The layout is channels last.
        activation: None or 'linear', 'relu', 'relu6'.
        name: a str; None: 'quantized_depthwise_conv2d'.

    Raises what `dwconv.quantized_depthwise_conv2d` raises for these.
    """

    def __init__(
        self,
        kernel: ArrayLike,
        bias: ArrayLike | None = None,
        *,
        x_scale: Any,
        x_zero_point: Any,
        kernel_scale: Any,
        y_scale: Any,
        y_zero_point: Any,
        strides: PairLike = 1,
        padding: PaddingLike = "valid",
        dilation_rate: PairLike = 1,
        activation: str | None = None,
        name: str | None = None,
    ) -> None:
        default = np.dtype(np.int8)
        self.name = "quantized_depthwise_conv2d" if name is None else naming.read(name)
        self._kernel = _frozen(quantized.read_kernel(kernel))
        shape = self._kernel.shape
        self._spec = ConvSpec.for_kernel(shape, strides, padding, dilation_rate)
        array = quantized.read_bias(bias)
        outputs = shape[2] * shape[3]
        if array is not None and array.shape != (outputs,):
            raise ValueError(
                f"bias: expected shape (C*M,) = ({outputs},); received shape {array.shape}"
            )
        self._bias = None if array is None else _frozen(array)
        self._kernel_scale = _frozen(quantized.read_scales("kernel_scale", kernel_scale, outputs))
        self._x_scale = quantized.read_scale("x_scale", x_scale)
        self._y_scale = quantized.read_scale("y_scale", y_scale)
        self._x_zero_point = quantized.read_zero_point("x_zero_point", x_zero_point, default)
        self._y_zero_point = quantized.read_zero_point("y_zero_point", y_zero_point, default)
        self._activation = quantized.read_activation(activation)
        quantized.multipliers(self._x_scale, self._kernel_scale, self._y_scale)  # for its errors
        self._plans: dict[tuple[int, ...], _core.Quantized] = {}

    # ---- calls -----------------------------------------------------------------------------------

    def __call__(
        self, x: ArrayLike, *, out: Array | None = None, num_threads: Threads = None
    ) -> Array:
        """x (N, H, W, C) of the dtype of x_zero_point -> (N, OH, OW, C*M), `out` if given.

        Raises what `dwconv.quantized_depthwise_conv2d` raises for x, out and num_threads.
        """
        array = x if type(x) is np.ndarray else dtypes.read_array("x", x)
        plan = self._plans.get(array.shape[1:])
        if plan is None:
            plan = self._plan(array.shape)
        return quantized.run(plan, array, out, num_threads)

    def _plan(self, x_shape: tuple[int, ...]) -> _core.Quantized:
        """Of a new size of images; the oldest one makes room."""
        self._spec.check_array_shape("x", x_shape)
        plan = quantized.make_plan_of_repeated(
            self._spec,
            x_shape,
            self._kernel,
            self._bias,
            x_scale=self._x_scale,
            x_zero_point=self._x_zero_point,
            kernel_scale=self._kernel_scale,
            y_scale=self._y_scale,
            y_zero_point=self._y_zero_point,
            activation=self._activation,
        )
        plans = dict(self._plans)  # another thread may be about to do the same
        if len(plans) >= _MOST_PLANS:
            del plans[next(iter(plans))]
        plans[x_shape[1:]] = plan
        self._plans = plans
        return plan

    def quantize_input(self, x: ArrayLike) -> Array:
        """Real numbers as the layer takes them: round(x / x_scale) + x_zero_point, ties to even,
        saturated. NaN becomes the zero point.
        """
        return quantize(dtypes.read_array("x", x), self._x_scale, self._x_zero_point)

    def dequantize_output(self, y: Array) -> Array:
        """What the layer returns as float32: y_scale * (y - y_zero_point)."""
        return (y.astype(np.float32) - np.float32(self._y_zero_point)) * self._y_scale

    def compute_output_shape(self, input_shape: Sequence[Any]) -> tuple[int | None, ...]:
        """(N, OH, OW, C*M) for (N, H, W, C), None where that has None."""
        channels = self._kernel.shape[2]
        return self._spec.output_shape(
            self._spec.read_input_shape(self.name, input_shape, channels)
        )

    # ---- what it holds ---------------------------------------------------------------------------

    @property
    def kernel(self) -> Array:
        """(kh, kw, C, M) int8, read-only."""
        return self._kernel

    @property
    def bias(self) -> Array | None:
        """(C*M,) int32, read-only, or None."""
        return self._bias

    @property
    def kernel_scale(self) -> Array:
        """(C*M,) float32, read-only."""
        return self._kernel_scale

    @property
    def x_scale(self) -> np.float32:
        """Of the input."""
        return self._x_scale

    @property
    def y_scale(self) -> np.float32:
        """Of the output."""
        return self._y_scale

    @property
    def x_zero_point(self) -> Any:
        """A NumPy int8 or uint8, the dtype of the input."""
        return self._x_zero_point

    @property
    def y_zero_point(self) -> Any:
        """A NumPy int8 or uint8, the dtype of the output."""
        return self._y_zero_point

    @property
    def activation(self) -> str:
        """'linear', 'relu' or 'relu6'."""
        return self._activation

    def get_config(self) -> dict[str, Any]:
        """All but the arrays, as JSON can hold it."""
        padding = self._spec.padding
        return {
            "name": self.name,
            "strides": list(self._spec.strides),
            "padding": padding if isinstance(padding, str) else [list(side) for side in padding],
            "dilation_rate": list(self._spec.dilation_rate),
            "activation": self._activation,
            "x_scale": float(self._x_scale),
            "x_zero_point": int(self._x_zero_point),
            "x_dtype": self._x_zero_point.dtype.name,
            "y_scale": float(self._y_scale),
            "y_zero_point": int(self._y_zero_point),
            "y_dtype": self._y_zero_point.dtype.name,
        }

    @classmethod
    def from_config(
        cls,
        config: Mapping[str, Any],
        kernel: ArrayLike,
        bias: ArrayLike | None,
        kernel_scale: ArrayLike,
    ) -> QuantizedDepthwiseConv2D:
        """The layer of a config and its arrays. ValueError for other keys than those of
        `get_config`, and what the constructor raises.
        """
        values = dict(config)
        try:
            zeros = {
                f"{of}_zero_point": _zero_point(of, values.pop(f"{of}_zero_point"), values)
                for of in ("x", "y")
            }
            scales = {name: values.pop(name) for name in ("x_scale", "y_scale")}
        except KeyError as error:
            raise ValueError(f"config: expected a value of {error}; there is none") from error
        known = {"name", "strides", "padding", "dilation_rate", "activation"}
        if not values.keys() <= known:
            raise ValueError(f"config: unknown {short(sorted(values.keys() - known, key=str))}")
        return cls(kernel, bias, kernel_scale=kernel_scale, **zeros, **scales, **values)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_plans": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for array in (self._kernel, self._bias, self._kernel_scale):
            if array is not None:
                array.flags.writeable = False

    def __repr__(self) -> str:
        kernel_h, kernel_w, channels, multiplier = self._kernel.shape
        return (
            f"<QuantizedDepthwiseConv2D {self.name}: {kernel_h} x {kernel_w}, {channels} channels, "
            f"depth_multiplier {multiplier}, {self._x_zero_point.dtype} to "
            f"{self._y_zero_point.dtype}>"
        )

    # ---- files -----------------------------------------------------------------------------------

    def save(self, path: PathLike) -> None:
        """Writes config and weights to a .safetensors or .npz file; `dwconv.load` reads it.

        ValueError for another suffix, OSError from the file system.
        """
        if Path(path).suffix.lower() not in _SUFFIXES:
            raise ValueError(
                f"path: expected a name that ends in {' or '.join(_SUFFIXES)}; received {path!s}"
            )
        arrays = {"kernel": self._kernel, "kernel_scale": self._kernel_scale}
        if self._bias is not None:
            arrays["bias"] = self._bias
        store.write(path, {"class_name": CLASS_NAME, "config": self.get_config()}, arrays)


def from_document(document: Document, arrays: Arrays) -> QuantizedDepthwiseConv2D:
    """The layer that `save` has written. FormatError for what it has not."""
    config = document.get("config")
    if not isinstance(config, dict) or not {"kernel", "kernel_scale"} <= arrays.keys():
        raise FormatError(f"expected a config, a kernel and kernel_scale of a {CLASS_NAME}")
    unknown = sorted(arrays.keys() - set(_ARRAYS))
    if unknown:
        raise FormatError(f"expected arrays {list(_ARRAYS)}; received {short(unknown)}")
    try:
        return QuantizedDepthwiseConv2D.from_config(
            config, arrays["kernel"], arrays.get("bias"), arrays["kernel_scale"]
        )
    except (ValueError, TypeError) as error:
        raise FormatError(f"{CLASS_NAME}: {error}") from error


def quantize(x: Array, scale: np.float32, zero_point: Any) -> Array:
    """round(x / scale) + zero_point, of the dtype of that, ties to even, saturated."""
    limits = np.iinfo(zero_point.dtype)
    with np.errstate(all="ignore"):
        whole = np.rint(x.astype(np.float32) / scale) + np.float32(zero_point)
    number = np.where(np.isnan(whole), np.float32(zero_point), whole)
    return np.clip(number, limits.min, limits.max).astype(limits.dtype)


def _zero_point(of: str, value: Any, config: dict[str, Any]) -> Any:
    """Of a config, with its dtype."""
    name = config.pop(f"{of}_dtype")
    if name not in ("int8", "uint8"):
        raise ValueError(f"{of}_dtype: expected int8 or uint8; received {short(name)}")
    return quantized.read_zero_point(f"{of}_zero_point", value, np.dtype(name))


def _frozen(array: Array) -> Array:
    """A copy, C-contiguous, in native byte order, that nobody can write to."""
    copy = np.array(array, array.dtype.newbyteorder("="), order="C")
    copy.flags.writeable = False
    return copy
