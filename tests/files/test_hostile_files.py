"""Damaged and hostile files: refused with a FormatError, in time and memory, or whole.

Nothing here is a test of one check; those are in test_saving.py, test_hdf5.py and test_formats.py.
"""

from __future__ import annotations

import io
import json
import signal
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from support import ASAN, ASAN_SLOWER, graph_files, mutations
from support.layers import draw, isolate

import dwconv
from dwconv import DepthwiseConv2D, FormatError, Sequential

resource = pytest.importorskip("resource", reason="limits and SIGPROF are POSIX")

#: Per format, as the project promises.
COUNT = 10_000
SECONDS = 1.0 * ASAN_SLOWER
MEGABYTES = 100


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


class Slow(BaseException):
    """Not an Exception: nothing may catch it."""


@pytest.fixture
def limits() -> Iterator[Callable[[], None]]:
    """Starts the clock of one file afresh when it is called, of CPU time: this process may have to
    wait for others. Memory beyond what the process has and MEGABYTES is not to be had meanwhile.
    """

    def late(*_: Any) -> None:
        raise Slow(f"more than {SECONDS} s of CPU time for one file")

    memory = resource.getrlimit(resource.RLIMIT_AS)
    statm = Path("/proc/self/statm")
    if statm.exists():
        pages = int(statm.read_text(encoding="ascii").split()[0])
        most = pages * resource.getpagesize() + (MEGABYTES << 20)
        if not ASAN:
            resource.setrlimit(resource.RLIMIT_AS, (most, memory[1]))
    old = signal.signal(signal.SIGPROF, late)
    try:
        yield lambda: signal.setitimer(signal.ITIMER_PROF, SECONDS)  # type: ignore[func-returns-value]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, old)
        resource.setrlimit(resource.RLIMIT_AS, memory)


def layer(name: str = "dw") -> DepthwiseConv2D:
    made = DepthwiseConv2D((1, 2), name=name, depthwise_regularizer="l2", activation="relu")
    made.build((None, 4, 4, 2))
    return made


def model() -> Sequential:
    return Sequential([dwconv.Input((4, 4, 2), name="start"), layer("a"), layer("b")], name="two")


def saved(directory: Path, suffix: str, thing: Any) -> bytes:
    path = directory / f"original{suffix}"
    thing.save(path)
    return path.read_bytes()


def keras2(directory: Path) -> bytes:
    """A small whole model of Keras 2."""
    path = directory / "keras2.h5"
    config = {
        "name": "dw",
        "kernel_size": [1, 2],
        "groups": 1,
        "batch_input_shape": [None, 4, 4, 2],
    }
    document = {
        "class_name": "Sequential",
        "config": {"name": "s", "layers": [{"class_name": "DepthwiseConv2D", "config": config}]},
    }
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(document)
        file.attrs["keras_version"] = "2.15.0"
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [b"dw"]
        inner = group.create_group("dw")
        inner.attrs["weight_names"] = ["dw/depthwise_kernel:0", "dw/bias:0"]
        inner["dw/depthwise_kernel:0"] = draw(1, 2, 2, 1)
        inner["dw/bias:0"] = draw(2)
    return path.read_bytes()


def graph_file(directory: Path, kind: str) -> bytes:
    """A model with one layer, in a format whose reader is a library."""
    pytest.importorskip(kind)
    path = directory / f"original.{kind}"
    graph_files.small(path, kind)
    return path.read_bytes()


