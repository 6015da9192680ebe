"""Tables as text."""

from __future__ import annotations

from collections.abc import Sequence


def render(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table with a box around it, as wide as its cells need."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [
        _rule("┏┳┓", "━", widths),
        _cells("┃", header, widths),
        _rule("┡╇┩", "━", widths),
    ]
    for i, row in enumerate(rows):
        if i:
            lines.append(_rule("├┼┤", "─", widths))
        lines.append(_cells("│", row, widths))
    return [*lines, _rule("└┴┘", "─", widths)]


def bytes_text(count: int) -> str:
    """'336.00 B', '1.50 KB': in units of 1024."""
    size = float(count)
    for unit in ("B", "KB", "MB"):
        if size < 1024:
            return f"{size:.2f} {unit}"
        size /= 1024
    return f"{size:.2f} GB"


def _rule(ends: str, line: str, widths: Sequence[int]) -> str:
    return ends[0] + ends[1].join(line * (width + 2) for width in widths) + ends[2]


def _cells(bar: str, cells: Sequence[str], widths: Sequence[int]) -> str:
    # The last column holds numbers: to the right.
    padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
    padded[-1] = cells[-1].rjust(widths[-1])
    return f"{bar} " + f" {bar} ".join(padded) + f" {bar}"
