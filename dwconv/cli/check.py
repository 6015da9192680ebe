"""`dwconv check`: every instruction set of this CPU against the reference, over a grid of shapes.

How a user comes to trust an installed wheel on their own machine. Two things are checked for each
case: no element is further from `dwconv.reference` than its derived bound, and all instruction sets
give the same bits. Quantized convolutions, of int8, have no error at all.
"""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import dtypes, isa, reference
from ..ops.convolution import depthwise_conv2d
from ..ops.quantized import quantized_depthwise_conv2d
from .progress import progress

FLOATS = ("float32", "float64")
DTYPES = (*FLOATS, "int8")

#: Of 16 bits, those that are installed: what rounding to them may cost of a number, at least.
HALVES = {"float16": (2.0**-11, 2.0**-25), "bfloat16": (2.0**-8, 2.0**-134)}

_REPORTED = 5  # failures printed in full


@dataclass(frozen=True)
class Case:
    """One convolution. x (N, H, W, C), kernel (kh, kw, C, M)."""

    batch: int
    size: tuple[int, int]
    channels: int
    multiplier: int
    kernel_size: tuple[int, int]
    strides: tuple[int, int]
    dilation_rate: tuple[int, int]
    padding: str | tuple[tuple[int, int], tuple[int, int]]
    activation: str
    bias: bool
    dtype: str

    def options(self) -> dict[str, Any]:
        """The keyword arguments that op and reference share."""
        return {
            "strides": self.strides,
            "padding": self.padding,
            "dilation_rate": self.dilation_rate,
            "activation": self.activation,
        }


@dataclass
class Result:
    """What one instruction set has shown for one dtype."""

    cases: int = 0
    ratio: float = 0.0  # the largest error as a share of its bound,
    error: float = 0.0  # that error
    bound: float = 0.0  # and that bound
    same_bits: bool = True
    failures: list[str] = field(default_factory=list)


def run(isa_name: str | None = None, as_json: bool = False) -> int:
    """Prints a table or JSON; 0 if everything holds, else 1.

    With `isa_name`, of that instruction set, whose bits are compared with the portable one's.
    """
    start = time.monotonic()
    cases = grid()
    names = isa.available() if isa_name is None else _with_first(isa_name)
    tried = list(dict.fromkeys(case.dtype for case in cases))
    results = {(name, dtype): Result() for name in names for dtype in tried}
    for index, case in enumerate(progress(cases, "checking")):
        check_case(case, index, results)
    failures = [text for result in results.values() for text in result.failures]
    if as_json:
        print(json.dumps(_document(results, time.monotonic() - start), indent=2))
        return 1 if failures else 0
    _print_table(results)
    for text in failures[:_REPORTED]:
        print(text)
    if len(failures) > _REPORTED:
        print(f"... and {len(failures) - _REPORTED} more")
    seconds = time.monotonic() - start
    verdict = f"FAILED: {len(failures)} results" if failures else "passed"
    print(f"{verdict}; {len(cases)} shapes on each instruction set, {seconds:.1f} s")
    return 1 if failures else 0


def _with_first(name: str) -> tuple[str, ...]:
    """`name` after the one that its bits are compared with."""
    first = isa.available()[0]
    return (name,) if name == first else (first, name)


def _document(results: dict[tuple[str, str], Result], seconds: float) -> dict[str, Any]:
    rows = [
        {"isa": name, "dtype": dtype, **{k: v for k, v in vars(result).items() if k != "failures"}}
        for (name, dtype), result in results.items()
    ]
    failures = [text for result in results.values() for text in result.failures]
    return {"passed": not failures, "seconds": seconds, "results": rows, "failures": failures}


