"""Torture: random convolutions, gradients and quantized ones, for as long as one likes.

    python tests/core/torture.py [--minutes 1] [--seed 0] [--case SEED]

Each case has a seed, from which all of it is drawn: sizes, options, dtype, values, how the input
lies in memory, how the operation is called. It is computed by each instruction set. Checked are:

- float32, float64: the error against `dwconv.reference`, within the bound of `support.tolerance`;
- float16, bfloat16: the float32 result, rounded once, to the bit; int32: the exact result;
- the same bits from each instruction set, number of threads, memory layout and way of calling;
- not a byte outside `out` is written, and no input is changed;
- gradients against float64 within their bound, with the same bits everywhere;
- quantized convolutions: NumPy's integers, to the bit, by every kernel for bytes.

`make torture` runs it. A failure prints the seed, and --case SEED repeats that case alone.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support import Case, assert_close, assert_same_bits, gradient_reference, tolerance
from support.quantized import KERNELS, Quantized

import dwconv
from dwconv import isa as isas

Array = NDArray[Any]

DTYPES = ["float32", "float64", "float16", "int32"]
try:
    import ml_dtypes

    DTYPES.append("bfloat16")
except ImportError:  # not everywhere
    ml_dtypes = None

GUARD, POISON = 256, 0xA5  # bytes around `out`


@dataclass
class Tally:
    """What has been done, and how near to their bounds the errors came."""

    cases: int = 0
    calls: int = 0
    gradients: int = 0
    worst: float = 0.0  #: error over its bound, of results
    worst_gradient: float = 0.0
    quantized: int = 0  #: calls

    def __str__(self) -> str:
        return (
            f"{self.cases} cases, {self.calls} calls, worst error {self.worst:.3f} of its bound; "
            f"{self.gradients} gradients, worst {self.worst_gradient:.3f}; "
            f"{self.quantized} quantized calls, exact"
        )


# ---- a case --------------------------------------------------------------------------------------


def draw_case(rng: np.random.Generator, seed: int) -> Case:
    """Sizes around those of tiles and vectors; half of the kernels have code of their own."""

    def some(*values: Any) -> Any:
        return values[rng.integers(len(values))]

    def number(low: int, high: int) -> int:
        return int(rng.integers(low, high + 1))

    common = rng.random() < 0.5
    side, stride = some(3, 5, 7), some(1, 2)
    margins = ((number(0, 4), number(0, 4)), (number(0, 4), number(0, 4)))
    return Case(
        size=(number(1, 16), number(1, 24)),
        channels=some(number(1, 20), some(24, 31, 32, 33, 40, 64, 65)),
        kernel_size=(side, side) if common else (number(1, 6), number(1, 6)),
        multiplier=some(1, 1, 1, 2, 3, 5),
        strides=(stride, stride) if common else (number(1, 4), number(1, 4)),
        padding=some("valid", "same", "same", margins),
        dilation_rate=(1, 1) if rng.random() < 0.6 else (number(1, 3), number(1, 4)),
        batch=number(0, 3),
        data_format=some("channels_last", "channels_first"),
        activation=some(None, None, "relu", "relu6"),
        bias=rng.random() < 0.7,
        dtype=some("float32", "float32", *DTYPES),
        seed=seed,
    )


def draw_convolution(rng: np.random.Generator, seed: int) -> Case:
    """A case with an output."""
    case = draw_case(rng, seed)
    while not has_pixels(case):
        case = draw_case(rng, seed)
    return case


def has_pixels(case: Case) -> bool:
    """Whether there is an output."""
    return all(gradient_reference.output_shape(case)[1:3])


def draw_arrays(case: Case) -> tuple[Array, Array, Array | None]:
    """x, kernel and bias in the dtype of the case."""
    if case.dtype == "int32":  # sums below 2**31: 36 taps of 10**6, 49 of them at most
        rng = np.random.default_rng(case.seed)
        x, kernel, bias = replace(case, dtype="float64").arrays()
        return tuple(  # type: ignore[return-value]
            None if array is None else rng.integers(-1000, 1001, array.shape, np.int32)
            for array in (x, kernel, bias)
        )
    dtype = np.dtype(ml_dtypes.bfloat16 if case.dtype == "bfloat16" else case.dtype)
    x, kernel, bias = replace(case, dtype="float64").arrays()
    return x.astype(dtype), kernel.astype(dtype), None if bias is None else bias.astype(dtype)


def somewhere(array: Array, rng: np.random.Generator) -> Array:
    """The same values, as they may lie in memory."""
    way = rng.integers(6)
    if way == 0:  # not aligned
        memory = np.empty(array.nbytes + 1, np.uint8)[1:]
        found = memory.view(array.dtype).reshape(array.shape)
    elif way == 1:  # every second element of the last axis
        found = np.empty((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)[..., ::2]
    elif way == 2:  # backwards
        found = np.empty_like(array)[:, ::-1, :, ::-1]
    elif way == 3:  # axes in another order
        found = np.empty(array.shape[::-1], array.dtype).T
    elif way == 4:  # a part of something larger
        found = np.empty([n + 2 for n in array.shape], array.dtype)[
            tuple(slice(1, n + 1) for n in array.shape)
        ]
    else:
        return array
    found[...] = array
    return found


def guarded(shape: tuple[int, ...], dtype: Any) -> tuple[Array, Array]:
    """An array of NaNs or so, and the memory that it is a part of."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.full(size + 2 * GUARD, POISON, np.uint8)
    return memory[GUARD : GUARD + size].view(dtype).reshape(shape), memory


