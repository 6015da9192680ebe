"""Tables as text."""

from __future__ import annotations

from collections.abc import Sequence

from ..terminal import can_print, printable

#: Top of the header, its cells, its bottom; between rows, cells of a row, bottom of the table.
_BOX = ("┏━┳┓", "┃", "┡━╇┩", "├─┼┤", "│", "└─┴┘")
_ASCII = ("+-++", "|", "+=++", "+-++", "|", "+-++")

#: Characters of a column. What is longer stays whole and goes beyond it, in its own row alone: a
#: path of models within models may have 30,000, and the table a thousand rows.
_WIDEST = 200


def render(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table with a box around it, as wide as its cells need, up to _WIDEST.

    What cells hold is made printable; the box is ASCII where standard output has no other.
    """
    top, edge, middle, between, bar, bottom = _BOX if can_print("".join(_BOX)) else _ASCII
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [min(max(map(len, column)), _WIDEST) for column in zip(header, *rows, strict=True)]
    lines = [_rule(top, widths), _cells(edge, header, widths), _rule(middle, widths)]
    for i, row in enumerate(rows):
        if i:
            lines.append(_rule(between, widths))
        lines.append(_cells(bar, row, widths))
    return [*lines, _rule(bottom, widths)]


def bytes_text(count: int) -> str:
    """'336.00 B', '1.50 KB': in units of 1024."""
    size = float(count)
    for unit in ("B", "KB", "MB"):
        if size < 1024:
            return f"{size:.2f} {unit}"
        size /= 1024
    return f"{size:.2f} GB"


def _rule(marks: str, widths: Sequence[int]) -> str:
    left, line, cross, right = tuple(marks)
    return left + cross.join(line * (width + 2) for width in widths) + right


def _cells(bar: str, cells: Sequence[str], widths: Sequence[int]) -> str:
    # The last column holds numbers: to the right.
    padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
    padded[-1] = cells[-1].rjust(widths[-1])
    return f"{bar} " + f" {bar} ".join(padded) + f" {bar}"
