"""Files: round trips to the bit, what is no file of ours, crashes and concurrent savers."""

from __future__ import annotations

import json
import os
import signal
import stat
import struct
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from support import PYTHON, assert_same_bits, run_python
from support.layers import draw, isolate

import dwconv
from dwconv import DepthwiseConv2D, FormatError
from dwconv.formats import safetensors as native
from dwconv.formats import store


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where to save; the directory is the test's own."""
    directory = tmp_path / "files"
    directory.mkdir()
    return directory / "dw.safetensors"


def filled(**arguments: Any) -> DepthwiseConv2D:
    """A small built layer; its weights are random bits, NaNs and infinities among them."""
    layer = DepthwiseConv2D(**{"kernel_size": (1, 2), "name": "dw", **arguments})
    layer.build((None, None, None, 2))
    rng = np.random.default_rng(0)
    bits = [rng.bytes(w.nbytes) for w in layer.weights]
    layer.set_weights(
        [
            np.frombuffer(b, w.dtype).reshape(w.shape)
            for b, w in zip(bits, layer.weights, strict=True)
        ]
    )
    return layer


def assert_same_layer(actual: DepthwiseConv2D, expected: DepthwiseConv2D) -> None:
    assert actual.get_config() == expected.get_config()
    assert len(actual.weights) == len(expected.weights)
    for a, b in zip(actual.weights, expected.weights, strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert a.tobytes() == b.tobytes()  # NaN payloads included


def names(path: Path) -> list[str]:
    """What is in the directory of a file."""
    return sorted(entry.name for entry in path.parent.iterdir())


def edit(
    path: Path,
    header: Callable[[dict[str, Any]], Any] = lambda header: None,
    document: Callable[[dict[str, Any]], Any] = lambda document: None,
    data: Callable[[bytes], bytes] = lambda data: data,
) -> None:
    """Changes a file in place: its header, the document in that, its tensors' bytes."""
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    head = json.loads(content[8 : 8 + length])
    inner = json.loads(head["__metadata__"]["layer"])
    document(inner)
    head["__metadata__"]["layer"] = json.dumps(inner)
    header(head)
    raw = json.dumps(head).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + data(content[8 + length :]))


def assert_refused(path: Path, message: str) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        dwconv.load(path)
    assert str(caught.value).startswith(f"{path}: ")


# ---- round trips ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "mixed_float16"])
@pytest.mark.parametrize("use_bias", [True, False])
def test_round_trip(path: Path, dtype: str, use_bias: bool) -> None:
    layer = filled(
        dtype=dtype,
        use_bias=use_bias,
        padding="same",
        depth_multiplier=3,
        activation="hard_sigmoid_k2",
        depthwise_regularizer="l2",
        depthwise_initializer=np.full((1, 2, 2, 3), 0.5),
        trainable=False,
        input_shape=(8, 9, 2),
    )
    layer.save(path)
    again = dwconv.load(path)
    assert_same_layer(again, layer)
    assert again.input_shape == (None, None, None, 2)
    assert again.trainable is False
    x = draw(2, 4, 5, 2)
    assert_same_bits(again(x), layer(x), dtype)
    for array in again.get_weights():
        array[...] = 0  # writable copies, not views of the file
    assert_same_bits(again(x), layer(x), dtype)


def test_a_layer_that_is_not_built_is_saved_as_its_config(path: Path) -> None:
    layer = DepthwiseConv2D(3, input_shape=(8, 8, 3), activation="relu")
    layer.save(path)
    again = dwconv.load(path)
    assert not again.built
    assert_same_layer(again, layer)
    assert again.input_shape == (None, 8, 8, 3)


def test_weights_to_come_are_not_lost_silently(path: Path) -> None:
    layer = DepthwiseConv2D(1, weights=[np.ones((1, 1, 1, 1)), [0]])
    with pytest.raises(ValueError, match="call build first"):
        layer.save(path)
    assert not path.exists()


