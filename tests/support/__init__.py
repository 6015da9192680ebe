"""What the tests share: a case with its arrays, tolerances, comparisons that say what failed.

Shape letters: N batch, H height, W width, C input channels, M depth multiplier, kh/kw kernel
height/width.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import DTypeLike, NDArray

import dwconv
from dwconv import _core
from dwconv.ops import ConvSpec

ROOT = Path(__file__).resolve().parents[2]

#: Lanes of a vector (float32, float64); test_isa.py compares them with the compiled kernels.
LANES = {"portable": (4, 4), "neon": (4, 2), "avx2": (8, 4), "avx512": (16, 8)}

FLOATS = ("float32", "float64")


def lanes(isa: str, dtype: DTypeLike) -> int:
    """How many elements of `dtype` a vector of `isa` holds; of float16 as floats."""
    return LANES[isa][0 if np.dtype(dtype).itemsize <= 4 else 1]


@dataclass(frozen=True)
class Case:
    """One convolution; its repr is what reproduces it."""

    size: tuple[int, int] = (5, 6)  # H, W
    channels: int = 3
    kernel_size: tuple[int, int] = (3, 3)
    multiplier: int = 1
    strides: tuple[int, int] = (1, 1)
    padding: Any = "valid"
    dilation_rate: tuple[int, int] = (1, 1)
    batch: int = 1
    data_format: str = "channels_last"
    activation: str | None = None
    bias: bool = True
    dtype: str = "float32"
    seed: int = 0

    @property
    def spec(self) -> ConvSpec:
        """The geometry."""
        return ConvSpec.read(
            self.kernel_size,
            self.strides,
            self.padding,
            self.dilation_rate,
            self.multiplier,
            self.data_format,
        )

    def arrays(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]:
        """x, kernel, bias: standard normal, from the seed."""
        rng = np.random.default_rng(self.seed)

        def draw(*shape: int) -> NDArray[Any]:
            return rng.standard_normal(shape).astype(self.dtype)

        sizes = (self.channels, *self.size)
        if self.data_format == "channels_last":
            sizes = (*self.size, self.channels)
        x = draw(self.batch, *sizes)
        kernel = draw(*self.kernel_size, self.channels, self.multiplier)
        return x, kernel, draw(self.channels * self.multiplier) if self.bias else None

    def options(self) -> dict[str, Any]:
        """Keyword arguments of depthwise_conv2d, of the reference, too."""
        return {
            "strides": self.strides,
            "padding": self.padding,
            "dilation_rate": self.dilation_rate,
            "data_format": self.data_format,
            "activation": self.activation,
        }


def slow(*values: Any) -> list[Any]:
    """Values of a parameter that only `make test` tries; others stand for them in test-quick."""
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


def tiles(isa: str | None = None, variant: str = "plain") -> list[tuple[int, ...]]:
    """(kh, kw, stride, tile_h, tile_w) of the kernels of a variant, such as 'plain', 'multiplier'
    (M > 1), 'multiplier2' (this M alone) or 'folded' (columns of several pixels), of `isa` or of
    all. tile_h is 0 where a kernel goes down any number of rows; kh is in 'wide' ones, of any size.

    From the list that the core has compiled, so that a new kernel is a tested kernel.
    """
    fields = ("kernel_h", "kernel_w", "stride", "tile_h", "tile_w")
    found: dict[tuple[int, ...], None] = {}
    for name in sorted(_core.ISA_NAMES) if isa is None else [isa]:
        for kernel in _core.kernels(name, "float32"):
            if (kernel["family"], kernel["variant"]) == ("nhwc", variant):
                found[tuple(kernel[field] for field in fields)] = None
    return list(found)


#: Output rows for a kernel that rolls: its steps at the top, in the middle and at the bottom.
ROLLED_ROWS = 5


def tile_cases() -> list[Case]:
    """For every tile of every instruction set: one; several and a remainder; SAME and VALID."""
    cases: dict[Case, None] = {}
    # 5: channels lie across the ends of vectors
    multipliers = {"plain": 1, "multiplier": 5, **{f"multiplier{m}": m for m in (2, 3, 4, 8)}}
    for variant, multiplier in multipliers.items():
        for kernel_h, kernel_w, stride, tile_h, tile_w in tiles(variant=variant):
            kernel_size, strides = (kernel_h, kernel_w), (stride, stride)
            rows = tile_h or ROLLED_ROWS
            for out_h, out_w in ((rows, tile_w), (rows + 1, 2 * tile_w + 1), (1, 4 * tile_w)):
                # At stride 2 an even size, for which the tiles' edges are made.
                same = (out_h * stride, out_w * stride)
                case = Case(same, 3, kernel_size, multiplier, strides=strides, padding="same")
                cases[case] = None
            valid = ((rows - 1) * stride + kernel_h, (tile_w - 1) * stride + kernel_w)
            cases[Case(valid, 3, kernel_size, multiplier, strides=strides)] = None
    return list(cases)


def tolerance(
    x: NDArray[Any], kernel: NDArray[Any], bias: NDArray[Any] | None, **options: Any
) -> NDArray[np.float64]:
    """Largest error that the roundings of the convolution can make, element by element.

    Each of the `taps` fused multiply-adds rounds a partial sum of magnitude at most
    S = |b| + sum |x||w| by at most eps / 2 of it: taps * eps / 2 * S in the first order, well below
    (taps + 2) * eps * S.
    """
    size: NDArray[np.float64] = dwconv.reference.depthwise_conv2d(
        np.abs(x),
        np.abs(kernel),
        None if bias is None else np.abs(bias),
        **{**options, "activation": None},
    )
    taps = kernel.shape[0] * kernel.shape[1]
    bound: NDArray[np.float64] = (taps + 2) * float(np.finfo(kernel.dtype).eps) * size
    return bound


def assert_close(
    actual: NDArray[Any], expected: NDArray[Any], bound: NDArray[Any], context: object
) -> None:
    """|actual - expected| <= bound everywhere; the failure says where not, and `context`."""
    assert actual.shape == expected.shape, f"{actual.shape} != {expected.shape}: {context}"
    wrong = ~(np.abs(actual.astype(np.float64) - expected) <= bound)
    if wrong.any():
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise AssertionError(
            f"{int(wrong.sum())} of {wrong.size} elements are off, the first at {at}: "
            f"{actual[at]!r}, expected {expected[at]!r} +- {bound[at]:.3g}; {context}"
        )


def assert_same_bits(actual: NDArray[Any], expected: NDArray[Any], context: object) -> None:
    """The same dtype, shape and bits; NaNs may differ in their payload."""
    assert actual.dtype == expected.dtype, f"{actual.dtype} != {expected.dtype}: {context}"
    assert actual.shape == expected.shape, f"{actual.shape} != {expected.shape}: {context}"
    bits = np.dtype(f"u{actual.dtype.itemsize}")
    wrong = np.ascontiguousarray(actual).view(bits) != np.ascontiguousarray(expected).view(bits)
    wrong &= ~(np.isnan(actual) & np.isnan(expected))
    if wrong.any():
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise AssertionError(
            f"{int(wrong.sum())} of {wrong.size} elements differ, the first at {at}: "
            f"{actual[at]!r}, expected {expected[at]!r}; {context}"
        )


#: AddressSanitizer's memory: it keeps what was freed, and asks the system for more meanwhile.
ASAN = "libasan" in os.environ.get("LD_PRELOAD", "")

#: Limits of CPU time are multiplied by it. AddressSanitizer, with Python's own memory from malloc,
#: takes three to eight times as long to read a file.
ASAN_SLOWER = 10 if ASAN else 1

#: The words that run this Python: in an emulator, which sees no new process, they begin with it.
PYTHON = [*shlex.split(os.environ.get("DWCONV_TEST_EMULATOR", "")), sys.executable]


def patient(seconds: float) -> float:
    """A limit of time for something that takes far less than `seconds` on an idle machine.

    Limits are here to end what hangs, not to measure: beside other jobs they are longer, in
    proportion to how many there are for a processor, twice that because more may come.
    """
    if not hasattr(os, "getloadavg"):
        return 4 * seconds
    return seconds * max(1.0, 2 * os.getloadavg()[0] / (os.cpu_count() or 1))


def run_python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A Python of its own: dwconv importable, no DWCONV_ISA but what `environment` says."""
    variables = {key: value for key, value in os.environ.items() if key != "DWCONV_ISA"}
    path = os.pathsep.join([str(Path(dwconv.__file__).parents[1]), str(ROOT / "tests")])
    return subprocess.run(
        [*PYTHON, *arguments],
        env={**variables, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=patient(300),
        check=False,
    )
