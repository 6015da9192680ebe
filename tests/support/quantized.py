"""Quantized convolutions as tests draw them, with their exact results; the kernels of this CPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dwconv import _core, reference
from dwconv.ops import ConvSpec
from dwconv.ops import quantized as ops

Array = NDArray[Any]


@dataclass(frozen=True)
class Quantized:
    """One quantized convolution; its repr is what reproduces it."""

    size: tuple[int, int] = (5, 6)
    channels: int = 3
    kernel_size: tuple[int, int] = (3, 3)
    multiplier: int = 1
    strides: tuple[int, int] = (1, 1)
    padding: Any = "same"
    dilation_rate: tuple[int, int] = (1, 1)
    batch: int = 1
    activation: str | None = None
    bias: bool = True
    x_dtype: str = "int8"
    y_dtype: str = "int8"
    x_zero_point: int = 5
    y_zero_point: int = 3
    #: Of each multiplier: results spread over bytes, or lie beyond them, and beyond int32.
    size_of_y: float = 0.02
    extreme: bool = False
    seed: int = 0

    def arrays(self) -> tuple[Array, Array, Array | None, Array]:
        """x, kernel, bias, kernel_scale, from the seed; if extreme, the ends of their types."""
        rng = np.random.default_rng(self.seed)
        limits = np.iinfo(self.x_dtype)
        outputs = self.channels * self.multiplier

        def draw(low: int, high: int, *shape: int) -> Array:
            if self.extreme:
                return rng.choice([low, high], shape)
            return rng.integers(low, high, shape, endpoint=True)

        x = draw(limits.min, limits.max, self.batch, *self.size, self.channels)
        kernel = draw(-128, 127, *self.kernel_size, self.channels, self.multiplier)
        bias = draw(-3000, 3000, outputs).astype(np.int32) if self.bias else None
        scale = (self.size_of_y * rng.uniform(0.5, 2, outputs)).astype(np.float32)
        return x.astype(self.x_dtype), kernel.astype(np.int8), bias, scale

    def options(self) -> dict[str, Any]:
        return {
            "x_scale": 0.37,
            "x_zero_point": self.x_zero_point,
            "y_scale": 0.41,
            "y_zero_point": np.dtype(self.y_dtype).type(self.y_zero_point),
            "strides": self.strides,
            "padding": self.padding,
            "dilation_rate": self.dilation_rate,
            "activation": self.activation,
        }

    def expected(self) -> Array:
        x, kernel, bias, scale = self.arrays()
        return reference.quantized_depthwise_conv2d(
            x, kernel, bias, kernel_scale=scale, **self.options()
        )

    def plan(self, isa: str, kernels: str | None) -> Any:
        x, kernel, bias, scale = self.arrays()
        options = self.options()
        spec = ConvSpec.for_kernel(
            kernel.shape, self.strides, self.padding, self.dilation_rate, "channels_last"
        )
        return ops.make_plan(
            spec,
            x.shape,
            kernel,
            bias,
            x_scale=np.float32(options["x_scale"]),
            x_zero_point=x.dtype.type(self.x_zero_point),
            kernel_scale=scale,
            y_scale=np.float32(options["y_scale"]),
            y_zero_point=options["y_zero_point"],
            activation=self.activation or "linear",
            isa=isa,
            kernels=kernels,
        )


#: (instruction set, kernels) that this CPU has.
KERNELS = [
    (isa, name)
    for isa in _core.available_isas()
    for name, usable in _core.quantized_kernels(isa).items()
    if usable
]
BYTES = {"portable": 16, "neon": 16}  # of a vector; others as their name says


def bytes_of(kernels: str) -> int:
    return BYTES.get(kernels, 32 if "avx2" in kernels or "256" in kernels else 64)
