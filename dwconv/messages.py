"""Values in error messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

#: Characters of a value in a message, and levels of nesting.
LONGEST = 80
_LEVELS = 8


def short(value: Any) -> str:
    """The `repr` of a value, at most LONGEST characters of it.

    A value out of a file can have millions of characters or items, or nest deep. Only what is shown
    is looked at, so the time and memory of a message do not depend on the value.
    """
    text = ""
    for piece in _pieces(value, 0):
        text += piece
        if len(text) > LONGEST:
            return f"{text[: LONGEST - 3]}..."
    return text


def _pieces(value: Any, level: int) -> Iterator[str]:
    """The repr in order, in pieces."""
    kind = type(value)
    if kind in (str, bytes):
        yield repr(value[: LONGEST + 1])
    elif level > _LEVELS and isinstance(value, (list, tuple, Mapping)):
        yield "..."
    elif kind in (list, tuple):
        yield "[" if kind is list else "("
        for number, item in enumerate(value):
            yield ", " if number else ""
            yield from _pieces(item, level + 1)
        yield "]" if kind is list else ",)" if len(value) == 1 else ")"
    elif isinstance(value, Mapping):
        yield "{"
        for number, (key, item) in enumerate(value.items()):
            yield ", " if number else ""
            yield from _pieces(key, level + 1)
            yield ": "
            yield from _pieces(item, level + 1)
        yield "}"
    elif kind is int and value.bit_length() > 4 * LONGEST:
        # The digits of a long one take quadratic time.
        yield f"an integer of {value.bit_length()} bits"
    else:
        yield repr(value)
