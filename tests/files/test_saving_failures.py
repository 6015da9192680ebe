"""Saving where the host refuses: no memory, no space, errors at every step, and paths that are no
plain files.
"""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import tempfile
import textwrap
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import ASAN, run_python, slow
from support.layers import isolate

import dwconv
from dwconv import DepthwiseConv2D, FormatError
from dwconv.formats import keras_zip

SUFFIXES = (".safetensors", ".npz", ".keras", ".weights.h5", ".json")

posix = pytest.mark.skipif(os.name != "posix", reason="FIFOs, modes and links")


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    made.mkdir()
    return made


def layer(value: float = 1.0, channels: int = 2) -> DepthwiseConv2D:
    made = DepthwiseConv2D((1, 2), name="dw", depthwise_initializer=dwconv.initializers.Ones())
    made.build((None, 4, 4, channels))
    made.set_weights([np.full_like(w, value) for w in made.get_weights()])
    return made


# ---- an error at every step ----------------------------------------------------------------------


class Faults:
    """Counts what is asked of the file system, and lets one step fail."""

    def __init__(self, at: int, error: BaseException) -> None:
        self.at = at
        self.error = error
        self.steps: list[str] = []

    def step(self, name: str) -> None:
        self.steps.append(name)
        if len(self.steps) == self.at:
            raise self.error


class FaultyFile:
    """A file whose every operation is a step."""

    def __init__(self, file: Any, faults: Faults) -> None:
        self._file = file
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._file, name)
        if name not in ("write", "flush", "seek", "truncate", "readinto", "read", "tell"):
            return found

        def step(*arguments: Any) -> Any:
            self._faults.step(name)
            return found(*arguments)

        return step

    def close(self) -> None:
        closed = self._file.closed
        self._file.close()  # a close that fails closes all the same
        if not closed:
            self._faults.step("close")

    def __enter__(self) -> FaultyFile:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


@pytest.fixture
def inject(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, BaseException], Faults]:
    """`inject(n, error)`: the n-th step from now on fails."""
    current = [Faults(0, OSError())]
    opened, replaced, chmod = Path.open, Path.replace, Path.chmod
    fsync, temporary = os.fsync, tempfile.TemporaryFile

    def faulty(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            current[0].step(name)
            return function(*arguments, **options)

        return step

    def open_faulty(self: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if not self.name.startswith(".dwconv-"):
            return opened(self, mode, *arguments, **options)
        current[0].step("open")
        return FaultyFile(opened(self, mode, *arguments, **options), current[0])

    def temporary_faulty(*arguments: Any, **options: Any) -> Any:
        current[0].step("open")
        return FaultyFile(temporary(*arguments, **options), current[0])

    monkeypatch.setattr(Path, "open", open_faulty)
    monkeypatch.setattr(Path, "replace", faulty("rename", replaced))
    monkeypatch.setattr(Path, "chmod", faulty("chmod", chmod))
    monkeypatch.setattr(os, "fsync", faulty("fsync", fsync))
    monkeypatch.setattr(keras_zip.tempfile, "TemporaryFile", temporary_faulty)

    def start(at: int, error: BaseException) -> Faults:
        current[0] = Faults(at, error)
        return current[0]

    return start


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), MemoryError()], ids=["io", "memory"]
)
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_an_error_at_every_step(
    suffix: str,
    error: BaseException,
    folder: Path,
    inject: Callable[[int, BaseException], Faults],
) -> None:
    path = folder / f"dw{suffix}"
    old, new = layer(1.0), layer(2.0)
    new.activation = "relu"
    inject(0, error)
    old.save(path)
    before = path.read_bytes()
    failed: set[str] = set()
    for at in range(1, 1000):
        faults = inject(at, error)
        raised: BaseException | None = None
        try:
            new.save(path)
        except BaseException as caught:
            raised = caught
        where = f"step {at}, {faults.steps[-1:]}"
        assert [each.name for each in folder.iterdir()] == [path.name], where
        if len(faults.steps) < at:  # nothing failed
            assert raised is None
            break
        failed.add(faults.steps[at - 1])
        if raised is None:  # zipfile and the flush of a folder have another way
            assert read(path) == (2.0, None if suffix == ".weights.h5" else "relu"), where
            path.write_bytes(before)
            continue
        assert type(raised) is type(error), f"{where}: {raised!r}"
        assert path.read_bytes() == before, where
    assert failed >= {"open", "write", "flush", "fsync", "rename", "close"}
    assert read(path) == (2.0, None if suffix == ".weights.h5" else "relu")