def test_initializers_do_not_run_when_a_file_is_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = filled(depthwise_initializer="orthogonal")
    layer.save(path)

    def fail(self: Any, shape: Any, dtype: Any = None) -> None:
        raise AssertionError("initializer called")

    monkeypatch.setattr(dwconv.initializers.Orthogonal, "__call__", fail)
    assert_same_layer(dwconv.load(path), layer)


def test_any_safetensors_tool_reads_it(path: Path) -> None:
    layer = filled()
    layer.save(path)
    with safetensors.safe_open(path, "np") as file:
        assert sorted(file.keys()) == ["bias", "kernel"]
        assert file.get_tensor("kernel").tobytes() == layer.get_weights()[0].tobytes()
        metadata = file.metadata()
    assert metadata["format"] == "dwconv"
    assert metadata["format_version"] == "1"
    assert metadata["writer"] == f"dwconv {dwconv.__version__}"
    document = json.loads(metadata["layer"])
    assert document["class_name"] == "DepthwiseConv2D"
    assert document["config"]["kernel_size"] == [1, 2]
    assert document["build_config"] == {"input_shape": [None, None, None, 2]}


@pytest.mark.parametrize("name", ["DW.SafeTensors", "a b.ü.safetensors"])
def test_names_and_kinds_of_paths(path: Path, name: str) -> None:
    layer = filled()
    target = path.with_name(name)
    layer.save(str(target))
    assert_same_layer(dwconv.load(target), layer)


@pytest.mark.parametrize("name", ["dw", "dw.h6", "safetensors", "dw.safetensors.bak"])
def test_unknown_suffixes_name_the_known_ones(path: Path, name: str) -> None:
    target = path.with_name(name)
    message = r"path: expected a name that ends in \.safetensors, \.npz, \.keras, .*; received"
    with pytest.raises(ValueError, match=message):
        filled().save(target)
    assert names(path) == []
    target.write_bytes(b"")
    with pytest.raises(FormatError, match=f"{name}: truncated: expected a file"):
        dwconv.load(target)


