"""Writes golden.txt: the problems that golden.c runs, with the hashes of their exact results.

    python tests/c/make_golden.py             write it, some minutes
    python tests/c/make_golden.py --check     compare it with what would be written
    python tests/c/make_golden.py --check 50  all problems, the hash of every fiftieth

The results are those of tests/support/exact.py, which emulates the documented order of
accumulation in rational arithmetic; nothing of the C core runs. Its list of kernels decides only
which sizes there are problems of: the file is made where those of x86-64 are compiled. The inputs
are defined twice, here and in golden.c.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import support  # noqa: E402
from support import exact  # noqa: E402  # of tests/

Array = NDArray[Any]

FILE = HERE / "golden.txt"

DTYPES = ("F32", "F64", "I32")
KINDS = ("NUMBERS", "TINY", "INFINITE")
ACTIVATIONS = ("LINEAR", "RELU", "RELU6")

#: Tails in each vector of 4, 8 or 16 float32 and 2, 4 or 8 float64: (C, M).
PLAIN_CHANNELS = {"F32": (19, 1), "F64": (11, 1), "I32": (19, 1)}
MULTIPLIER_CHANNELS = {"F32": (7, 3), "F64": (5, 3), "I32": (7, 3)}

HEADER = """\
/* Problems and the hashes of their exact results, made by make_golden.py, read by golden.c:
 * dtype, kind, activation, bias?, {N, H, W, C, M, kh, kw, strides, dilation,
 * top, bottom, left, right}, hash. */
