"""Damaged and hostile files: refused with a FormatError, in time and memory, or whole.

Nothing here is a test of one check; those are in test_saving.py, test_hdf5.py and test_formats.py.
"""

from __future__ import annotations

import json
import resource
import signal
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import mutations
import pytest
from layers import draw, isolate

import dwconv
from dwconv import DepthwiseConv2D, FormatError, Sequential

#: Per format, as the project promises.
COUNT = 10_000
SECONDS = 1.0
MEGABYTES = 100


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


class Slow(BaseException):
    """Not an Exception: nothing may catch it."""


@pytest.fixture
def limits() -> Iterator[Callable[[], None]]:
    """Starts the clock of one file afresh when it is called; checks the memory at the end.

    The clock is of CPU time: this process may have to wait for others.
    """

    def late(*_: Any) -> None:
        raise Slow(f"more than {SECONDS} s of CPU time for one file")

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    old = signal.signal(signal.SIGPROF, late)
    try:
        yield lambda: signal.setitimer(signal.ITIMER_PROF, SECONDS)  # type: ignore[func-returns-value]
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        assert grown < MEGABYTES, f"{grown:.0f} MB"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, old)


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
}


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
    count = COUNT if name != "safetensors, model" else COUNT // 10
    for number, damaged in enumerate(damage(content, count, seed=0)):
        path.write_bytes(damaged)
        limits()
        try:
            whole(dwconv.load_layers(path, document))
            loads += 1
        except FormatError as error:
            refused += 1
            message = str(error)
            named = message.startswith(f"{path}: ") and len(message) < 1000
            if not named:
                raise AssertionError(f"{name}, seed 0, number {number}: {message[:999]}") from None
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
    assert loads + refused >= min(COUNT, count) * 0.97
    assert min(loads, refused) > count // 100, (loads, refused)  # both happen


@pytest.mark.parametrize("name", FORMATS)
def test_truncated_at_every_byte(name: str, tmp_path: Path, limits: Callable[[], None]) -> None:
    suffix, make, _ = FORMATS[name]
    content = make(tmp_path)
    path = tmp_path / f"cut{suffix}"
    target = layer("target")
    before = [w.tobytes() for w in target.weights]
    for length in range(len(content)):
        path.write_bytes(content[:length])
        limits()
        read = dwconv.load if name == "json" or length % 2 else target.load_weights
        with pytest.raises(FormatError) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}: ")
    assert [w.tobytes() for w in target.weights] == before