def test_missing_files_and_directories(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        dwconv.load(path)
    with pytest.raises(FileNotFoundError) as caught:
        filled().save(path.parent / "none" / "dw.safetensors")
    assert caught.value.filename == str(path.parent / "none" / "dw.safetensors")
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        filled().save(path)
    assert names(path) == [path.name]


def test_what_cannot_be_written_leaves_the_old_file(path: Path) -> None:
    layer = filled()
    layer.save(path)
    before = path.read_bytes()
    layer.activation = lambda y: y
    with pytest.raises(ValueError, match="lambda"):
        layer.save(path)
    huge = DepthwiseConv2D(3, depthwise_initializer=np.full((3, 3, 25_000, 1), 1 / 3))
    with pytest.raises(ValueError, match="expected a config of at most"):
        huge.save(path)
    assert path.read_bytes() == before
    assert names(path) == [path.name]


# ---- what is no file of ours ---------------------------------------------------------------------


def test_truncated_at_every_byte(path: Path) -> None:
    layer = filled()
    layer.save(path)
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        assert_refused(path, "truncated")
    path.write_bytes(content)
    assert_same_layer(dwconv.load(path), layer)


def test_data_after_the_end(path: Path) -> None:
    filled().save(path)
    path.write_bytes(path.read_bytes() + b"\0")
    assert_refused(path, "data after the end: expected")


@pytest.mark.parametrize("metadata", [None, {}, {"format": "pt"}, {"layer": "{}"}])
def test_foreign_safetensors(path: Path, metadata: dict[str, str] | None) -> None:
    safetensors.numpy.save_file({"kernel": np.zeros((1, 1, 1, 1))}, path, metadata)
    assert_refused(path, "a safetensors file, but not from dwconv: its metadata")


@pytest.mark.parametrize(
    "content", [b"\x89HDF\r\n\x1a\n" + bytes(99), b"PK\3\4" + bytes(99), bytes(8), bytes(99)]
)
def test_other_files(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert_refused(path, "no safetensors file|expected JSON")


@pytest.mark.parametrize("version", ["2", "10", "9" * 5000])
def test_newer_files(path: Path, version: str) -> None:
    filled().save(path)
    edit(path, lambda header: header["__metadata__"].update(format_version=version))
    with pytest.raises(FormatError, match=r"newer than dwconv .*: expected format version 1") as e:
        dwconv.load(path)
    assert len(str(e.value)) < 500


@pytest.mark.parametrize("version", ["0", "", "1.0", "-1", "one", "²", None, 1])
def test_versions_that_are_none(path: Path, version: Any) -> None:
    filled().save(path)
    edit(path, lambda header: header["__metadata__"].update(format_version=version))
    assert_refused(path, "format_version: expected")


def without(*keys: str) -> Callable[[dict[str, Any]], Any]:
    """An edit that deletes header[key][key]..."""

    def change(part: dict[str, Any]) -> None:
        for key in keys[:-1]:
            part = part[key]
        del part[keys[-1]]

    return change


def put(*keys_and_value: Any) -> Callable[[dict[str, Any]], Any]:
    """An edit that sets header[key][key]... = value."""

    def change(part: dict[str, Any]) -> None:
        *keys, last, value = keys_and_value
        for key in keys:
            part = part[key]
        part[last] = value

    return change


# A file of `filled()`: the library puts the bias, 8 bytes, before the kernel, 16 bytes.
KERNEL = {"dtype": "F32", "shape": [1, 2, 2, 1], "data_offsets": [8, 24]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("kernel", "shape", [2, 1, 2, 1]), r"expected shape \(1, 2, any, 1\); received"),
        (put("kernel", "shape", [4]), r"expected shape \(1, 2, any, 1\); received \(4,\)"),
        (put("kernel", "shape", [1, 2, 1, 2]), r"expected shape \(1, 2, any, 1\); received"),
        (put("bias", "shape", [1, 2]), r"expected shape \(2,\); received \(1, 2\)"),
        (put("kernel", "shape", [1, 2, 2, -1]), "damaged"),
        (put("kernel", "shape", [1, 2, 3, 1]), "damaged"),
        (put("kernel", "shape", None), "damaged"),
        (
            put("kernel", "shape", [1] * 96 + [1, 2, 2, 1]),
            "damaged: tensor 'kernel': expected sizes; received",
        ),
        (
            put("other", {"dtype": "F32", "shape": [0, 2**62, 9], "data_offsets": [24, 24]}),
            "damaged: tensor 'other': expected sizes; received",
        ),
        (put("kernel", "dtype", "I32"), "'kernel': expected dtype float32; received int32"),
        (put("kernel", "dtype", "U32"), "'kernel': expected a dtype of F16, BF16, F32, F64, I32"),
        (put("kernel", "dtype", "F99"), "damaged"),
        (put("kernel", "data_offsets", [0, 24]), "damaged"),
        (put("kernel", "data_offsets", [24]), "expected two data_offsets"),
        (put("kernel", "data_offsets", [8, True]), "expected two data_offsets"),
        (put("kernel", "data_offsets", [8, 2**64]), "expected two data_offsets"),
        (put("kernel", "data_offsets", [8, 2**62]), "truncated: expected"),
        (put("kernel", 3), "expected two data_offsets"),
        (without("bias"), "damaged"),
        (put("other", {**KERNEL, "data_offsets": [24, 24], "shape": [0]}), "received .*'other'"),
        (put("__metadata__", "layer", 3), "layer: expected JSON in a string"),
        (put("__metadata__", "layer", "3"), "layer: expected a JSON object; received int"),
        (put("__metadata__", "layer", "{"), "layer: expected JSON"),
        (put("__metadata__", "layer", "[" * 100_000), "layer: expected JSON"),
        (put("__metadata__", "layer", '{"config": 1, "config": 2}'), "'config' twice"),
        (without("__metadata__", "layer"), "layer: expected JSON in a string"),
        (put("__metadata__", []), "damaged"),
    ],
)
def test_damaged_headers(path: Path, change: Callable[[dict[str, Any]], Any], message: str) -> None:
    filled().save(path)
    edit(path, header=change)
    assert_refused(path, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            put("class_name", "Dense"),
            "class_name: expected DepthwiseConv2D or DepthwiseConv1D; received 'Dense'",
        ),
        (put("class_name", ["DepthwiseConv2D"]), "class_name: expected"),
        (without("class_name"), "class_name: expected"),
        (put("config", []), "config: expected a dict"),
        (put("config", "kernel_size", [3, 3]), "expected shape"),
        (put("config", "kernel_size", [1e300, 1]), "kernel_size: expected"),
        (put("config", "kernel_size", "x"), "kernel_size: expected"),
        (put("config", "depth_multiplier", 2), "expected shape"),
        (put("config", "dtype", "float64"), "expected dtype float64; received float32"),
        (put("config", "dtype", {"class_name": 3}), "dtype: expected"),
        (put("config", "use_bias", False), r"expected the tensors \['kernel'\]; received"),
        (put("config", "activation", "os.system"), "activation"),
        (put("config", "activation", {"class_name": "__lambda__", "config": "x"}), "lambda"),
        (put("config", "activation", {"module": "os", "class_name": "system"}), "system"),
        (
            put("config", "bias_regularizer", {"class_name": "L2", "config": {"l2": 10**400}}),
            "layer: ",
        ),
        (put("config", "weights", [[1]]), "unexpected keyword argument 'weights'"),
        (put("config", "colour", 1), "unexpected keyword argument 'colour'"),
        (put("config", "groups", 2), "groups"),
        (put("config", "bias_initializer", {"class_name": "Zeros", "config": {"x": 1}}), "x"),
        (put("build_config", None), r"expected the tensors \[\]; received"),
        (put("build_config", 3), "build_config: expected a dict"),
        (put("build_config", {}), "expected an input of rank 4"),
        (put("build_config", "input_shape", None), "input_shape"),
        (put("build_config", "input_shape", [None, 5, 5, 3]), "expected 2 channels"),
        (put("build_config", "input_shape", [None, "a", 5, 2]), "expected integers"),
        (put("batch_input_shape", [1]), "batch_input_shape: expected four sizes"),
    ],
)
def test_damaged_documents(
    path: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    filled().save(path)
    edit(path, document=change)
    assert_refused(path, message)


def test_tensors_of_one_name(path: Path) -> None:
    filled().save(path)
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    tensor = b',"bias":{"dtype":"I32","shape":[2],"data_offsets":[0,8]}}'
    raw = content[8 : 8 + length].rstrip()[:-1] + tensor
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + content[8 + length :])
    safetensors.deserialize(path.read_bytes())  # the library takes the last of the two
    assert_refused(path, "the header: expected each key once; received 'bias' twice")


