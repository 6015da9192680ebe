"""How many fields a message of protobuf has, counted before a library makes an object of each.

An empty message takes two bytes in a file and a hundred in memory.
(protobuf.dev/programming-guides/encoding has the format.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from . import FormatError
from .budget import Budget

#: Field number -> what the message in it holds; fields that are no messages are not in it.
Schema: TypeAlias = Mapping[int, Any]

_VARINT, _WIDE, _BYTES, _START, _END, _NARROW = range(6)
_FIELDS_PER_STEP = 2
_MAX_DEPTH = 60


def charge(data: memoryview, schema: Schema, budget: Budget) -> None:
    """Charges the fields of a message and of those in it. FormatError for what is none."""
    stack = [(data, schema, 0)]
    count = 0
    while stack:
        data, schema, depth = stack.pop()
        at, end = 0, len(data)
        while at < end:
            count += 1
            if count % _FIELDS_PER_STEP == 0:
                budget.step()
            tag, at = _varint(data, at)
            kind = tag & 7
            if kind == _VARINT:
                _, at = _varint(data, at)
            elif kind in (_WIDE, _NARROW):
                at += 8 if kind == _WIDE else 4
            elif kind == _BYTES:
                length, at = _varint(data, at)
                if length > end - at:
                    raise FormatError("truncated, or no message of protobuf")
                inner = schema.get(tag >> 3)
                if inner is not None:
                    if depth == _MAX_DEPTH:
                        raise FormatError(f"expected graphs nested {_MAX_DEPTH} deep at most")
                    stack.append((data[at : at + length], inner, depth + 1))
                at += length
            else:
                raise FormatError("damaged, or no message of protobuf")
        if at != end:
            raise FormatError("truncated, or no message of protobuf")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """A number and where the next field begins."""
    value = 0
    for place, byte in enumerate(data[at : at + 10]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise FormatError("truncated, or no message of protobuf")
