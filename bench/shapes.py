"""Shapes of named networks: bench/shapes/*.txt, one shape per line, '#' begins a comment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "shapes"

_COLUMNS = ("H", "W", "C", "k", "s", "d", "M")


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


def read(network: str) -> list[Shape]:
    """The shapes of bench/shapes/<network>.txt."""
    path = FOLDER / f"{network}.txt"
    shapes = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        fields = line.partition("#")[0].split()
        if not fields:
            continue
        try:
            height, width, channels, kernel, stride, dilation, multiplier = fields
            sizes = (int(height), int(width), int(channels))
            pairs = (_pair(kernel), _pair(stride), _pair(dilation))
            shapes.append(Shape(*sizes, *pairs, int(multiplier)))
        except ValueError:
            wanted = " ".join(_COLUMNS)
            raise ValueError(
                f"{path}:{number}: expected the columns {wanted}; received {line!r}"
            ) from None
    return shapes


def _pair(text: str) -> tuple[int, int]:
    """'3' is (3, 3), '3x5' is (3, 5): height and width."""
    height, _, width = text.partition("x")
    return int(height), int(width or height)


def _short(pair: tuple[int, int]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]}x{pair[1]}"