def test_a_header_that_would_fill_the_memory_is_not_read(path: Path) -> None:
    length = native.MAX_HEADER + 1
    path.write_bytes(struct.pack("<Q", length) + b"[" * length)
    assert_refused(path, "expected a header of at most")


def test_flipped_bits_are_refused_or_load_a_whole_layer(path: Path) -> None:
    layer = filled()
    layer.save(path)
    content = path.read_bytes()
    data = len(content) - sum(w.nbytes for w in layer.weights)
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(800):
        at = int(rng.integers(data))
        mutated = bytearray(content)
        mutated[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(mutated)
        try:
            loaded = dwconv.load(path)
        except FormatError as error:
            assert str(error).startswith(f"{path}: ")  # noqa: PT017 (either outcome is fine)
            refused += 1
        else:
            assert [w.tobytes() for w in loaded.weights] == [w.tobytes() for w in layer.weights]
    assert refused > 400


# ---- writing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("culprit", ["pathlib.Path.replace", "os.fsync"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    path: Path, monkeypatch: pytest.MonkeyPatch, culprit: str, error: BaseException
) -> None:
    filled().save(path)
    before = path.read_bytes()
    calls = []

    def fail(*arguments: Any) -> None:
        calls.append(arguments)
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(culprit, fail)
        with pytest.raises(type(error)):
            filled(activation="relu").save(path)
    assert calls
    assert path.read_bytes() == before
    assert names(path) == [path.name]


