"""Errors of the file system while a file is read: they are an OSError, not a damaged file, and a
layer that was to take weights is as before.
"""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest

import dwconv
from dwconv import DepthwiseConv2D
from dwconv.formats import PathLike, plain


class Failing(io.BufferedReader):
    """A file whose operation `at` fails, the first being 1; `count` says how many there were."""

    at = count = 0

    def tick(self) -> None:
        Failing.count += 1
        if Failing.count == Failing.at:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def read(self, *arguments: Any) -> bytes:
        self.tick()
        return super().read(*arguments)

    def readinto(self, buffer: Any) -> int:
        self.tick()
        return super().readinto(buffer)

    def seek(self, *arguments: Any) -> int:
        self.tick()
        return super().seek(*arguments)


def failing(path: PathLike) -> BinaryIO:
    return Failing(io.FileIO(path))


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".keras", ".json", ".weights.h5"])
def test_an_error_at_every_step(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if suffix in (".keras", ".weights.h5"):
        pytest.importorskip("h5py")
    layer = DepthwiseConv2D(3, name="dw")
    layer.build((None, 8, 8, 2))
    path = tmp_path / f"file{suffix}"
    (layer.save_weights if suffix == ".weights.h5" else layer.save)(path)
    reads = [lambda: dwconv.load_layers(path), lambda: layer.load_weights(path)]
    reads = reads[suffix == ".weights.h5" : 1 + (suffix != ".json")]
    monkeypatch.setattr(plain, "reading", failing)
    before = [weight.copy() for weight in layer.weights]
    for read in reads:
        Failing.at = Failing.count = 0
        read()
        steps = Failing.count
        assert steps > 1
        for step in range(1, steps + 1):
            Failing.at, Failing.count = step, 0
            with pytest.raises(OSError, match=os.strerror(errno.EIO)) as caught:
                read()
            assert caught.value.errno == errno.EIO, step
            for old, new in zip(before, layer.weights, strict=True):
                np.testing.assert_array_equal(old, new)


def test_no_address_space_for_a_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = DepthwiseConv2D(3)
    layer.build((None, 8, 8, 2))
    layer.save(tmp_path / "file.safetensors")

    def memmap(*_: Any) -> Any:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(np, "memmap", memmap)
    with pytest.raises(MemoryError, match="mmap: expected room for the file"):
        dwconv.load(tmp_path / "file.safetensors", mmap=True)