"""


@dataclass(frozen=True)
class Sizes:
    """The fields of `sizes` in golden.h, in its order."""

    batch: int = 1
    height: int = 5
    width: int = 6
    channels: int = 3
    multiplier: int = 1
    kernel_h: int = 3
    kernel_w: int = 3
    stride_h: int = 1
    stride_w: int = 1
    dilation_h: int = 1
    dilation_w: int = 1
    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0

    def sizes(self) -> list[int]:
        """The sizes as C has them."""
        return [getattr(self, field.name) for field in fields(Sizes)]


@dataclass(frozen=True)
class Problem(Sizes):
    """The fields of `problem` in golden.c; the sizes are last there."""

    dtype: str = "F32"
    kind: str = "NUMBERS"
    activation: str = "LINEAR"
    bias: bool = True

    def numbers(self) -> list[int]:
        """The fields as C has them."""
        kinds = (DTYPES, KINDS, ACTIVATIONS)
        names = (self.dtype, self.kind, self.activation)
        enums = [known.index(name) for known, name in zip(kinds, names, strict=True)]
        return [*enums, int(self.bias), *self.sizes()]


def fnv1a(data: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


# ---- which problems ------------------------------------------------------------------------------


def same(problem: Problem) -> Problem:
    """With the padding of SAME."""

    def sides(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
        out = -(-size // stride)
        total = max((out - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
        return total // 2, total - total // 2

    p = problem
    top, bottom = sides(p.height, p.kernel_h, p.stride_h, p.dilation_h)
    left, right = sides(p.width, p.kernel_w, p.stride_w, p.dilation_w)
    return replace(p, top=top, bottom=bottom, left=left, right=right)


def of_tiles(dtype: str) -> Iterator[Problem]:
    """For every tile of every instruction set: one with both edges, a few with one each, one with
    none.
    """
    for variant, sizes in (("plain", PLAIN_CHANNELS), ("multiplier", MULTIPLIER_CHANNELS)):
        channels, multiplier = sizes[dtype]
        for kh, kw, stride, tile_h, tile_w in support.tiles(variant=variant):
            shape = Problem(
                dtype=dtype,
                channels=channels,
                multiplier=multiplier,
                kernel_h=kh,
                kernel_w=kw,
                stride_h=stride,
                stride_w=stride,
            )
            rows = tile_h or 3
            for out_h, out_w in ((rows, tile_w), (rows, 2 * tile_w + 1)):
                # At stride 2 an even size, for which the tiles' edges are made.
                yield same(replace(shape, height=out_h * stride, width=out_w * stride))
            height, width = rows * stride + kh, (tile_w - 1) * stride + kw
            yield replace(shape, height=height, width=width)


def of_folded_pixels(dtype: str) -> Iterator[Problem]:
    """Channels that fill no vector, or not the last one, in rows long enough to fold pixels."""
    folded = {(kh, kw, th or 3) for kh, kw, _, th, _ in support.tiles(variant="folded")}
    shape = Problem(dtype=dtype)
    for kh, kw, tile_h in sorted(folded):
        sized = replace(shape, kernel_h=kh, kernel_w=kw, height=tile_h + 1)
        yield same(replace(sized, channels=3, width=41 if dtype == "F32" else 25))
        yield same(replace(sized, channels=6, width=31 if dtype == "F32" else 17))
        yield same(replace(sized, channels=3, multiplier=2, width=67))
        yield same(replace(sized, channels=1, multiplier=3, width=41))
        yield same(replace(sized, channels=3, multiplier=2, width=19 if dtype == "F32" else 11))
        # With three whole columns between those at the edges.
        yield same(replace(sized, channels=3, width=83 if dtype == "F32" else 43, height=3))
    for channels in (1, 5, 12, 20):
        yield same(replace(shape, channels=channels, width=37, height=8))
    yield same(replace(shape, channels=24, width=15, height=5, batch=2))
    yield same(replace(shape, channels=3, width=43, height=9, dilation_h=2, dilation_w=3))


def of_blocks_astride(dtype: str) -> Iterator[Problem]:
    """Rows at stride 2 so wide that blocks may begin in the column before, of all remainders."""
    channels = 32 if dtype == "F32" else 16  # whole vectors, more than one
    shape = Problem(dtype=dtype, channels=channels, stride_h=2, stride_w=2)
    sizes = ((4, 22), (2, 28), (2, 29), (2, 31), (2, 32), (1, 26), (1, 33), (1, 36), (3, 9))
    for out_h, out_w in sizes:
        yield same(replace(shape, height=2 * out_h, width=2 * out_w))
    yield replace(shape, height=5, width=61, left=1, right=2, top=1)
    for width in (9, 11, 16):
        yield replace(shape, height=5, width=width)


def of_pairs_of_blocks(dtype: str) -> Iterator[Problem]:
    """Pixels a power of two apart: whole pairs, and one more block of a few channels."""
    for channels in (512, 1024) if dtype == "F32" else (256, 512):
        for width in (4, 6, 7, 8, 9, 10):
            yield same(Problem(dtype=dtype, channels=channels, height=2, width=width))
            yield same(
                Problem(
                    dtype=dtype,
                    channels=channels,
                    height=4,
                    width=2 * width,
                    stride_h=2,
                    stride_w=2,
                )
            )


def of_all_sizes(dtype: str) -> Iterator[Problem]:
    """The general kernel, dilation, padding, multipliers, batches, chunks of channels."""
    shape = Problem(dtype=dtype)
    for channels in (1, 2, 4, 7, 8, 15, 16, 17, 33):
        yield same(replace(shape, channels=channels, kernel_h=2, kernel_w=4))
    for channels in (3, 9, 18):
        sized = replace(shape, channels=channels)
        yield same(replace(sized, height=9, width=11, dilation_h=2, dilation_w=3))
        yield same(replace(sized, height=8, width=7, stride_h=2, stride_w=1, batch=2))
        yield replace(sized, height=7, kernel_h=5, kernel_w=2, stride_h=3, top=2, bottom=1, right=2)
        yield replace(sized, kernel_h=1, kernel_w=1)
        # Whole windows of padding, and a kernel larger than the input.
        yield replace(sized, height=2, width=2, top=4, bottom=4, left=5, right=3)
        yield same(replace(sized, height=2, width=3, kernel_h=7, kernel_w=7))
        # Padding of no tile's making.
        yield replace(sized, height=7, width=9, top=0, bottom=2, left=3, right=0)
        yield same(replace(sized, height=7, width=9, stride_h=2, stride_w=2))
    for channels, multiplier in ((1, 2), (1, 17), (2, 5), (3, 16), (9, 2), (16, 4), (5, 33)):
        sized = replace(shape, channels=channels, multiplier=multiplier)
        yield same(replace(sized, height=4, width=7))
        yield same(replace(sized, kernel_h=2, kernel_w=3, stride_h=2, height=4))
    yield same(replace(shape, channels=300, height=4, width=6))
    yield same(replace(shape, channels=150, multiplier=2, height=4, width=5))


def of_sums(dtype: str) -> Iterator[Problem]:
    """Kernels with M sums per input: whole vectors of input channels and a tail; edges that they
    make and edges that they do not.
    """
    channels = 19 if dtype == "F32" else 11
    for multiplier in (2, 3, 4, 8):
        for kh, kw, stride, tile_h, tile_w in support.tiles(variant=f"multiplier{multiplier}"):
            shape = Problem(dtype=dtype, channels=channels, multiplier=multiplier)
            sized = replace(shape, kernel_h=kh, kernel_w=kw, stride_h=stride, stride_w=stride)
            rows = tile_h or 3
            yield same(replace(sized, height=rows * stride, width=tile_w * stride))
            yield same(replace(sized, height=rows * stride, width=(2 * tile_w + 1) * stride))
            height, width = rows * stride + kh, (tile_w - 1) * stride + kw
            yield replace(sized, height=height, width=width)
            yield same(replace(sized, height=5, width=4 * tile_w * stride + 1))  # no tile's edges


def of_sizes_without_tile(dtype: str) -> Iterator[Problem]:
    """Wide kernels: large ones, one row, one column; every number of columns in the padding."""
    channels = 19 if dtype == "F32" else 11
    shape = Problem(dtype=dtype, channels=channels)
    for kh, kw in ((9, 9), (13, 4), (1, 3), (1, 25), (3, 1), (11, 1)):
        for height, width in ((1, 15), (7, 7), (4, 12)):
            yield same(replace(shape, kernel_h=kh, kernel_w=kw, height=height, width=width))
    for height, width in ((2, 3), (7, 7)):
        yield same(replace(shape, kernel_h=31, kernel_w=31, height=height, width=width))
    for stride, dilation in ((2, 1), (3, 1), (1, 3), (2, 3), (3, 2)):
        sized = replace(shape, stride_h=stride, stride_w=stride)
        sized = replace(sized, dilation_h=dilation, dilation_w=dilation)
        for kh, kw in ((4, 4), (1, 6), (6, 1)):
            yield same(replace(sized, kernel_h=kh, kernel_w=kw, height=9, width=25))
    yield replace(shape, kernel_h=9, kernel_w=11, height=9, width=21, left=7, right=2, top=9)
    yield replace(
        shape, kernel_h=2, kernel_w=2, height=2, width=3, left=9, right=7, top=4, bottom=3
    )


def of_wide_rows(dtype: str) -> Iterator[Problem]:
    """Rows of several vectors of columns, as channels first divides them: edges, inner, overlap."""
    for size in (3, 5, 7):
        for stride in (1, 2):
            shape = Problem(dtype=dtype, channels=1, kernel_h=size, kernel_w=size)
            sized = replace(shape, stride_h=stride, stride_w=stride)
            width = (36 if dtype == "F32" else 21) * stride
            yield same(replace(sized, height=size * stride, width=width))


def of_one_turn(shape: Problem) -> Problem:
    """With a kind, an activation and a bias that the numbers of the shape choose, not its place in
    the list: a new shape leaves the lines of the others as they are.
    """
    turn = fnv1a(repr(shape.numbers()).encode())
    kinds = ("NUMBERS", *(KINDS[:2] if shape.dtype == "I32" else KINDS))
    activations = (*ACTIVATIONS, "LINEAR", "LINEAR")
    turn, kind = divmod(turn, len(kinds))
    turn, activation = divmod(turn, len(activations))
    return replace(shape, kind=kinds[kind], activation=activations[activation], bias=turn % 4 != 0)


def problems() -> list[Problem]:
    """All of them."""
    found: dict[Problem, None] = {}
    for dtype in DTYPES:
        shapes = [*of_all_sizes(dtype)]
        if dtype != "I32":  # which has no tiles
            shapes += [*of_tiles(dtype), *of_folded_pixels(dtype)]
            shapes += [*of_blocks_astride(dtype), *of_pairs_of_blocks(dtype), *of_wide_rows(dtype)]
            shapes += [*of_sums(dtype), *of_sizes_without_tile(dtype)]
        found.update(dict.fromkeys(map(of_one_turn, shapes)))
    return list(found)


# ---- inputs, as in golden.c ----------------------------------------------------------------------

U64 = np.uint64


def mix(z: Array) -> Array:
    """The last steps of SplitMix64, modulo 2**64."""
    z = (z ^ z >> U64(30)) * U64(0xBF58476D1CE4E5B9)
    z = (z ^ z >> U64(27)) * U64(0x94D049BB133111EB)
    return np.asarray(z ^ z >> U64(31))


def mixed(seed: int) -> int:
    return int(mix(np.array([seed % 2**64], U64))[0])


def hashes(numbers: list[int], array: int, count: int) -> Array:
    """Of the elements of an array, by its number, of the problem that these numbers make."""
    seed = 0
    for number in (*numbers, array):
        seed = mixed(seed + number + 1)
    index = np.arange(count, dtype=U64)
    return mix(U64(seed) + (index + U64(1)) * U64(0x9E3779B97F4A7C15))


def float_bits(problem: Problem, array: str, hashes: Array, channels: Array) -> Array:
    """Bits of floats as golden.c makes them; `channels`: the input channel of each element."""
    mantissa_bits, exponent_bits = (23, 8) if problem.dtype == "F32" else (52, 11)
    one, infinite = 2 ** (exponent_bits - 1) - 1, (2**exponent_bits - 1) << mantissa_bits
    sign_bit = U64(1 << (mantissa_bits + exponent_bits))
    sign = np.where(hashes >> U64(63), sign_bit, U64(0))
    choice, exponent = hashes >> U64(55) & U64(255), hashes >> U64(52) & U64(7)
    mantissa = hashes & U64(2**mantissa_bits - 1)
    number = exponent + U64(one - 4) << U64(mantissa_bits) | mantissa
    bits = sign | number
    if problem.kind == "TINY":
        if array == "kernel":
            return np.where(choice % 8 == 0, sign, bits)
        small = sign | exponent + U64(1) << U64(mantissa_bits) | mantissa
        cases = [sign, sign | U64(1), sign | U64(1 << mantissa_bits), small]
        return np.select([choice % 8 == i for i in range(4)], cases, sign | mantissa)
    if problem.kind == "INFINITE":
        own_sign = np.where(channels % 2, sign_bit, U64(0))
        if array == "kernel":
            return number
        if array == "bias":
            bits = np.where(choice % 4 == 1, sign, bits)
        else:
            bits = np.where(choice % 16 == 1, own_sign | U64(infinite - 1), bits)
            bits = np.where(choice % 16 == 2, sign, bits)
        bits = np.where(choice % 16 == 0, own_sign | U64(infinite), bits)
    return bits


def int_bits(problem: Problem, hashes: Array) -> Array:
    if problem.kind == "NUMBERS":
        return hashes >> U64(32)
    choice, small = hashes >> U64(55) & U64(255), (hashes & U64(31)) - U64(16)
    ends = [U64(0x80000000), U64(0x7FFFFFFF)]
    return np.select([choice % 8 == i for i in range(2)], ends, small & U64(0xFFFFFFFF))


def make_array(problem: Problem, array: str, shape: tuple[int, ...], per_channel: int) -> Array:
    number = ("x", "kernel", "bias").index(array)
    count = int(np.prod(shape))
    found = hashes(problem.numbers(), number, count)
    if problem.dtype == "I32":
        bits = int_bits(problem, found)
    else:
        channels = np.arange(count, dtype=U64) // U64(per_channel) % U64(problem.channels)
        bits = float_bits(problem, array, found, channels)
    dtype = {"F32": np.float32, "F64": np.float64, "I32": np.int32}[problem.dtype]
    unsigned = np.dtype(f"u{np.dtype(dtype).itemsize}")
    return bits.astype(unsigned).view(dtype).reshape(shape)


# ---- results -------------------------------------------------------------------------------------


def expected(problem: Problem) -> Array:
    p = problem
    x = make_array(p, "x", (p.batch, p.height, p.width, p.channels), 1)
    kernel_shape = (p.kernel_h, p.kernel_w, p.channels, p.multiplier)
    kernel = make_array(p, "kernel", kernel_shape, p.multiplier)
    bias = make_array(p, "bias", (p.channels * p.multiplier,), p.multiplier)
    y = exact.depthwise_conv2d(
        x,
        kernel,
        bias if p.bias else None,
        strides=(p.stride_h, p.stride_w),
        padding=((p.top, p.bottom), (p.left, p.right)),
        dilation_rate=(p.dilation_h, p.dilation_w),
        activation=p.activation.lower(),
    )
    assert not np.isnan(y).any(), problem
    return y


def line_but_hash(problem: Problem) -> str:
    """The problem's line in golden.txt, but for its hash."""
    words = [f"DW_{problem.dtype}", problem.kind, f"DW_{problem.activation}"]
    words += [str(int(problem.bias)), f"{{{', '.join(map(str, problem.sizes()))}}}"]
    return f"{{{', '.join(words)}, "