def grid() -> list[Case]:
    """Every combination of kernel, strides, dilation, padding and multiplier, and every tail."""
    sizes = itertools.cycle([(9, 10), (14, 7), (8, 8), (5, 23), (15, 13)])
    channels = itertools.cycle([1, 3, 4, 8, 15, 16, 17, 24, 33, 5, 64])
    batches = itertools.cycle([1, 1, 2])
    activations = itertools.cycle(["linear", "relu", "relu6", "linear"])
    biases = itertools.cycle([True, True, False])
    kernels = [(1, 1), (2, 2), (3, 3), (5, 5), (7, 7), (1, 3), (4, 1)]
    strides = [(1, 1), (2, 2), (2, 1), (1, 3)]
    dilations = [(1, 1), (2, 2), (1, 3)]
    paddings = ["valid", "same", ((2, 0), (1, 3))]
    cases: list[Case] = []

    def add(dtype: str, channel_count: int, multiplier: int, *rest: Any) -> None:
        kernel, stride, dilation, padding = rest
        height, width = next(sizes)
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
        cases.append(
            Case(
                batch=next(batches),
                size=(max(height, reach[0]), max(width, reach[1])),
                channels=channel_count,
                multiplier=multiplier,
                kernel_size=kernel,
                strides=stride,
                dilation_rate=dilation,
                padding=padding,
                activation=next(activations),
                bias=next(biases),
                dtype=dtype,
            )
        )

    for dtype in FLOATS:
        for multiplier, *rest in itertools.product(
            [1, 2, 3], kernels, strides, dilations, paddings
        ):
            add(dtype, next(channels), multiplier, *rest)
        # Tails: all counts up to twice the lanes of the widest vectors (16 floats), and one more.
        for count, kernel, stride, multiplier in itertools.product(
            range(1, 34), [(3, 3), (5, 5)], [(1, 1), (2, 2)], [1, 2]
        ):
            add(dtype, count, multiplier, kernel, stride, (1, 1), "same")
    for kernel, stride, padding in itertools.product(kernels, strides, paddings):
        for multiplier, dilation in ((1, (1, 1)), (2, (2, 2)), (3, (1, 3))):
            add("int8", next(channels), multiplier, kernel, stride, dilation, padding)
    # Tails: all counts up to the widest vector of bytes, and one more.
    for count, stride in itertools.product(range(1, 66), [(1, 1), (2, 2)]):
        add("int8", count, 1, (3, 3), stride, (1, 1), "same")
    for dtype in HALVES:
        if dtypes.named(dtype) is None:  # bfloat16 needs ml_dtypes
            continue
        for kernel, stride in itertools.product(kernels, strides[:2]):
            add(dtype, next(channels), 1, kernel, stride, (1, 1), "same")
        for count in range(1, 34):
            add(dtype, count, 1, (3, 3), (1, 1), (1, 1), "same")
    return cases


def check_case(case: Case, seed: int, results: dict[tuple[str, str], Result]) -> None:
    """Runs one case on every instruction set and enters what it shows into `results`."""
    if case.dtype == "int8":
        check_quantized(case, seed, results)
        return
    x, kernel, bias = arrays(case, seed)
    expected = reference.depthwise_conv2d(x, kernel, bias, **case.options())
    limit = bound(case, x, kernel, bias)
    if case.dtype in HALVES:  # rounded once more
        relative, least = HALVES[case.dtype]
        limit += np.maximum(relative * (np.abs(expected) + limit), least)
    first: NDArray[Any] | None = None
    for name in dict.fromkeys(name for name, _ in results):
        y = depthwise_conv2d(x, kernel, bias, isa=name, **case.options())
        first = y if first is None else first
        enter(results[name, case.dtype], y, expected, limit, first, f"{name} {case}, seed {seed}")