def call(case: Case, rng: np.random.Generator, isa: str, arrays: Any, shape: Any) -> Array:
    """The operation by the function, a layer or its plan, with or without `out`."""
    x, kernel, bias = arrays
    threads = int(rng.integers(1, 5))
    before = [None if array is None else array.copy() for array in arrays]
    y, memory = guarded(shape, kernel.dtype) if rng.random() < 0.5 else (None, None)
    way = rng.integers(3)
    if way == 0 or not isinstance(case.padding, str) or dilated_and_strided(case):
        found = dwconv.depthwise_conv2d(
            *(x, kernel, bias), out=y, isa=isa, num_threads=threads, **case.options()
        )
    else:
        layer = dwconv.DepthwiseConv2D(
            case.kernel_size,
            depth_multiplier=case.multiplier,
            depthwise_initializer="zeros",
            use_bias=bias is not None,
            dtype=case.dtype,
            **case.options(),
        )
        layer.build(x.shape)
        layer.set_weights([kernel] if bias is None else [kernel, bias])
        if y is None and way == 1:
            found = layer(x, num_threads=threads)  # by the default instruction set
        else:
            found = layer.plan(x.shape, num_threads=threads, isa=isa)(x, out=y)
    check_memory(found, y, memory)
    for array, old in zip(arrays, before, strict=True):
        assert array is None or array.tobytes() == old.tobytes(), "an input was changed"
    return np.asarray(found)


def check_memory(found: Array, out: Array | None, memory: Array | None) -> None:
    """What a call returned is the `out` that it was given, and nothing around that has changed."""
    if memory is None:
        return
    assert found is out, "another array than out"
    outside = np.concatenate([memory[:GUARD], memory[len(memory) - GUARD :]])
    assert (outside == POISON).all(), "bytes outside of out were written"


def dilated_and_strided(case: Case) -> bool:
    """Keras' layer refuses that."""
    return max(case.strides) > 1 and max(case.dilation_rate) > 1


