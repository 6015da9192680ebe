"""Shapes of named networks: bench/shapes/*.txt, one shape per line, '#' begins a comment.

A line in brackets begins a class of shapes. `[name: avx512 >= 2.1, avx2 >= 1.9]` sets the targets
of the class: what best peer / ours should at least be on a machine whose widest instruction set is
that one. The workers import this module, so it needs neither NumPy nor dwconv.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "shapes"

_COLUMNS = ("H", "W", "C", "k", "s", "d", "M")
_HEADING = re.compile(r"\[(?P<name>[^:>\]]+)(?:: (?P<targets>.+))?\]")
_TARGET = re.compile(r"(?P<isa>avx512|avx2) >= (?P<at_least>[0-9]+(?:\.[0-9]+)?)")


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

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Shape:
        """The shape whose dataclasses.asdict went through JSON, which makes lists of tuples."""
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})

    @property
    def same_padding(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """((top, bottom), (left, right)) of 'same' as in TensorFlow: the odd pixel comes last."""
        sides = []
        for axis, size in enumerate((self.height, self.width)):
            span = (self.kernel_size[axis] - 1) * self.dilation_rate[axis] + 1
            total = max((self.output[axis] - 1) * self.strides[axis] + span - size, 0)
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
    """A class of shapes and its targets, {instruction set: what best peer / ours should be}."""

    name: str
    targets: dict[str, float]
    shapes: tuple[Shape, ...]


def networks() -> list[str]:
    """Names of the files in bench/shapes."""
    return sorted(path.stem for path in FOLDER.glob("*.txt"))


def read(network: str) -> list[Group]:
    """The classes of bench/shapes/<network>.txt; without headings one, named as the network."""
    path = FOLDER / f"{network}.txt"
    groups: list[tuple[str, dict[str, float], list[Shape]]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        if text.startswith("["):
            try:
                groups.append((*_heading(text), []))
            except ValueError:
                raise ValueError(
                    f"{path}:{number}: expected [name] or [name: avx512 >= 2.1, avx2 >= 1.9]; "
                    f"received {line!r}"
                ) from None
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
            groups.append((network, {}, []))
        groups[-1][2].append(shape)
    return [Group(name, targets, tuple(shapes)) for name, targets, shapes in groups]


def select(groups: list[Group], pattern: str) -> list[Group]:
    """What matches a pattern such as '3x3*' (of a class) or '*x256 k3 s?' (of a shape)."""
    chosen = []
    for group in groups:
        shapes = group.shapes
        if not fnmatchcase(group.name, pattern):
            shapes = tuple(shape for shape in shapes if fnmatchcase(str(shape), pattern))
        if shapes:
            chosen.append(Group(group.name, group.targets, shapes))
    return chosen


def _heading(text: str) -> tuple[str, dict[str, float]]:
    """Name and targets of a class. ValueError if that is no heading."""
    heading = _HEADING.fullmatch(text)
    if not heading:
        raise ValueError(text)
    targets = {}
    if heading["targets"]:
        for part in heading["targets"].split(", "):
            target = _TARGET.fullmatch(part)
            if not target:
                raise ValueError(part)
            targets[target["isa"]] = float(target["at_least"])
    return heading["name"], targets


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