def check_quantized(case: Case, seed: int, results: dict[tuple[str, str], Result]) -> None:
    """The same for a case of bytes, whose bounds are 0."""
    random = np.random.default_rng(seed)
    outputs = case.channels * case.multiplier
    x = random.integers(-128, 128, (case.batch, *case.size, case.channels)).astype(np.int8)
    shape = (*case.kernel_size, case.channels, case.multiplier)
    kernel = random.integers(-128, 128, shape).astype(np.int8)
    bias = random.integers(-5000, 5000, outputs).astype(np.int32) if case.bias else None
    options: dict[str, Any] = {
        "x_scale": 0.04,
        "x_zero_point": int(random.integers(-128, 128)),
        "kernel_scale": random.uniform(0.01, 0.1, outputs).astype(np.float32),
        "y_scale": 0.2,
        "y_zero_point": np.int8(random.integers(-128, 128)),
        **case.options(),
    }
    expected = reference.quantized_depthwise_conv2d(x, kernel, bias, **options).astype(np.float64)
    first: NDArray[Any] | None = None
    for name in dict.fromkeys(name for name, _ in results):
        y = quantized_depthwise_conv2d(x, kernel, bias, isa=name, **options)
        first = y if first is None else first
        limit = np.zeros(y.shape)
        enter(results[name, case.dtype], y, expected, limit, first, f"{name} {case}, seed {seed}")


def arrays(case: Case, seed: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]:
    """Random x, kernel and bias of a case: standard normal, so that relu and relu6 both cut."""
    random = np.random.default_rng(seed)
    height, width = case.size
    x = random.standard_normal((case.batch, height, width, case.channels))
    kernel = random.standard_normal((*case.kernel_size, case.channels, case.multiplier))
    bias = random.standard_normal(case.channels * case.multiplier)
    cast = [array.astype(dtypes.named(case.dtype)) for array in (x, kernel, bias)]
    return cast[0], cast[1], cast[2] if case.bias else None


def bound(
    case: Case, x: NDArray[Any], kernel: NDArray[Any], bias: NDArray[Any] | None
) -> NDArray[np.float64]:
    """For each element (taps + 2) * eps * reference(|x|, |w|, |b|).

    A sum of n terms in any order is off by at most (n - 1) * eps / 2 times the sum of magnitudes,
    to first order (Higham, 'Accuracy and Stability of Numerical Algorithms', 2002, section 4.2).
    The other half of eps is for the rounding of the float64 reference where dtype is float64; the
    activations bring no two numbers further apart.
    """
    taps = case.kernel_size[0] * case.kernel_size[1]
    options = case.options() | {"activation": None}
    magnitudes = reference.depthwise_conv2d(
        np.abs(x), np.abs(kernel), None if bias is None else np.abs(bias), **options
    )
    summed = dtypes.compute_dtype(x.dtype)
    return np.asarray((taps + 2) * np.finfo(summed).eps * magnitudes)


def enter(
    result: Result,
    y: NDArray[Any],
    expected: NDArray[np.float64],
    limit: NDArray[np.float64],
    first: NDArray[Any],
    what: str,
) -> None:
    """Compares y with the reference and with the first instruction set's bits."""
    result.cases += 1
    error = np.abs(y.astype(np.float64) - expected)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = np.where(error == 0, 0.0, error / limit)  # 0 / 0: nothing but padding
    ratios = np.where(np.isnan(ratios), np.inf, ratios)
    worst = int(ratios.argmax())
    ratio = float(ratios.flat[worst])
    if result.cases == 1 or ratio > result.ratio:
        result.ratio = ratio
        result.error, result.bound = float(error.flat[worst]), float(limit.flat[worst])
    if ratio > 1:
        result.failures.append(f"error {ratio:.3g} times its bound: {what}")
    if y.tobytes() != first.tobytes():
        result.same_bits = False
        result.failures.append(f"bits differ from those of {isa.available()[0]}: {what}")


def _print_table(results: dict[tuple[str, str], Result]) -> None:
    first = isa.available()[0]
    print("ISA       dtype     cases  largest error     its bound  ratio  bits")
    for (name, dtype), result in results.items():
        bits = f"as {first}" if result.same_bits else f"NOT as {first}"
        print(
            f"{name:<9} {dtype:<8}  {result.cases:>5}  {result.error:>13.2e} {result.bound:>13.2e}"
            f"  {result.ratio:>5.3f}  {'-' if name == first else bits}"
        )