def check_results(case: Case, tally: Tally) -> None:
    """The convolution of a case, by each instruction set."""
    rng = np.random.default_rng(case.seed + 2**40)
    arrays = draw_arrays(case)
    x, kernel, _ = arrays
    wide = "float32" if case.dtype in ("float16", "bfloat16") else case.dtype
    if wide == "int32":
        wide_arrays = [None if a is None else a.astype(np.float64) for a in arrays]
    else:
        wide_arrays = [None if a is None else a.astype(wide) for a in arrays]
    expected = dwconv.reference.depthwise_conv2d(*wide_arrays, **case.options())
    first: Array | None = None
    for isa in isas.available():
        placed = tuple(None if a is None else somewhere(a, rng) if a is x else a for a in arrays)
        y = call(case, rng, isa, placed, expected.shape)
        tally.calls += 1
        assert y.dtype == kernel.dtype, y.dtype
        if first is None:
            first = y
        assert_same_bits(y, first, (isa, "beside", isas.available()[0]))
    assert first is not None
    if case.dtype == "int32":
        assert (first == expected).all(), "not the exact result"
        return
    bound = tolerance(*wide_arrays, **case.options())
    if wide == case.dtype:
        result = first
    else:
        result = dwconv.depthwise_conv2d(*wide_arrays, isa="portable", **case.options())
        assert_same_bits(first, result.astype(kernel.dtype), "rounded once")
    assert_close(result, expected, bound, "reference")
    if (bound > 0).any():
        error = np.abs(result.astype(np.float64) - expected)[bound > 0]
        tally.worst = max(tally.worst, float((error / bound[bound > 0]).max()))


def check_gradients(case: Case, tally: Tally) -> None:
    """The three gradients of a case, by each instruction set."""
    if case.dtype not in ("float32", "float64"):
        case = replace(case, dtype="float32")
    last = replace(case, data_format="channels_last")
    rng = np.random.default_rng(case.seed + 2**41)
    x, kernel, _ = last.arrays()
    dy = rng.standard_normal(gradient_reference.output_shape(case)).astype(case.dtype)
    expected = gradient_reference.in_float64(last, x, kernel, dy)
    bounds = gradient_reference.bounds(last, x, kernel, dy)
    to_last = (0, 2, 3, 1) if case.data_format == "channels_first" else (0, 1, 2, 3)
    from_last = np.argsort(to_last)
    x, dy = (np.ascontiguousarray(array.transpose(from_last)) for array in (x, dy))
    options = {key: value for key, value in case.options().items() if key != "activation"}
    first: list[Array] = []
    for isa in isas.available():
        further = {"isa": isa, "num_threads": int(rng.integers(1, 5))}
        there, dthere = somewhere(x, rng), somewhere(dy, rng)
        found = [
            dwconv.depthwise_conv2d_input_grad(dthere, kernel, x.shape, **options, **further),
            dwconv.depthwise_conv2d_kernel_grad(dthere, there, kernel.shape, **options, **further),
            dwconv.depthwise_conv2d_bias_grad(dthere, data_format=case.data_format, **further),
        ]
        found[0] = found[0].transpose(to_last)
        tally.gradients += 3
        first = first or found
        for name, mine, its in zip(("dx", "dkernel", "dbias"), found, first, strict=True):
            assert_same_bits(mine, its, (name, isa, "beside", isas.available()[0]))
    for name, mine, wanted, bound in zip(
        ("dx", "dkernel", "dbias"), first, expected, bounds, strict=True
    ):
        assert_close(mine, wanted, bound, name)
        if (bound > 0).any():
            error = np.abs(mine.astype(np.float64) - wanted)[bound > 0]
            ratio = float((error / bound[bound > 0]).max())
            tally.worst_gradient = max(tally.worst_gradient, ratio)


# ---- bytes ---------------------------------------------------------------------------------------


def draw_quantized(rng: np.random.Generator, seed: int) -> Quantized:
    """Of the same sizes; zero points at the ends of their types and between; results that fill
    bytes, and others.
    """
    case = draw_convolution(rng, seed)
    x_dtype, y_dtype = rng.choice(["int8", "uint8"], 2)

    def zero_point(dtype: str) -> int:
        limits = np.iinfo(dtype)
        ends = rng.random() < 0.3
        return int(rng.choice([limits.min, limits.max]) if ends else rng.integers(limits.min, 128))

    return Quantized(
        size=case.size,
        channels=int(rng.choice([case.channels, rng.integers(1, 200)])),
        kernel_size=case.kernel_size,
        multiplier=case.multiplier,
        strides=case.strides,
        padding=case.padding,
        dilation_rate=case.dilation_rate,
        batch=case.batch,
        activation=case.activation,
        bias=case.bias,
        x_dtype=str(x_dtype),
        y_dtype=str(y_dtype),
        x_zero_point=zero_point(x_dtype),
        y_zero_point=zero_point(y_dtype),
        size_of_y=float(rng.choice([0.003, 0.02, 0.02, 1, 1e9])),
        extreme=bool(rng.random() < 0.2),
        seed=seed,
    )


