"""Paths <-> documents and arrays: the format by the suffix, and writing that never leaves half a
file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace as replace_fields
from pathlib import Path
from typing import BinaryIO, TypeVar

from ..waiting import waiting
from . import (
    Arrays,
    Contents,
    Document,
    FormatError,
    PathLike,
    Reader,
    Writer,
    entries,
    keras_folder,
    keras_json,
    keras_zip,
    kinds,
    npz,
    plain,
    safetensors,
    short,
    sniff,
)
from .budget import Budget

F = TypeVar("F")


class _WeightsOnly:
    """`.weights.h5`."""

    dump = staticmethod(keras_zip.dump_weights)


#: Suffix (in any case) -> who writes it; the first that fits. A new format: a line here and below.
WRITERS: dict[str, Writer] = {
    ".safetensors": safetensors,
    ".npz": npz,
    ".keras": keras_zip,
    ".weights.h5": _WeightsOnly,
    ".json": keras_json,
}

#: Suffix -> who reads it; `sniff` reads all others.
READERS: dict[str, Reader] = {".safetensors": safetensors, ".npz": npz}

#: Bytes of a file that is flushed without another thread.
_SYNCED_AT_ONCE = 8 << 20

#: Characters of a message, the file's name aside.
_LONGEST = 500


def write(path: PathLike, document: Document, arrays: Arrays) -> None:
    """Writes a file at `path`, in the place of one that is there, all of it or nothing.

    ValueError for an unknown suffix or what the format cannot hold; ImportError if it needs an
    extra; MemoryError; OSError from the file system, and for a path that is a device or the like.
    In each case the old file is still there.
    """
    writer = _by_suffix(path, WRITERS)
    with replacing(path) as file:
        writer.dump(document, arrays, file)


def write_weights(path: PathLike, document: Document, arrays: Arrays) -> None:
    """The same, but ValueError for a format that holds no weights."""
    if _by_suffix(path, WRITERS) is keras_json:
        raise ValueError(f"path: expected a format with weights; received {os.fspath(path)!r}")
    write(path, document, arrays)


@contextmanager
def reading(path: PathLike, mmap: bool = False) -> Iterator[Contents]:
    """What the file at `path` holds, as long as it is open; its weights are read when asked for.

    The first bytes tell the format, except for .safetensors and .npz. A folder is one that Keras 3
    has not zipped. ValueError for `mmap` with another suffix than .safetensors; FormatError, which
    names the file, for what is in it, also from within.
    """
    reader = _by_suffix(path, READERS, sniff)
    if mmap and reader is not safetensors:
        raise ValueError(f"mmap: expected a .safetensors file; received {os.fspath(path)!r}")
    if reader is sniff and Path(path).is_dir():
        with naming(path), keras_folder.reading(Path(path)) as found:
            yield found
        return
    with naming(path), plain.reading(path) as file:
        budget = Budget(os.fstat(file.fileno()).st_size)
        found = safetensors.load(file, budget, mmap=True) if mmap else reader.load(file, budget)
        yield replace_fields(found, budget=budget)


def architecture_beside(path: PathLike) -> Path | None:
    """The JSON file beside a file of weights that says what the layers are, if there is one."""
    found = (Path(path).with_name(name) for name in architecture_names(path))
    return next(filter(Path.exists, found), None)


def architecture_names(path: PathLike) -> list[str]:
    """What it may be called: a.json for a.weights.h5, a.h5 and a_weights.h5; config.json for the
    model.weights.h5 that Keras 3 writes beside it.
    """
    stem = Path(path).stem
    ends = (".weights", "_weights", "-weights", "")
    names = [f"{stem.removesuffix(end)}.json" for end in ends if stem.endswith(end)]
    return [*names, keras_zip.CONFIG] if Path(path).name == keras_zip.WEIGHTS else names


def depthwise_weights(path: PathLike, name: str) -> Arrays:
    """{'kernel': ..., 'bias': ...} of the only depthwise layer in a file, or of the one `name`.

    FormatError if there is none, or several and none of that name, or if it has no weights; else
    as `reading`.
    """
    with reading(path) as contents:
        if contents.document is None:
            found = contents.weights.find_depthwise()
            chosen = found[_only(list(found), name)]
        else:
            chosen = _by_document(contents, contents.document, name)
        if isinstance(chosen, FormatError):
            raise chosen
        return chosen


def _by_document(contents: Contents, document: Document, name: str) -> Arrays | FormatError:
    """The same for a file that says what its layers are."""
    layers = list(entries.walk(entries.mended(document), contents.budget))
    contents.weights.bind(layers, contents.generation)
    known, hidden = {}, {}
    unread: list[FormatError] = []  # layers that cannot be read hide no other
    for entry in layers:
        try:
            if entry.error is not None:
                raise FormatError(f"layer {short(entry.path)}: {entry.error}")
            kind = kinds.kind_of(entry, in_any_wrapper=True)
        except FormatError as error:
            unread.append(error)
            continue
        if kind is not None:
            known[entry.path] = (entry, kind)
        elif not entries.is_keras(entry.item):  # its layers are in the code of its class
            for inner, arrays in contents.weights.find_depthwise(entry).items():
                hidden[f"{entry.path}/{inner}"] = arrays
    # A Conv2D or the half of a SeparableConv2D counts where there is nothing else.
    plain = [path for path, (_, kind) in known.items() if kind.is_plain]
    if unread and not known and not hidden:
        raise unread[0]
    key = _only([*plain, *hidden] or list(known), name)
    if key in hidden:
        return hidden[key]
    entry, kind = known[key]
    found = kind.weights(contents.weights, entry)
    if found is None:
        raise FormatError(f"{contents.kind}: expected weights of {short(key)}; it has none")
    return found


def _only(paths: list[str], name: str) -> str:
    """The only path, or the only one that ends in `name`."""
    named = [path for path in paths if path.rpartition("/")[2] == name]
    for candidates in (paths, named):
        if len(candidates) == 1:
            return candidates[0]
    if not paths:
        raise FormatError("expected a depthwise layer; there is none")
    raise FormatError(
        f"expected one depthwise layer, or one named {name!r}; received {short(paths)}"
    )


@contextmanager
def naming(path: PathLike) -> Iterator[None]:
    """Puts the file's name in front of a FormatError from within, and cuts what is too long: a
    message may hold what a damaged file does.
    """
    try:
        yield
    except FormatError as error:
        reason = str(error)
        reason = reason if len(reason) <= _LONGEST else f"{reason[:_LONGEST]}..."
        raise FormatError(f"{os.fspath(path)}: {reason}") from error


@contextmanager
def replacing(path: PathLike) -> Iterator[BinaryIO]:
    """A new file, which becomes the one at `path` in one step if nothing fails within: readers and
    crashes see the old file or the new one.

    It is a temporary file in the same directory, which is flushed to the disk and renamed. A
    symbolic link stays one: the file that it points to is replaced. A new file has the mode that
    the umask leaves. A replaced one keeps its mode, and its owner and group if that is allowed.
    OSError for what is there and no regular file.
    """
    target, old = plain.replaced(path)
    # A short name of its own: one made from the target's could be too long for the file system.
    temporary = target.parent / f".dwconv-{os.urandom(8).hex()}.tmp"
    # Not tempfile: its files are private to the user and stay so, where a saved file should be like
    # any other.
    try:
        file = temporary.open("x+b")
    except OSError as error:  # which names a file that the user has not heard of
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error
    try:
        try:
            yield file
            file.flush()
            if old is not None:
                _keep(temporary, old)
            _sync(file)
        finally:
            file.close()
        temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    _sync_directory(target.parent)


def _sync(file: BinaryIO) -> None:
    """Flushes a file to the disk. Of a large one Ctrl-C ends the wait, not the flushing."""
    if os.name != "posix" or file.tell() <= _SYNCED_AT_ONCE:
        os.fsync(file.fileno())
        return
    handle = os.dup(file.fileno())  # its own: after Ctrl-C the file is closed and removed

    def sync() -> None:
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    waiting(sync)


def _keep(path: Path, old: os.stat_result) -> None:
    """Gives a file the owner, group and mode of the one that it replaces."""
    if hasattr(os, "chown"):
        new = path.stat()
        if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
            with suppress(OSError):  # not the user's: a new file is the user's own, then
                os.chown(path, old.st_uid, old.st_gid)
    path.chmod(old.st_mode & 0o777)


def _sync_directory(directory: Path) -> None:
    """Makes a rename last through a power cut. Where the system cannot, the file is whole all the
    same.
    """
    with suppress(OSError, MemoryError):
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _by_suffix(path: PathLike, formats: dict[str, F], default: F | None = None) -> F:
    name = Path(path).name.lower()
    for suffix, module in formats.items():
        if name.endswith(suffix):
            return module
    if default is not None:
        return default
    known = ", ".join(formats)
    raise ValueError(f"path: expected a name that ends in {known}; received {os.fspath(path)!r}")