def line(problem: Problem) -> str:
    """The problem's line in golden.txt."""
    y = expected(problem)
    value = fnv1a(y.astype(y.dtype.newbyteorder("<")).tobytes())
    return f"{line_but_hash(problem)}UINT64_C(0x{value:016x})}},\n"


def faults(every: int) -> list[str]:
    """What is not as it would be written: of all problems, and of every so many hashes."""
    there = FILE.read_text(encoding="utf-8").removeprefix(HEADER).splitlines(keepends=True)
    made = problems()
    if len(there) != len(made):
        return [f"expected {len(made)} problems, received {len(there)}"]
    wrong = []
    for i, (received, problem) in enumerate(zip(there, made, strict=True)):
        wanted = line(problem) if i % every == 0 else line_but_hash(problem)
        if not received.startswith(wanted):
            wrong.append(f"expected {wanted.strip()}, received {received.strip()}")
    return wrong


def main() -> None:
    """Writes the file, or compares it: status 1 where it is another."""
    parser = argparse.ArgumentParser(description="Writes golden.txt, or checks it.")
    parser.add_argument("--check", type=int, nargs="?", const=1, metavar="EVERY")
    every = parser.parse_args().check
    if every is not None:
        if found := faults(every):
            sys.exit("\n".join(found[:10]))
    else:
        FILE.write_text(HEADER + "".join(map(line, problems())), encoding="utf-8")


if __name__ == "__main__":
    main()
