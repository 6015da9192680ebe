"""Text for a terminal that may hold what a stranger wrote."""

from __future__ import annotations

import sys


def printable(text: object) -> str:
    r"""`str(text)` with every character escaped that is not to be seen: '\x1b', '\n', '\u202e'.

    Names of layers and classes come out of files. Control characters in them would move the cursor,
    set the title or forge a line of a report; marks of direction would reorder one; a lone
    surrogate cannot be encoded at all. Spaces other than ' ' are escaped, too. What is printable
    (`str.isprintable`) stays as it is, in any alphabet.
    """
    string = str(text)
    if string.isprintable():
        return string
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii")
        for each in string
    )


def can_print(text: str) -> bool:
    """Whether standard output has an encoding that can hold `text`."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
