"""What reading one file may cost: in proportion to its size, whatever it says.

A few bytes can ask for much work: a group that is linked twice at each of 40 levels has 2**40
paths, one list of names can be shared by a thousand layers. So every reader charges what it does to
the one budget of the open file, before it does it.
"""

from __future__ import annotations

from .errors import FormatError

#: Steps: a structure that is read, a link that is followed, a text, a member of an archive, 16
#: items of JSON. One takes some 5 us, 20 us at most, so that all of them take a second or two.
#: Files of Keras have 10 steps in 1000 bytes.
MAX_STEPS = 200_000
FREE_STEPS = 10_000
BYTES_PER_STEP = 8
#: Of a layer that is made from its config, which takes half a millisecond.
LAYER_STEPS = 16

#: Bytes that are read or copied, as a multiple of the file's size: a sane file has each structure
#: once, a hostile one may share a large one among many.
MAX_REREAD = 3

#: Characters of the paths of layers: those of models within models repeat the names around them.
FREE_NAMES = 1 << 17
NAMES_PER_BYTE = 4


class Budget:
    """What is left for a file of `size` bytes. FormatError from the method that exceeds it."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._most_steps = min(MAX_STEPS, FREE_STEPS + size // BYTES_PER_STEP)
        self._most_bytes = MAX_REREAD * size + 4096
        self._most_names = FREE_NAMES + NAMES_PER_BYTE * size
        self._steps = self._bytes = self._names = 0

    def inflated(self, count: int) -> None:
        """Counts bytes that the file holds compressed: they may be read as often as others."""
        self._most_bytes += MAX_REREAD * count

    def step(self, count: int = 1) -> None:
        """Counts steps."""
        self._steps += count
        if self._steps > self._most_steps:
            raise FormatError(
                f"expected at most {self._most_steps} steps to read a file of {self.size} bytes; "
                "received more, or a loop"
            )

    def read(self, count: int, what: str) -> None:
        """Counts bytes that are read, or made out of what was read."""
        self._bytes += count
        if self._bytes > self._most_bytes:
            raise FormatError(f"{what}: expected each part of the file once; received it often")

    def name(self, length: int) -> None:
        """Counts the characters of a path."""
        self._names += length
        if self._names > self._most_names:
            raise FormatError(
                f"expected paths of at most {self._most_names} characters in all in a file of "
                f"{self.size} bytes; received more"
            )