def read(path: Path) -> tuple[float, str | None]:
    """The value of the weights in a file, 2 where it has none, and the activation."""
    if path.name.endswith(".weights.h5"):
        target = layer(0.0)
        target.load_weights(path)
        values, activation = target.get_weights(), None
    else:
        loaded = dwconv.load(path)
        values, activation = loaded.get_weights(), loaded.get_config()["activation"]
    (value,) = {float(v) for w in values for v in w.flat} or {2.0}
    return value, activation


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="root mounts a tmpfs")
@pytest.mark.parametrize("suffix", SUFFIXES[:-1])
def test_a_disk_that_is_full(suffix: str, folder: Path) -> None:
    """On a real file system of 64 KB, with h5py and zipfile as they are."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip("no tmpfs may be mounted here")
    try:
        path = folder / f"dw{suffix}"
        layer().save(path)
        before = path.read_bytes()
        with pytest.raises(OSError, match="No space left on device"):
            layer(2.0, channels=20_000).save(path)
        assert [each.name for each in folder.iterdir()] == [path.name]
        assert path.read_bytes() == before
    finally:
        subprocess.run(["umount", str(folder)], check=True)


# ---- memory --------------------------------------------------------------------------------------

LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
import h5py
import dwconv, dwconv.saving
from dwconv.formats import store
layer = dwconv.DepthwiseConv2D(3, use_bias=False, depthwise_initializer="ones", name="dw")
layer.build((None, 8, 8, 1_000_000))
path = Path(sys.argv[1])
path.write_bytes(b"old")
pages = int(Path("/proc/self/statm").read_text().split()[0])
used = pages * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (int(sys.argv[2]) << 10),) * 2)
try:
    layer.save(path)
except MemoryError:
    assert path.read_bytes() == b"old"
    print("MemoryError")
else:
    print("saved", path.stat().st_size > 36_000_000)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux") or ASAN, reason="limits by Linux")
@pytest.mark.parametrize("suffix", SUFFIXES[:-1])
@pytest.mark.parametrize("kilobytes", [1000, *slow(0, 300, 3000, 20_000)])
def test_saving_with_little_memory(suffix: str, kilobytes: int, folder: Path) -> None:
    """36 MB of weights: written without a copy, or a MemoryError with the old file as it was."""
    path = folder / f"dw{suffix}"
    done = run_python("-c", textwrap.dedent(LITTLE_MEMORY), str(path), str(kilobytes))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in ("MemoryError", "saved True")
    if kilobytes == 20_000:
        assert done.stdout.strip() == "saved True"
    assert [each.name for each in folder.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".keras"])
def test_weights_are_not_copied(suffix: str, folder: Path) -> None:
    """Neither writing nor reading a native file takes more memory than the weights themselves."""
    path = folder / f"dw{suffix}"
    big = layer(channels=4_000_000)
    size = sum(w.nbytes for w in big.weights)
    tracemalloc.start()
    try:
        big.save(path)
        # What is tried for libhdf5, and buffers; the weights are 48 MB.
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
        if suffix == ".safetensors":
            tracemalloc.reset_peak()
            loaded = dwconv.load(path)
            assert tracemalloc.get_traced_memory()[1] < size + (2 << 20)
            assert loaded.weights[0].shape == (1, 2, 4_000_000, 1)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_keras_files_hold_the_weights_once(suffix: str, folder: Path) -> None:
    path = folder / f"dw{suffix}"
    big = layer(channels=10_000)
    big.save(path)
    assert path.stat().st_size < sum(w.nbytes for w in big.weights) + 20_000


# ---- paths that are no plain files ---------------------------------------------------------------


def special(folder: Path, kind: str, suffix: str) -> Path:
    """A path with this suffix to what is no plain file."""
    path = folder / f"special{suffix}"
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "socket":
        import socket

        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    else:
        path.symlink_to(kind)
    return path


KINDS = {
    "FIFO": "a FIFO",
    "socket": "a socket",
    "/dev/zero": "a device",
    "/dev/null": "a device",
    "/dev/random": "a device",
}


@posix
@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".keras", ".h5", ".json"])
@pytest.mark.parametrize("kind", KINDS)
def test_only_plain_files_are_read(kind: str, suffix: str, folder: Path) -> None:
    path = special(folder, kind, suffix)
    for read in (dwconv.load, dwconv.load_layers, layer().load_weights):
        with pytest.raises(FormatError, match=f"expected a regular file; received {KINDS[kind]}"):
            read(path)


@posix
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", KINDS)
def test_only_plain_files_are_replaced(kind: str, suffix: str, folder: Path) -> None:
    path = special(folder, kind, suffix)
    before = path.stat().st_mode, path.stat().st_rdev
    message = f"expected a regular file or none; received {KINDS[kind]}"
    with pytest.raises(OSError, match=message) as caught:
        layer().save(path)
    assert caught.value.filename == str(path)
    assert (path.stat().st_mode, path.stat().st_rdev) == before
    assert [each.name for each in folder.iterdir()] == [path.name]


def test_a_folder_is_no_file(folder: Path) -> None:
    path = folder / "dw.npz"
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        layer().save(path)
    with pytest.raises(OSError, match=r"dw\.npz|directory"):
        dwconv.load(path)
    assert list(path.iterdir()) == []


@posix
def test_a_file_that_becomes_a_fifo_meanwhile(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the path and opening it: it is not waited for."""
    path = special(folder, "FIFO", ".json")
    plain_file = folder / "plain"
    plain_file.write_bytes(b"{}")
    regular = plain_file.stat()
    monkeypatch.setattr(Path, "stat", lambda self, **_: regular)
    with pytest.raises(FormatError, match="expected a regular file; received a FIFO"):
        dwconv.load_layers(path)


