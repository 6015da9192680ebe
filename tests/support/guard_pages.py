"""Convolutions on arrays that end, or begin, exactly at a page that may not be touched.

Run by test_guard_pages.py in a process of its own, as `python guard_pages.py ISA DTYPE`: an access
outside kills the process. Each case is printed before it runs, so the last line is the one that
failed.
`python guard_pages.py read` and `write` go wrong on purpose.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

import dwconv
from dwconv import activations
from dwconv.ops import gradients
from support import Case, assert_same_bits, lanes, tile_cases

Array = NDArray[Any]

PAGE = mmap.PAGESIZE
NO_ACCESS = 0  # PROT_NONE: no constant of that name in Python's mmap
POISON = 0xA5

SHAPES = [
    Case((5, 6), kernel_size=(1, 1)),
    # Kernels of their own: inner tiles, edges whose padding they know, and the rest.
    Case((6, 9)),
    Case((6, 9), padding="same"),
    Case((4, 5), padding="same", batch=2),
    Case((1, 2), padding="same"),
    Case((7, 7), padding=((0, 2), (3, 0)), bias=False),
    Case((9, 11), strides=(2, 2)),
    Case((8, 10), padding="same", strides=(2, 2), activation="relu6"),
    Case((7, 9), padding="same", strides=(2, 2)),
    Case((9, 10), padding="same", dilation_rate=(2, 2)),
    Case((8, 9), dilation_rate=(2, 3)),
    # Wide kernels, for channels that fill a vector.
    Case((9, 17), kernel_size=(9, 11), padding="same", activation="relu"),
    Case((1, 20), kernel_size=(1, 9), padding="same"),
    Case((13, 9), kernel_size=(9, 1), padding="same", strides=(2, 2)),
    # The general kernel.
    Case((5, 9), kernel_size=(2, 4), padding="same"),
    Case((7, 6), kernel_size=(5, 2), strides=(3, 1), padding=((2, 1), (0, 2))),
    Case((4, 6), kernel_size=(2, 2), strides=(1, 2), dilation_rate=(3, 2), activation="relu"),
    Case((2, 3), kernel_size=(7, 7), padding="same"),
    Case((2, 2), kernel_size=(2, 2), padding=((4, 4), (5, 3))),  # whole windows of padding
    Case((4, 7), multiplier=2, padding="same"),
    Case((4, 6), kernel_size=(2, 3), multiplier=3, strides=(2, 1)),
    Case((3, 4), kernel_size=(2, 2), multiplier=5, bias=False),
]


class Room:
    """Memory between two guard pages, for one array at a time, at either end of it."""

    def __init__(self, pages: int) -> None:
        self._memory = mmap.mmap(-1, (pages + 2) * PAGE)
        self._first = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self._size = pages * PAGE
        self._inside = np.frombuffer(self._memory, np.uint8)[PAGE : PAGE + self._size]
        self._protect(0, PAGE, NO_ACCESS)
        self._protect(PAGE + self._size, PAGE, NO_ACCESS)

    def _protect(self, at: int, size: int, access: int) -> None:
        library = ctypes.CDLL(None, use_errno=True)
        address = ctypes.c_void_p(self._first + at)
        if library.mprotect(address, ctypes.c_size_t(size), access) != 0:
            raise OSError(ctypes.get_errno(), "mprotect")

    def place(self, array: Array, at_end: bool, writable: bool) -> Array:
        """A copy of `array` that begins right after a guard page, or ends right before one."""
        self._protect(PAGE, self._size, mmap.PROT_READ | mmap.PROT_WRITE)
        self._inside[:] = POISON
        assert array.nbytes <= self._size
        first = self._size - array.nbytes if at_end else 0
        self._taken = slice(first, first + array.nbytes)
        placed = self._inside[self._taken].view(array.dtype).reshape(array.shape)
        placed[...] = array
        if not writable:  # a write to an input kills as well
            self._protect(PAGE, self._size, mmap.PROT_READ)
            placed.flags.writeable = False
        return placed

    def margins_are_untouched(self) -> bool:
        outside = np.delete(self._inside, self._taken)
        return bool((outside == POISON).all())


def cases(isa: str, dtype: str) -> Iterator[Case]:
    """Each shape with every tail: 1 to two vectors and one channels; tiles begin at one vector."""
    vector = lanes(isa, dtype)
    for shape in SHAPES:
        for channels in range(1, 2 * vector + 2):
            yield replace(shape, channels=channels, dtype=dtype, seed=channels)
    for shape in tile_cases():
        for channels in (vector, vector + 1, 2 * vector - 1, 2 * vector + 1):
            yield replace(shape, channels=channels, dtype=dtype, seed=channels)


def planar_cases(isa: str, dtype: str) -> Iterator[Case]:
    """channels_first: rows of up to two vectors and one column, for sized kernels and others."""
    sizes = [(k, k, stride) for k in (3, 5, 7) for stride in (1, 2)]
    for kh, kw, stride in [*sizes, (2, 4, 1), (3, 2, 3)]:
        for out_w in range(1, 2 * lanes(isa, dtype) + 2):
            yield Case(
                (kh * stride, out_w * stride),
                channels=2,
                kernel_size=(kh, kw),
                strides=(stride, stride),
                padding="same",
                data_format="channels_first",
                dtype=dtype,
                seed=out_w,
            )


def check(isa: str, dtype: str) -> None:
    rooms = [Room(pages) for pages in (64, 16, 1, 32)]
    for case in (*cases(isa, dtype), *planar_cases(isa, dtype)):
        x, kernel, bias = case.arrays()
        expected = dwconv.depthwise_conv2d(x, kernel, bias, isa=isa, **case.options())
        for at_end in (False, True):
            print(isa, "at the end" if at_end else "at the start", case, flush=True)
            out = rooms[3].place(np.zeros_like(expected), at_end, writable=True)
            dwconv.depthwise_conv2d(
                rooms[0].place(x, at_end, writable=False),
                rooms[1].place(kernel, at_end, writable=False),
                None if bias is None else rooms[2].place(bias, at_end, writable=False),
                isa=isa,
                out=out,
                **case.options(),
            )
            assert_same_bits(out, expected, (case, isa))
            assert rooms[3].margins_are_untouched(), (case, isa)


GRADIENT_SHAPES = [
    # Windows and tiles: whole ones, edges, a remainder; the convolution that turns the kernel.
    Case((5, 17), padding="same", batch=2),
    Case((6, 22), padding="same", strides=(2, 2)),
    Case((5, 19), kernel_size=(5, 5), padding=((2, 1), (3, 0)), strides=(1, 2)),
    Case((4, 9), kernel_size=(7, 7), padding="same"),
    # The general kernels.
    Case((5, 9), kernel_size=(2, 6), strides=(2, 3), padding=((4, 0), (7, 2))),
    Case((6, 8), multiplier=3, dilation_rate=(2, 3), padding="same"),
    Case((5, 8), multiplier=2, strides=(1, 2)),
]


def check_gradients(isa: str, dtype: str) -> None:
    rooms = [Room(pages) for pages in (16, 32, 16, 32, 16, 1)]
    bias_room = Room(1)
    vector = lanes(isa, dtype)
    forms = product(GRADIENT_SHAPES, ("channels_last", "channels_first"), ("linear", "silu"))
    for shape, layout, activation in forms:
        for channels in (1, vector - 1, vector, 2 * vector + 1):
            case = replace(shape, channels=channels, dtype=dtype, seed=channels, data_format=layout)
            x, kernel, _ = case.arrays()
            bias = np.linspace(-1, 1, channels * shape.multiplier, dtype=dtype)
            through = {"fused": activations.Fused(activation)}
            plan = gradients.make_plan(
                case.spec, x.shape, x.dtype, kernel, isa, bias=bias, **through
            )
            dy = np.random.default_rng(1).standard_normal(plan.y_shape).astype(dtype)
            expected = gradients.run(plan, dy, x)
            for at_end in (False, True):
                print(isa, "gradients at the end" if at_end else "at the start", case, flush=True)
                placed_kernel = rooms[2].place(kernel, at_end, writable=False)
                packed = gradients.make_plan(
                    case.spec,
                    x.shape,
                    x.dtype,
                    placed_kernel,
                    isa,
                    bias=bias_room.place(bias, at_end, writable=False),
                    **through,
                )
                placed = [
                    room.place(np.zeros_like(array), at_end, writable=True)
                    for room, array in zip(rooms[3:], expected, strict=True)
                ]
                packed(
                    rooms[0].place(dy, at_end, writable=False),
                    rooms[1].place(x, at_end, writable=False),
                    *placed,
                )
                for room, found, wanted in zip(rooms[3:], placed, expected, strict=True):
                    assert_same_bits(found, wanted, (case, isa))
                    assert room.margins_are_untouched(), (case, isa)


def go_wrong(how: str) -> None:
    """A convolution that reads, or writes, one element too far: out lies a row before the end."""
    room = Room(1)
    values = np.zeros((1, 3, 3, 4), np.float32)
    placed = room.place(values, at_end=True, writable=how == "write")
    beyond = np.lib.stride_tricks.as_strided(placed[:, 1:], placed.shape, placed.strides)
    kernel = np.ones((1, 1, 4, 1), np.float32)
    if how == "read":
        dwconv.depthwise_conv2d(beyond, kernel)
    else:
        dwconv.depthwise_conv2d(values, kernel, out=beyond)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        go_wrong(sys.argv[1])
    else:
        check(sys.argv[1], sys.argv[2])
        if sys.argv[2] != "float16":
            check_gradients(sys.argv[1], sys.argv[2])