def within_zip(content: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Damage to an archive, and to its members with the archive in order."""
    parts = mutations.members(content)
    yield from mutations.damaged(content, count // 3, seed)
    for name, data in parts.items():
        is_json = name.endswith(".json")
        maker = mutations.damaged_json if is_json else mutations.damaged
        for damaged in maker(data, count // 3 if len(data) > 99 else count // 50, seed):
            yield mutations.archive({**parts, name: damaged})


def within_header(content: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Damage to a safetensors file, to its header, and to the document in that."""
    length = struct.unpack("<Q", content[:8])[0]
    header, data = content[8 : 8 + length], content[8 + length :]
    yield from mutations.damaged(content, count // 2, seed)
    for damaged in mutations.damaged_json(header, count // 4, seed):
        yield struct.pack("<Q", len(damaged)) + damaged + data
    whole = json.loads(header)
    inner = whole["__metadata__"]["layer"].encode()
    for damaged in mutations.damaged_json(inner, count // 4, seed):
        whole["__metadata__"]["layer"] = damaged.decode()
        text = json.dumps(whole).encode()
        yield struct.pack("<Q", len(text)) + text + data


def within_json(content: bytes, count: int, seed: int) -> Iterator[bytes]:
    yield from mutations.damaged(content, count // 2, seed)
    yield from mutations.damaged_json(content, count // 2, seed)


Maker = Callable[[bytes, int, int], Iterator[bytes]]
FORMATS: dict[str, tuple[str, Callable[[Path], bytes], Maker]] = {
    "safetensors": (".safetensors", lambda d: saved(d, ".safetensors", layer()), within_header),
    "safetensors, model": (
        ".safetensors",
        lambda d: saved(d, ".safetensors", model()),
        within_header,
    ),
    "npz": (".npz", lambda d: saved(d, ".npz", layer()), within_zip),
    "keras": (".keras", lambda d: saved(d, ".keras", model()), within_zip),
    "hdf5": (".h5", keras2, mutations.damaged),
    "weights": (".weights.h5", lambda d: saved(d, ".weights.h5", layer()), mutations.damaged),
    "json": (".json", lambda d: saved(d, ".json", model()), within_json),
    "onnx": (".onnx", lambda d: graph_file(d, "onnx"), mutations.damaged),
    "tflite": (".tflite", lambda d: graph_file(d, "tflite"), mutations.damaged),
}
#: Of these a tenth, for the sake of time: the format is another one's, or a library's.
FEWER = ("safetensors, model", "onnx", "tflite")


@contextmanager
def rewritten(path: Path) -> Iterator[Callable[[bytes], None]]:
    """Writes the file again and again. It stays open, which spares 7 ms each: some file systems
    flush a file to the disk that was cut to nothing and closed.
    """
    with path.open("wb", buffering=0) as file:

        def write(content: bytes) -> None:
            file.seek(0)
            file.write(content)
            file.truncate()

        yield write


def whole(layers: dict[str, DepthwiseConv2D]) -> None:
    """That each layer has all its weights, of the right shapes and dtypes, or none."""
    for found in layers.values():
        if found.built:
            kernel, *bias = found.get_weights()
            channels = kernel.shape[2]
            assert kernel.shape == (*found.kernel_size, channels, found.depth_multiplier)
            assert [b.shape for b in bias] == [
                (channels * found.depth_multiplier,)
            ] * found.use_bias
            assert {a.dtype for a in (kernel, *bias)} == {found.variable_dtype}
        else:
            assert found.weights == []


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files(name: str, tmp_path: Path, limits: Callable[[], None]) -> None:
    suffix, make, damage = FORMATS[name]
    content = make(tmp_path)
    path = tmp_path / f"damaged{suffix}"
    config = layer().get_config() if name == "weights" else None
    document = {"class_name": "DepthwiseConv2D", "config": config} if config else None
    target = layer("target")
    before = [w.tobytes() for w in target.weights]
    loads = refused = 0
    count = COUNT // 10 if name in FEWER else COUNT
    with rewritten(path) as write:
        for number, damaged in enumerate(damage(content, count, seed=0)):
            write(damaged)
            limits()
            try:
                whole(dwconv.load_layers(path, document))
                loads += 1
            except FormatError as error:
                refused += 1
                message = str(error)
                named = message.startswith(f"{path}: ") and len(message) < 1000
                if not named:
                    raise AssertionError(
                        f"{name}, seed 0, number {number}: {message[:999]}"
                    ) from None
            except BaseException as error:
                raise AssertionError(f"{name}, seed 0, number {number}: {error!r}") from error
            if number % 10 == 0:  # the other ways in
                with suppress(FormatError):
                    dwconv.load(path)
                try:
                    target.load_weights(path)
                    whole({"target": target})
                    before = [w.tobytes() for w in target.weights]
                except FormatError:
                    assert [w.tobytes() for w in target.weights] == before
    assert loads + refused >= count
    assert min(loads, refused) > count // 100, (loads, refused)  # both happen


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_truncated_at_every_byte(name: str, tmp_path: Path, limits: Callable[[], None]) -> None:
    suffix, make, _ = FORMATS[name]
    content = make(tmp_path)
    path = tmp_path / f"cut{suffix}"
    target = layer("target")
    before = [w.tobytes() for w in target.weights]
    with rewritten(path) as write:
        for length in range(len(content)):
            write(content[:length])
            limits()
            read = dwconv.load if name == "json" or length % 2 else target.load_weights
            with pytest.raises(FormatError) as caught:
                read(path)
            assert str(caught.value).startswith(f"{path}: ")
    assert [w.tobytes() for w in target.weights] == before


# ---- files that multiply what they hold ----------------------------------------------------------


def hdf5(write: Callable[[h5py.File], Any]) -> bytearray:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        write(file)
    return bytearray(buffer.getvalue())


def wide_tree() -> bytes:
    """A group whose B-tree names one empty node 65535 times, in five of its nodes."""
    content = hdf5(lambda file: file.create_group("layers"))
    tree = content.find(b"TREE")
    node = content.find(b"SNOD")
    struct.pack_into("<H", content, node + 6, 0)
    start = len(content)
    leaf = struct.pack("<4sBBHQQ", b"TREE", 0, 0, 65535, 0, 0) + struct.pack("<QQ", 0, node) * 65536
    content += leaf
    leaves = [start + i * len(leaf) for i in range(5)]
    content += leaf * 4
    top = struct.pack("<4sBBHQQ", b"TREE", 0, 1, len(leaves), 0, 0)
    top += b"".join(struct.pack("<QQ", 0, address) for address in leaves) + bytes(8)
    struct.pack_into("<Q", content, content.find(struct.pack("<Q", tree)), len(content))
    return bytes(content + top)


def many_texts() -> bytes:
    """Thousands of references to one text of a megabyte, as the names of weights."""
    content = hdf5(
        lambda file: file.attrs.update(layer_names=["a" * 2**20] + [""] * 3000, keras_version="2")
    )
    heap = content.rfind(b"GCOL")
    reference = struct.pack("<IQI", 2**20, heap, 1)
    at = content.find(reference[:12])
    assert at > 0
    reference = content[at : at + 16]
    content[at : at + 16 * 3001] = reference * 3001
    return bytes(content)


def long_names() -> bytes:
    """A group of 500 members; their names begin elsewhere in one text of a megabyte."""
    content = hdf5(lambda file: file.create_group("layers"))
    heap, node, tree = (content.find(mark) for mark in (b"HEAP", b"SNOD", b"TREE"))
    (target,) = struct.unpack_from("<Q", content, node + 16)
    struct.pack_into("<QQQ", content, heap + 8, 2**20 + 8, 2**64 - 1, len(content))
    content += b"a" * 2**20 + bytes(8)
    struct.pack_into("<Q", content, tree + 32, len(content))
    content += struct.pack("<4sBBH", b"SNOD", 1, 0, 500)
    content += b"".join(struct.pack("<QQ24x", i, target) for i in range(500))
    struct.pack_into("<Q", content, 40, len(content))
    return bytes(content)


def shared_texts() -> bytes:
    """Models within the model that share one group, and in it thousands of names of weights."""
    layer = {"class_name": "DepthwiseConv2D", "config": {"name": "dw", "kernel_size": [1, 2]}}
    models = [
        {"class_name": "Sequential", "config": {"name": f"m{i}", "layers": [layer]}}
        for i in range(900)
    ]
    document = {"class_name": "Sequential", "config": {"name": "s", "layers": models}}

    def write(file: h5py.File) -> None:
        file.attrs["model_config"] = json.dumps(document)
        file.attrs["keras_version"] = "2.15.0"
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [b"m0"]
        inner = group.create_group("m0")
        own = [b"dw/depthwise_kernel:0", b"dw/bias:0"]
        inner.attrs["weight_names"] = [*own, *(b"%d/z" % i for i in range(3000))]
        inner["dw/depthwise_kernel:0"] = draw(1, 2, 2, 1)
        inner["dw/bias:0"] = draw(2)
        for i in range(1, 900):
            group[f"m{i}"] = inner

    return bytes(hdf5(write))


def pieces() -> bytes:
    """Millions of names of one byte, in pieces as Keras writes them."""

    def write(file: h5py.File) -> None:
        for i in range(100):
            file.attrs[f"layer_names{i}"] = np.zeros(64_000, "S1")

    return bytes(hdf5(write))


def layers_of_a_model(count: int, name: str = "x", outer: str = "outer") -> bytes:
    config = {"kernel_size": 1}
    items = [
        {"class_name": "DepthwiseConv2D", "config": {**config, "name": f"{name}{i}"}}
        for i in range(count)
    ]
    inner = {"class_name": "Sequential", "config": {"name": outer, "layers": items}}
    return json.dumps({"class_name": "Sequential", "config": {"layers": [inner]}}).encode()


def npy(header: str) -> bytes:
    text = header.encode()
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text


MULTIPLIERS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "a wide tree": (".h5", wide_tree),
    "many texts": (".h5", many_texts),
    "long names": (".h5", long_names),
    "shared texts": (".h5", shared_texts),
    "pieces": (".h5", pieces),
    "many layers": (".json", lambda: layers_of_a_model(20_000)),
    "a long name": (".json", lambda: layers_of_a_model(1_500, outer="o" * 1_000_000)),
    "a long class": (
        ".json",
        lambda: json.dumps([{"class_name": "aB" * 2_000_000, "config": {}}]).encode(),
    ),
    "a number to guess": (
        ".npz",
        lambda: mutations.archive(
            {"kernel.npy": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1" * 99)}
        ),
    ),
    "zeros": (".keras", lambda: b"PK\3\4" + bytes(30 << 20)),
    "a lot of nothing": (".json", lambda: b"[" + b"[]," * 2_000_000 + b"0]"),
    "deep": (".json", lambda: b'{"class_name":"Sequential","config":[' * 100_000),
    "deep enough": (
        ".json",
        lambda: b'{"class_name":"Sequential","config":[' * 100 + b"]}" * 100,
    ),
}


#: What is shared in these is read once, so that they may be read.
READABLE = {"shared texts"}


@pytest.mark.parametrize("name", MULTIPLIERS)
def test_files_that_multiply_what_they_hold(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    suffix, make = MULTIPLIERS[name]
    path = tmp_path / f"hostile{suffix}"
    path.write_bytes(make())
    limits = request.getfixturevalue("limits")  # after the file was made
    for read in (dwconv.load_layers, dwconv.load, layer("target").load_weights):
        limits()
        with suppress(FormatError) if name in READABLE else pytest.raises(FormatError):
            read(path)