@posix
def test_links_modes_and_owners_are_kept(folder: Path) -> None:
    inner = folder / "inner"
    inner.mkdir()
    target = inner / "target.npz"
    layer().save(target)
    target.chmod(0o604)
    if os.geteuid() == 0:
        os.chown(target, 1234, 2345)
    link = folder / "link.npz"
    link.symlink_to("inner/target.npz")
    layer(2.0).save(link)
    assert link.is_symlink()
    assert dwconv.load(target).get_weights()[0].flat[0] == 2.0
    assert stat.S_IMODE(target.stat().st_mode) == 0o604
    if os.geteuid() == 0:
        assert (target.stat().st_uid, target.stat().st_gid) == (1234, 2345)
    dangling = folder / "dangling.npz"  # a new file is made where it points to
    dangling.symlink_to("inner/new.npz")
    layer().save(dangling)
    assert dangling.is_symlink()
    assert (inner / "new.npz").exists()
    circle = folder / "circle.npz"
    circle.symlink_to(circle.name)
    with pytest.raises(OSError, match="symbolic links"):
        layer().save(circle)


@posix
@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
@pytest.mark.parametrize("limit", [1000, *slow(100, 3000, 100_000)])
def test_a_process_ends_well_after_a_disk_was_full(suffix: str, limit: int, folder: Path) -> None:
    """libhdf5, told of an error, would crash it at its end."""
    code = f"""
        import os, resource, sys, numpy as np, dwconv
        os.chdir(sys.argv[1])
        layer = dwconv.DepthwiseConv2D(3)
        layer.build((None, 8, 8, 20000))
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
        try:
            layer.{"save_weights" if suffix == ".weights.h5" else "save"}("layer{suffix}")
        except OSError:
            print("refused")
    """
    done = run_python("-c", textwrap.dedent(code), str(folder))
    assert (done.returncode, done.stdout) == (0, "refused\n"), done
    assert list(folder.iterdir()) == []