def check_quantized(case: Quantized, tally: Tally) -> None:
    """By the function with each instruction set, by a layer, and by a plan of each kernel."""
    rng = np.random.default_rng(case.seed + 2**42)
    x, kernel, bias, scale = case.arrays()
    expected = case.expected()
    options = {**case.options(), "kernel_scale": scale}
    layer = dwconv.QuantizedDepthwiseConv2D(kernel, bias, **with_dtype_of_x(options, x))
    for isa in isas.available():
        check_bytes(
            lambda *arguments, isa=isa, **further: dwconv.quantized_depthwise_conv2d(
                arguments[0], kernel, bias, isa=isa, **options, **further
            ),
            *(x, expected, rng, tally),
        )
    check_bytes(layer, x, expected, rng, tally)
    for isa, kernels in KERNELS:
        plan = case.plan(isa, kernels)
        found = plan(x, num_threads=int(rng.integers(1, 5)))
        assert_same_bits(found, expected, (isa, kernels))
        tally.quantized += 1


def with_dtype_of_x(options: dict[str, Any], x: Array) -> dict[str, Any]:
    """Options for a layer, which has no x to take the dtype from."""
    return {**options, "x_zero_point": x.dtype.type(options["x_zero_point"])}


def check_bytes(
    call: Callable[..., Array], x: Array, expected: Array, rng: np.random.Generator, tally: Tally
) -> None:
    """One call, of x somewhere in memory, with or without `out`, of any number of threads."""
    placed = somewhere(x, rng)
    out, memory = guarded(expected.shape, expected.dtype) if rng.random() < 0.5 else (None, None)
    found = call(placed, out=out, num_threads=int(rng.integers(1, 5)))
    check_memory(found, out, memory)
    assert (placed == x).all(), "an input was changed"
    assert_same_bits(found, expected, "beside NumPy's integers")
    tally.quantized += 1


def check(seed: int, tally: Tally) -> None:
    """One case. AssertionError, or whatever the library raises, with the case in a note."""
    rng = np.random.default_rng(seed)
    floats = draw_convolution(rng, seed)
    case: Case | Quantized = floats
    try:
        check_results(floats, tally)
        if rng.random() < 0.5:
            check_gradients(floats, tally)
        if rng.random() < 0.5:
            case = quantized = draw_quantized(rng, seed)
            check_quantized(quantized, tally)
    except Exception as error:
        raise AssertionError(f"--case {seed}: {case}: {type(error).__name__}: {error}") from error
    tally.cases += 1


def torture(seconds: float, seed: int, clock: Callable[[], float] = time.monotonic) -> Tally:
    """Cases from `seed` on, for so long by a clock."""
    tally, end = Tally(), clock() + seconds
    while clock() < end:
        check(seed + tally.cases, tally)
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--seed", type=int, help="of the first case; default: the time")
    parser.add_argument("--case", type=int, metavar="SEED", help="this one alone")
    arguments = parser.parse_args()
    dwconv.config.set_denormals("ieee")  # as the yardstick computes
    if arguments.case is not None:
        tally = Tally()
        check(arguments.case, tally)
        print(tally)
        return 0
    seed = int(time.time()) * 1_000_000 if arguments.seed is None else arguments.seed
    print(f"instruction sets: {', '.join(isas.available())}; seeds from {seed}", flush=True)
    tally = torture(60 * arguments.minutes, seed)
    print(f"{tally}; seeds {seed} to {seed + tally.cases - 1}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
