"""Writes golden_quantized.txt: the problems that golden_quantized.c runs, with the hashes of their
exact results.

    python tests/c/make_golden_quantized.py          write it
    python tests/c/make_golden_quantized.py --check  compare it with what would be written

The results are those of `dwconv.reference`, NumPy's integers; nothing of the C core runs. The
inputs are defined twice, here and in golden_quantized.c.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import Any

import make_golden
import numpy as np
from make_golden import U64, Array, Sizes

from dwconv import reference

FILE = Path(__file__).resolve().parent / "golden_quantized.txt"

HEADER = """\
/* Problems and the hashes of their exact results, made by make_golden_quantized.py, read by
 * golden_quantized.c: types of x and y, kind, activation, bias?, exponent of the multipliers,
 * zero points of x and y, {N, H, W, C, M, kh, kw, strides, dilation, top, bottom, left,
 * right}, hash. */
"""
TYPES = ("INT8", "UINT8")
KINDS = ("ANY", "ENDS")
ACTIVATIONS = ("LINEAR", "RELU", "RELU6")

#: Of float32: results that fill bytes, that lie beyond them, beyond int32, and that are all zero.
EXPONENTS = (117, 117, 117, 127, 180, 10)

#: Around the vectors of 16, 32 and 64 bytes: fewer, one, more; a last block that begins earlier.
CHANNELS = (1, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 131)


@dataclass(frozen=True)
class Problem(Sizes):
    """The fields of `problem` in golden_quantized.c; the sizes are last there."""

    x_type: str = "INT8"
    y_type: str = "INT8"
    kind: str = "ANY"
    activation: str = "LINEAR"
    bias: bool = True
    exponent: int = 117
    x_zero_point: int = 0
    y_zero_point: int = 0

    def numbers(self) -> list[int]:
        """The fields as C has them."""
        kinds = (TYPES, TYPES, KINDS, ACTIVATIONS)
        names = (self.x_type, self.y_type, self.kind, self.activation)
        enums = [known.index(name) for known, name in zip(kinds, names, strict=True)]
        return [*enums, *self.own(), *self.sizes()]

    def own(self) -> list[int]:
        """Those between the enums and the sizes."""
        return [int(self.bias), self.exponent, self.x_zero_point, self.y_zero_point]


# ---- which problems ------------------------------------------------------------------------------


def shapes() -> Iterator[Problem]:
    """The sizes that have kernels of their own, for every tail; the general kernel."""
    for channels in CHANNELS:
        shape = Problem(channels=channels)
        for size, stride in ((3, 1), (3, 2), (5, 1), (5, 2)):
            sized = replace(shape, kernel_h=size, kernel_w=size, stride_h=stride, stride_w=stride)
            pad = size // 2
            yield replace(sized, top=pad, bottom=pad, left=pad, right=pad, height=7, width=8)
            yield replace(sized, height=size + 3, width=size + 2 * stride, batch=2, bottom=1)
    for channels in (1, 17, 40, 70):
        shape = Problem(channels=channels)
        yield replace(shape, height=1, width=1, top=1, bottom=1, left=1, right=1)
        yield replace(shape, height=2, width=1, top=1, bottom=1, left=1, right=1)
        yield replace(shape, kernel_h=1, kernel_w=1)
        yield replace(shape, kernel_h=2, kernel_w=4, left=1, right=2, bottom=1)
        yield replace(shape, kernel_h=7, kernel_w=7, height=8, width=9, top=3, left=3, right=3)
        yield replace(shape, kernel_h=9, kernel_w=2, height=9)
        yield replace(shape, dilation_h=2, dilation_w=3, height=9, width=10, left=3, right=3)
        yield replace(shape, kernel_h=5, kernel_w=2, stride_h=3, height=7, top=2, bottom=1, right=2)
        yield replace(shape, height=2, width=2, top=4, bottom=4, left=5, right=3)
        yield replace(shape, channels=(channels + 1) // 2, multiplier=2, left=1, right=1)
        yield replace(shape, channels=(channels + 2) // 3, multiplier=3, stride_h=2, stride_w=2)
        yield replace(shape, channels=1, multiplier=channels, batch=2)


def problems() -> list[Problem]:
    """All of them, with types, zero points and the rest in turn, of periods without a common factor
    where that can be.
    """
    found = []
    turns = zip(
        cycle([(x, y) for x in TYPES for y in TYPES] + [("INT8", "INT8")]),
        cycle(("ANY", "ANY", "ENDS")),
        cycle((*ACTIVATIONS, "LINEAR")),
        cycle((True,) * 6 + (False,)),
        cycle(EXPONENTS),
        cycle((0.5, 0.0, 0.51, 1.0, 0.4, 0.9, 0.5, 0.7, 0.1, 0.3, 0.5)),
        cycle((0.5, 0.0, 0.6, 0.5, 1.0, 0.2, 0.5, 0.8, 0.3, 0.45, 0.55, 0.1, 0.9)),
        strict=False,
    )
    for shape, (types, kind, activation, bias, exponent, *zeros) in zip(
        shapes(), turns, strict=False
    ):
        zero_points = [
            round(255 * zero) - (128 if of == "INT8" else 0)
            for zero, of in zip(zeros, types, strict=True)
        ]
        found.append(
            replace(
                shape,
                x_type=types[0],
                y_type=types[1],
                kind=kind,
                activation=activation,
                bias=bias,
                exponent=exponent,
                x_zero_point=zero_points[0],
                y_zero_point=zero_points[1],
            )
        )
    return found


# ---- inputs, as in golden_quantized.c ------------------------------------------------------------


def hashes_of(problem: Problem, array: str, count: int) -> Array:
    number = ("x", "kernel", "bias", "multipliers").index(array)
    return make_golden.hashes(problem.numbers(), number, count)


def make_bytes(problem: Problem, array: str, shape: tuple[int, ...]) -> Array:
    hashes = hashes_of(problem, array, int(np.prod(shape)))
    dtype = "int8" if array == "kernel" else problem.x_type.lower()
    least = U64(0x80 if dtype == "int8" else 0x100)
    ends = problem.kind == "ENDS"
    values = least - (hashes >> U64(63)) if ends else hashes >> U64(56)
    return (values & U64(255)).astype(np.uint8).view(dtype).reshape(shape)


def make_multipliers(problem: Problem, count: int) -> Array:
    hashes = hashes_of(problem, "multipliers", count)
    exponent = U64(problem.exponent) + (hashes >> U64(62))
    bits = exponent << U64(23) | hashes & U64(0x7FFFFF)
    return bits.astype(np.uint32).view(np.float32)


# ---- results -------------------------------------------------------------------------------------


def expected(problem: Problem) -> Array:
    p = problem
    outputs = p.channels * p.multiplier
    bias = (hashes_of(p, "bias", outputs) >> U64(51)).astype(np.int64) - 4096
    zero_point: Any = np.dtype(p.y_type.lower()).type(p.y_zero_point)
    return reference.quantized_depthwise_conv2d(
        make_bytes(p, "x", (p.batch, p.height, p.width, p.channels)),
        make_bytes(p, "kernel", (p.kernel_h, p.kernel_w, p.channels, p.multiplier)),
        bias if p.bias else None,
        x_scale=1,
        x_zero_point=p.x_zero_point,
        kernel_scale=make_multipliers(p, outputs),
        y_scale=1,
        y_zero_point=zero_point,
        strides=(p.stride_h, p.stride_w),
        padding=((p.top, p.bottom), (p.left, p.right)),
        dilation_rate=(p.dilation_h, p.dilation_w),
        activation=p.activation.lower(),
    )


def line(problem: Problem) -> str:
    """The problem's line in golden_quantized.txt."""
    value = make_golden.fnv1a(expected(problem).tobytes())
    words = [f"DW_{problem.x_type}", f"DW_{problem.y_type}", problem.kind, problem.activation]
    words += [*map(str, problem.own()), f"{{{', '.join(map(str, problem.sizes()))}}}"]
    return f"{{{', '.join(words)}, UINT64_C(0x{value:016x})}},\n"


def main() -> int:
    text = HEADER + "".join(line(problem) for problem in problems())
    if "--check" in sys.argv[1:]:
        return int(text != FILE.read_text(encoding="utf-8"))
    FILE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