KILLED = """
import os, sys
import dwconv
from dwconv.formats import store
layer = dwconv.DepthwiseConv2D(3, activation="relu", name="new")
layer.build((None, 8, 8, 4))

def die(*_):
    print("dying", flush=True)
    os.kill(os.getpid(), 9)

where, path = sys.argv[1:]
if where == "before the flush":
    os.fsync = die
elif where == "before the rename":
    type(store.Path()).replace = die
else:
    store._sync_directory = die
layer.save(path)
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
@pytest.mark.parametrize("where", ["before the flush", "before the rename", "after the rename"])
def test_a_process_killed_while_saving_leaves_the_old_file_or_the_new(
    path: Path, where: str
) -> None:
    old = filled()
    old.save(path)
    result = run_python("-c", KILLED, where, str(path))
    assert (result.returncode, result.stdout) == (-signal.SIGKILL, "dying\n"), result.stderr
    loaded = dwconv.load(path)
    if where == "after the rename":
        assert (loaded.name, loaded.built) == ("new", True)
    else:
        assert_same_layer(loaded, old)


SAVER = """
import sys
import numpy as np
import dwconv
value, path = int(sys.argv[1]), sys.argv[2]
layer = dwconv.DepthwiseConv2D(3, name=f"layer_{value}", weights=[
    np.full((3, 3, 64, 1), value), np.full(64, value)])
layer.build((None, 8, 8, 64))
print("ready", flush=True)
sys.stdin.readline()
for _ in range(20):
    layer.save(path)
"""


def test_concurrent_savers_and_readers(path: Path) -> None:
    source = Path(dwconv.__file__).parents[1]
    savers = [
        subprocess.Popen(
            [*PYTHON, "-c", SAVER, str(value), str(path)],
            env={**os.environ, "PYTHONPATH": str(source)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for value in (1, 2)
    ]
    seen = set()
    for saver in savers:
        assert saver.stdout is not None
        assert saver.stdout.readline() == "ready\n"
    for saver in savers:
        assert saver.stdin is not None
        saver.stdin.write("go\n")
        saver.stdin.close()
    while any(saver.poll() is None for saver in savers):
        if path.exists():
            seen.add(whole(path))
    for saver in savers:
        assert saver.stdout is not None
        saver.stdout.close()
    assert [saver.returncode for saver in savers] == [0, 0]
    seen.add(whole(path))
    assert seen <= {1, 2}
    assert names(path) == [path.name]


def whole(path: Path) -> int:
    """The number of the saver that wrote the file, name and weights alike."""
    layer = dwconv.load(path)
    values = {float(v) for w in layer.get_weights() for v in np.unique(w)}
    assert values == {float(layer.name.removeprefix("layer_"))}
    return int(values.pop())


def test_threads_that_save_to_one_path(path: Path) -> None:
    layers = [filled(name=f"layer_{i}") for i in range(4)]
    threads = [
        threading.Thread(target=lambda layer=layer: [layer.save(path) for _ in range(10)])
        for layer in layers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert dwconv.load(path).name in {layer.name for layer in layers}
    assert names(path) == [path.name]


@pytest.mark.skipif(os.name != "posix", reason="modes and links")
def test_modes_and_links_are_those_of_a_file_written_in_place(path: Path) -> None:
    old = os.umask(0o027)
    try:
        filled().save(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(0o604)
        filled().save(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o604
    finally:
        os.umask(old)
    link = path.with_name("link.safetensors")
    link.symlink_to(path.name)
    layer = filled(activation="relu")
    layer.save(link)
    assert link.is_symlink()
    assert_same_layer(dwconv.load(path), layer)


def test_content_is_on_disk_before_the_name_points_to_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def synced(handle: int) -> None:
        events.append("directory" if stat.S_ISDIR(os.fstat(handle).st_mode) else "content")
        fsync(handle)

    def renamed(self: Path, target: Path) -> Path:
        events.append("rename")
        assert self.parent == target.parent
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    with store.replacing(path) as file:
        file.write(b"content")
    assert events[:2] == ["content", "rename"]
    assert events[2:] == (["directory"] if os.name == "posix" else [])
    assert path.read_bytes() == b"content"
