"""Shapes of named networks: bench/shapes/*.txt, one shape per line, '#' begins a comment.

A line in brackets, `[name >= 2.0]`, begins a class of shapes and says what best peer / ours should
be at least. Used by the workers, too: NumPy is not needed, dwconv neither.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

FOLDER = Path(__file__).parent / "shapes"

_COLUMNS = ("H", "W", "C", "k", "s", "d", "M")
_HEADING = re.compile(r"\[(?P<name>.+?)(?: >= (?P<at_least>[0-9.]+))?\]")


@dataclass(frozen=True)
class Shape:
    """One depthwise layer: input (1, height, width, channels), padding 'same'."""

    height: int
    width: int
    channels: int
    kernel_size: tuple[int, int]
    strides: tuple[int, int]
    dilation_rate: tuple[int, int]
    multiplier: int

    def __str__(self) -> str:
        text = f"{self.height}x{self.width}x{self.channels} k{_short(self.kernel_size)}"
        text += f" s{_short(self.strides)}"
        if self.dilation_rate != (1, 1):
            text += f" d{_short(self.dilation_rate)}"
        return text if self.multiplier == 1 else f"{text} M{self.multiplier}"

    @property
    def same_padding(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """((top, bottom), (left, right)) of 'same' as in TensorFlow: the odd pixel comes last."""
        sides = []
        for axis, size in enumerate((self.height, self.width)):
            reach = (self.kernel_size[axis] - 1) * self.dilation_rate[axis] + 1
            total = max((self.output[axis] - 1) * self.strides[axis] + reach - size, 0)
            sides.append((total // 2, total - total // 2))
        return sides[0], sides[1]

    @property
    def output(self) -> tuple[int, int, int]:
        """Height, width, channels of the output."""
        (sh, sw) = self.strides
        return -(-self.height // sh), -(-self.width // sw), self.channels * self.multiplier

    @property
    def fmas(self) -> int:
        """Fused multiply-adds of one call: the taps that do not lie in the padding."""
        rows = _valid_taps(self, 0)
        cols = _valid_taps(self, 1)
        return rows * cols * self.channels * self.multiplier


@dataclass(frozen=True)
class Group:
    """A class of shapes, and what best peer / ours should be at least (None: no target)."""

    name: str
    at_least: float | None
    shapes: tuple[Shape, ...]


def networks() -> list[str]:
    """Names of the files in bench/shapes."""
    return sorted(path.stem for path in FOLDER.glob("*.txt"))


def read(network: str) -> list[Group]:
    """The classes of bench/shapes/<network>.txt; without headings one, named as the network."""
    path = FOLDER / f"{network}.txt"
    groups: list[tuple[str, float | None, list[Shape]]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        if heading := _HEADING.fullmatch(text):
            at_least = heading["at_least"]
            groups.append((heading["name"], float(at_least) if at_least else None, []))
            continue
        try:
            height, width, channels, kernel, stride, dilation, multiplier = text.split()
            sizes = (int(height), int(width), int(channels))
            pairs = (_pair(kernel), _pair(stride), _pair(dilation))
            shape = Shape(*sizes, *pairs, int(multiplier))
        except ValueError:
            wanted = " ".join(_COLUMNS)
            raise ValueError(
                f"{path}:{number}: expected the columns {wanted}; received {line!r}"
            ) from None
        if not groups:
            groups.append((network, None, []))
        groups[-1][2].append(shape)
    return [Group(name, at_least, tuple(shapes)) for name, at_least, shapes in groups]


def select(groups: list[Group], pattern: str) -> list[Group]:
    """What matches a pattern such as '3x3*' (of a class) or '*x256 k3 s?' (of a shape)."""
    chosen = []
    for group in groups:
        shapes = group.shapes
        if not fnmatchcase(group.name, pattern):
            shapes = tuple(shape for shape in shapes if fnmatchcase(str(shape), pattern))
        if shapes:
            chosen.append(Group(group.name, group.at_least, shapes))
    return chosen


def _pair(text: str) -> tuple[int, int]:
    """'3' is (3, 3), '3x5' is (3, 5): height and width."""
    height, _, width = text.partition("x")
    return int(height), int(width or height)


def _short(pair: tuple[int, int]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]}x{pair[1]}"


def _valid_taps(shape: Shape, axis: int) -> int:
    """Taps of one dimension that do not lie in the padding, over all outputs."""
    size = (shape.height, shape.width)[axis]
    before = shape.same_padding[axis][0]
    kernel, stride, dilation = (
        pair[axis] for pair in (shape.kernel_size, shape.strides, shape.dilation_rate)
    )
    return sum(
        0 <= o * stride - before + k * dilation < size
        for o in range(shape.output[axis])
        for k in range(kernel)
    )
