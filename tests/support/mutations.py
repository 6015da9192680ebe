"""Damaged copies of a file: what disks, networks and attackers do to it."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator

import numpy as np

#: Sizes, addresses and counts at the edges of their types.
_NUMBERS = (0, 1, 2, 7, 8, 255, 2**15, 2**16 - 1, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1)

#: What a value in JSON becomes.
_VALUES = (
    *("null", "true", "-1", "0", "1.5", "3", "1e999", "NaN", "9" * 30, '""', '"x"', "[]", "{}"),
    *("[[1]]", "[null,null,null,null]", '{"class_name":"L2","config":{}}', "1000000007"),
)

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|true|false|null')


def damaged(content: bytes, count: int, seed: int) -> Iterator[bytes]:
    """`count` copies, each damaged in one to three places."""
    rng = np.random.default_rng(seed)
    # HDF5 is mostly zeros, which nobody reads: most of the damage is where something is.
    full = np.flatnonzero(np.frombuffer(content, np.uint8))
    for _ in range(count):
        copy = bytearray(content)
        for _ in range(int(rng.integers(1, 4))):
            at = int(rng.choice(full)) if rng.random() < 0.8 else int(rng.integers(len(content)))
            _damage(copy, min(at, max(len(copy) - 1, 0)), rng)
        yield bytes(copy)


def _damage(copy: bytearray, at: int, rng: np.random.Generator) -> None:
    length = int(rng.integers(1, 33))
    kind = int(rng.integers(8))
    if not copy:
        return
    if kind <= 1:
        copy[at] ^= 1 << int(rng.integers(8))
    elif kind == 2:
        copy[at] = int(rng.integers(256))
    elif kind == 3:
        size = int(rng.choice((1, 2, 4, 8)))
        number = _NUMBERS[int(rng.integers(len(_NUMBERS)))] % 256**size
        at -= at % size
        copy[at : at + size] = number.to_bytes(size, "little")
    elif kind == 4:  # one address or size for another
        other = int(rng.integers(len(copy))) & ~7
        at &= ~7
        copy[at : at + 8] = copy[other : other + 8]
    elif kind == 5:
        del copy[at : at + length]
    elif kind == 6:
        copy[at:at] = copy[max(0, at - length) : at] or b"\0"
    else:
        del copy[at:]


def damaged_json(content: bytes, count: int, seed: int) -> Iterator[bytes]:
    """`count` copies of a JSON text that are JSON still, most of them: other values, keys, and
    parts that are missing or there twice.
    """
    rng = np.random.default_rng(seed)
    tokens = list(_TOKEN.finditer(content))
    for _ in range(count):
        copy = content
        places = sorted(rng.choice(len(tokens), int(rng.integers(1, 4))), reverse=True)
        for place in places:
            token = tokens[place]
            start, end = token.span()
            if rng.random() < 0.7:
                new = _VALUES[int(rng.integers(len(_VALUES)))].encode()
            else:
                new = tokens[int(rng.integers(len(tokens)))].group()
            if copy[end : end + 1] == b":" and not new.startswith(b'"'):
                new = json.dumps(new.decode()).encode()  # a key
            copy = copy[:start] + new + copy[end:]
        yield copy


def archive(members: dict[str, bytes]) -> bytes:
    """A zip archive that is in order."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


def members(content: bytes) -> dict[str, bytes]:
    """The members of an archive."""
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        return {name: file.read(name) for name in file.namelist()}
