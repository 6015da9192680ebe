"""Writes tests/data/attacks: small files that ask for much work, a kind each.

    python tests/data/attacks.py

Each began as a fault, of this reader or of another. tests/files/test_attacks.py holds what reading
one may cost. A new kind: a function here with `@attack`, and run this again.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

FOLDER = Path(__file__).parent / "attacks"

ATTACKS: dict[str, Callable[[], bytes]] = {}


def attack(suffix: str) -> Callable[[Callable[[], bytes]], Callable[[], bytes]]:
    """Enters a function that returns the content of a file: its name, with '-' for '_'."""

    def enter(make: Callable[[], bytes]) -> Callable[[], bytes]:
        ATTACKS[make.__name__.replace("_", "-") + suffix] = make
        return make

    return enter


# ---- parts of files ------------------------------------------------------------------------------


def hdf5(write: Callable[[h5py.File], Any]) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        write(file)
    return buffer.getvalue()


def layer(name: str = "dw", **config: Any) -> dict[str, Any]:
    config = {"name": name, "kernel_size": [1, 2], **config}
    return {"class_name": "DepthwiseConv2D", "config": config}


def model(*layers: Any, name: str = "model", kind: str = "Sequential") -> dict[str, Any]:
    return {"class_name": kind, "config": {"name": name, "layers": list(layers)}}


def keras(
    document: Any, weights: bytes | None = None, compression: int = zipfile.ZIP_DEFLATED
) -> bytes:
    """A .keras archive, compressed, so that a document of megabytes takes a few thousand bytes."""
    parts = {
        "metadata.json": b'{"keras_version": "3.0.0"}',
        "config.json": json.dumps(document, ensure_ascii=False).encode(),
        "model.weights.h5": hdf5(lambda file: file.create_group("vars")),
    }
    if weights is not None:
        parts["model.weights.h5"] = weights
    return archive(parts, compression)


def archive(parts: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression, compresslevel=9) as file:
        for name, content in parts.items():
            file.writestr(zipfile.ZipInfo(name), content, compression)
    return buffer.getvalue()


def by_name(document: Any, write: Callable[[h5py.Group], Any]) -> bytes:
    """A whole model of Keras 2."""

    def whole(file: h5py.File) -> None:
        file.attrs["keras_version"] = "2.15.0"
        if document is not None:
            file.attrs.create("model_config", json.dumps(document), dtype=h5py.string_dtype())
        write(file.create_group("model_weights") if document is not None else file)

    return hdf5(whole)


# ---- HDF5: what is shared, and lists of names ----------------------------------------------------


def levels(depth: int, container: str, names: str) -> bytes:
    """Groups, each of which links to the next under several names: len(names)**depth paths."""

    def write(file: h5py.File) -> None:
        inner = file.create_group(f"g{depth}")
        for i in range(depth - 1, -1, -1):
            here = file.create_group(f"g{i}") if i else file
            layers = here.create_group(container)
            for name in names:
                layers[name] = inner
            inner = here

    return hdf5(write)


@attack(".weights.h5")
def groups_linked_twice() -> bytes:
    return levels(40, "layers", "ab")


@attack(".weights.h5")
def groups_linked_thrice() -> bytes:
    return levels(30, "_layer_checkpoint_dependencies", "abc")


@attack(".h5")
def attributes_of_a_shared_group() -> bytes:
    def write(group: h5py.Group) -> None:
        group.attrs["layer_names"] = [b"l0"]
        inner = group.create_group("l0")
        inner.attrs["weight_names"] = np.zeros(0)
        for i in range(600):
            inner.attrs[f"a{i}"] = np.int8(0)
        for i in range(1, 1000):
            group[f"l{i}"] = inner

    return by_name(model(*(layer(f"l{i}") for i in range(1000))), write)


@attack(".h5")
def many_weight_names() -> bytes:
    def write(group: h5py.Group) -> None:
        group.attrs["layer_names"] = [b"m"]
        inner = group.create_group("m")
        for piece in range(8):
            names = [b"%d/depthwise_kernel:0" % (piece * 2300 + i) for i in range(2300)]
            inner.attrs[f"weight_names{piece}"] = np.array(names, "S")

    return by_name(None, write)


@attack(".h5")
def layer_names_repeated() -> bytes:
    def write(group: h5py.Group) -> None:
        group.attrs["layer_names"] = np.array(["m"] * 60_000, "S")
        inner = group.create_group("m")
        for piece in range(4):
            inner.attrs[f"weight_names{piece}"] = np.array(["x"] * 60_000, "S")

    return by_name(None, write)


@attack(".h5")
def models_that_share_names() -> bytes:
    def write(group: h5py.Group) -> None:
        group.attrs["layer_names"] = [b"m0"]
        inner = group.create_group("m0")
        own = [b"dw/depthwise_kernel:0", b"dw/bias:0"]
        names = [*own, *(b"%d/z" % i for i in range(2500))]
        inner.attrs["weight_names"] = np.array(names, "S")
        inner["dw/depthwise_kernel:0"] = np.zeros((1, 2, 2, 1), "f4")
        inner["dw/bias:0"] = np.zeros(2, "f4")
        for i in range(1, 900):
            group[f"m{i}"] = inner

    return by_name(model(*(model(layer(), name=f"m{i}") for i in range(900))), write)


@attack(".h5")
def one_name_at_many_ends() -> bytes:
    def write(group: h5py.Group) -> None:
        group.attrs["layer_names"] = [b"outer"]
        inner = group.create_group("outer")
        names = [b"dw/depthwise_kernel:0", *(b"%d/dw/depthwise_kernel:0" % i for i in range(2400))]
        inner.attrs["weight_names"] = np.array(names, "S")
        inner["dw/depthwise_kernel:0"] = np.zeros((1, 2, 2, 1), "f4")

    inside = (model(layer(use_bias=False), name=f"m{i}") for i in range(900))
    return by_name(model(model(*inside, name="outer")), write)


@attack(".h5")
def path_through_itself() -> bytes:
    def write(group: h5py.Group) -> None:
        group.attrs["layer_names"] = [b"dw"]
        inner = group.create_group("dw")
        inner["a"] = inner
        inner.attrs.create("weight_names", ["a/" * 400_000, "b"], dtype=h5py.string_dtype())

    return by_name(model(layer()), write)


@attack(".keras")
def many_classes_beside_many_names() -> bytes:
    """Each class looks for its layers among all names, as TensorFlow 2.12 numbers them."""

    def write(file: h5py.File) -> None:
        layers = file.create_group("_layer_checkpoint_dependencies")
        inner = layers.create_group("x0")
        for i in range(1, 5000):
            layers[f"x{i}"] = inner

    inside = (model(layer(), name=f"m{i}", kind=f"Kind{i}") for i in range(900))
    return keras(model(*inside), hdf5(write))


@attack(".keras")
def layers_without_a_place() -> bytes:
    """Each is compared with all others, whose configs are the same: it may be shared."""

    def write(file: h5py.File) -> None:
        place = file.create_group("layers/sequential/layers/depthwise_conv2d/vars")
        place["0"] = np.zeros((1, 2, 2, 1), "f4")

    rest = {f"x{i}": None for i in range(20)}
    inside = [model(layer(input_shape=[rest]), name=f"m{i}") for i in range(900)]
    return keras(model(*inside), hdf5(write), zipfile.ZIP_STORED)


@attack(".keras")
def layers_without_a_place_and_long_configs() -> bytes:
    """Few enough to be compared with each other, and each comparison is long."""

    def write(file: h5py.File) -> None:
        place = file.create_group("layers/sequential/layers/depthwise_conv2d/vars")
        place["0"] = np.zeros((1, 2, 2, 1), "f4")

    rest = {f"x{i}": None for i in range(390)}
    inside = [model(layer(input_shape=[rest]), name=f"m{i}") for i in range(400)]
    return keras(model(*inside), hdf5(write), zipfile.ZIP_STORED)


@attack(".keras")
def many_layers_beside_many_names() -> bytes:
    """Each layer sorts the names of its class, as TensorFlow 2.12 numbers them."""

    def write(file: h5py.File) -> None:
        layers = file.create_group("_layer_checkpoint_dependencies")
        inner = layers.create_group("conv2d_1")
        for i in range(1, 6000):
            layers[f"conv2d_{2 * i + 1}"] = inner

    convolution = {"kernel_size": [1, 1], "filters": 1}
    inside = (
        {"class_name": "Conv2D", "config": {"name": f"{i}", **convolution}} for i in range(12_000)
    )
    return keras(model(layer(), *inside), hdf5(write), zipfile.ZIP_STORED)


@attack(".h5")
def many_layers_in_deep_models() -> bytes:
    """The order of their weights depends on all models around each."""

    def write(group: h5py.Group) -> None:
        group.attrs["layer_names"] = [b"other"]
        inner = group.create_group("other")
        inner.attrs["weight_names"] = np.array([b"dw/depthwise_kernel:0"], "S")
        inner["dw/depthwise_kernel:0"] = np.zeros((1, 2, 2, 1), "f4")

    norms = (
        {"class_name": "BatchNormalization", "config": {"name": f"{i}"}} for i in range(12_000)
    )
    found = model(layer(), *norms)
    for i in range(30):
        found = model(found, name=f"m{i}")
    return by_name(found, write)


@attack(".h5")
def one_name_for_many_weights() -> bytes:
    """A layer for each, of one name, and as many layers that look for it."""

    def write(group: h5py.Group) -> None:
        group.attrs["layer_names"] = [b"outer"]
        inner = group.create_group("outer")
        names = np.array([b"dw/depthwise_kernel:0"] * 3000, "S")
        for i in range(25):
            inner.attrs[f"weight_names{i}"] = names
        inner["dw/depthwise_kernel:0"] = np.zeros((1, 2, 2, 1), "f4")

    inside = (model(layer("a/dw"), name=f"m{i}") for i in range(900))
    return by_name(model(model(*inside, name="outer")), write)


# ---- configs: texts, lists, names ----------------------------------------------------------------


@attack(".keras")
def a_long_activation() -> bytes:
    return keras(model(layer(activation="x" * 7_500_000)))


@attack(".keras")
def a_long_key() -> bytes:
    return keras(model(layer(**{"x" * 7_500_000: 1})))


@attack(".keras")
def a_padding_that_is_not_printable() -> bytes:
    """Its repr is ten times as long as the text."""
    return keras(model(layer(padding="\U000e0001" * 2_000_000)))


@attack(".keras")
def an_initializer_argument_that_is_not_printable() -> bytes:
    value = {"class_name": "VarianceScaling", "config": {"mode": "\x7f" * 7_500_000}}
    return keras(model(layer(depthwise_initializer=value)))


@attack(".keras")
def texts_as_an_initializer() -> bytes:
    value = ["a" * 1_000_000] + ["b"] * 150_000
    constant = {"class_name": "Constant", "config": {"value": value}}
    return keras(model(layer(depthwise_initializer=constant)))


@attack(".keras")
def texts_as_an_array() -> bytes:
    value = {"value": ["a" * 1_000_000] + ["1"] * 150_000, "dtype": "float32"}
    array = {"class_name": "__numpy__", "config": value}
    constant = {"class_name": "Constant", "config": {"value": array}}
    return keras(model(layer(depthwise_initializer=constant)))


@attack(".keras")
def a_dtype_of_many_fields() -> bytes:
    return keras(model(layer(dtype="i1," * 190_000 + "i1")))


@attack(".keras")
def a_policy_of_many_fields() -> bytes:
    config = {"name": [["a", "i1"], ["b", "i1"]] * 30_000}
    return keras(model(layer(dtype={"class_name": "DTypePolicy", "config": config})))


@attack(".keras")
def an_array_of_a_dtype_of_many_fields() -> bytes:
    array = {"class_name": "__numpy__", "config": {"value": [0], "dtype": "i1," * 190_000 + "i1"}}
    constant = {"class_name": "Constant", "config": {"value": array}}
    return keras(model(layer(depthwise_initializer=constant)))


@attack(".keras")
def strides_of_many_sizes() -> bytes:
    return keras(model(layer(strides=[1] * 190_000)))


@attack(".keras")
def an_input_of_many_sizes() -> bytes:
    return keras(model(layer(batch_input_shape=[7] * 190_000)))


@attack(".keras")
def many_unknown_arguments() -> bytes:
    return keras(model(layer(**{f"argument{i}": i for i in range(90_000)})))


@attack(".keras")
def many_layers() -> bytes:
    return keras(model(*(layer(f"l{i}") for i in range(1000))))


@attack(".json")
def long_paths() -> bytes:
    """Twenty thousand layers in 31 models of long names: 600 MB of paths."""
    found = model(*({"class_name": "ReLU", "config": {"name": f"{i}"}} for i in range(19_000)))
    for i in range(31):
        found = model(found, name=f"{i:0>990}")
    return json.dumps(found).encode()


@attack(".keras")
def long_class_names() -> bytes:
    kinds = ({"class_name": "aB" * 490, "config": {"name": f"{i}"}} for i in range(7000))
    return keras(model(*kinds))


@attack(".json")
def a_long_path_beside_many_layers() -> bytes:
    """A table whose rows are all as wide as the widest cell."""
    deep: dict[str, Any] = layer("x" * 990)
    for i in range(31):
        deep = model(deep, name=f"{i:0>990}")
    return json.dumps(model(deep, *(layer(f"l{i}") for i in range(900)))).encode()


@attack(".json")
def many_separable_layers() -> bytes:
    """Each is a depthwise layer of ours, and its class another."""
    config = {"kernel_size": [1, 2], "filters": 1}
    found = (
        {"class_name": "SeparableConv2D", "config": {"name": f"{i}", **config}}
        for i in range(19_000)
    )
    return json.dumps(model(*found)).encode()


@attack(".json")
def foreign_layers_in_the_item_of_ours() -> bytes:
    document = {**model([1]), "dwconv": {"layer": {}}}
    return json.dumps(document).encode()


# ---- graphs: who is called with whose output -----------------------------------------------------


def functional(layers: list[Any], inputs: list[Any], outputs: list[Any]) -> bytes:
    config = {"name": "m", "layers": layers, "input_layers": inputs, "output_layers": outputs}
    return json.dumps({"class_name": "Functional", "config": config}).encode()


def called(item: dict[str, Any], *nodes: Any) -> dict[str, Any]:
    return {**item, "name": item["config"]["name"], "inbound_nodes": list(nodes)}


@attack(".json")
def many_calls_beside_many_inputs() -> bytes:
    """For each call all that is there already is looked through."""
    start = {"class_name": "InputLayer", "config": {"name": "x"}}
    calls = ([["x", 0, 0]] for _ in range(14_000))
    inputs = [["x", 0, 0], *([f"{i}", 0, 0] for i in range(14_000))]
    return functional([called(start), called(layer(), *calls)], inputs, [])


@attack(".json")
def two_calls_of_many_layers() -> bytes:
    """Each of the layers asks whether the two are its gate, and they have many arguments."""
    start = {"class_name": "InputLayer", "config": {"name": "x"}}
    layers = [called(layer(f"{i}"), [["x", 0, 0, {}]]) for i in range(900)]
    arguments = {f"argument{i}": None for i in range(60_000)}
    tensors = [[f"{i}", 0, 0, arguments if i == 0 else {}] for i in range(900)]
    twice = (called({"class_name": "Add", "config": {"name": name}}, tensors) for name in "ab")
    return functional([called(start), *layers, *twice], [["x", 0, 0]], [])


# ---- ONNX: messages of protobuf ------------------------------------------------------------------


def varint(number: int) -> bytes:
    found = b""
    while number > 0x7F:
        found += bytes([number & 0x7F | 0x80])
        number >>= 7
    return found + bytes([number])


def message(*fields: tuple[int, Any]) -> bytes:
    """Fields by number: an int, or bytes of a text or of another message."""
    found = b""
    for number, value in fields:
        if isinstance(value, int):
            found += varint(number << 3) + varint(value)
        else:
            found += varint(number << 3 | 2) + varint(len(value)) + value
    return found


def onnx(nodes: list[bytes], tensors: list[bytes]) -> bytes:
    graph = b"".join(message((1, node)) for node in nodes)
    graph += b"".join(message((5, tensor)) for tensor in tensors)
    return message((1, 8), (7, graph), (8, message((2, 17))))


def convolution(number: int, weight: bytes) -> bytes:
    group = message((1, b"group"), (3, 2), (20, 2))
    name = b"%d" % number
    return message((1, b"x"), (1, weight), (2, name), (3, name), (4, b"Conv"), (5, group))


@attack(".onnx")
def names_that_meet() -> bytes:
    """What would make one of them another is there already."""
    names = (b"x", b"x_1", *(b"x_%d" % i for i in range(3, 20)), b"x")
    return onnx([message((3, name), (4, b"Relu")) for name in names], [])


@attack(".onnx")
def many_nodes_of_one_name() -> bytes:
    name = b"x" * 50
    names = [b"%s_%d" % (name, i) for i in range(7000, 14_000)] + [name] * 7000
    return onnx([message((3, name), (4, b"Relu")) for name in names], [])


@attack(".onnx")
def a_constant_with_many_attributes() -> bytes:
    """Each of the convolutions that take it looks for its value."""
    attribute = message((5, message((1, b"a" * 20))))
    constant = message((2, b"w"), (4, b"Constant")) + attribute * 40_000
    return onnx([constant, *(convolution(i, b"w") for i in range(900))], [])


@attack(".onnx")
def a_weight_of_many_sizes() -> bytes:
    weight = message((1, b"\1" * 500_000), (2, 1), (8, b"w"))
    return onnx([convolution(i, b"w") for i in range(900)], [weight])


# ---- JSON ----------------------------------------------------------------------------------------


@attack(".json")
def deep_lists() -> bytes:
    return b"[" * 199_000


@attack(".json")
def deep_behind_quotation_marks() -> bytes:
    return b'["\\\\", "\\"", "[[[", ' + b'{"a":[' * 60_000


@attack(".json")
def many_ends() -> bytes:
    return b"[" + b"]" * 8_000_000


@attack(".json")
def many_quotation_marks() -> bytes:
    return b"[" + b'"' * 8_000_000


@attack(".json")
def long_numbers() -> bytes:
    config = b'{"config": {"layers": []}, "x": [' + b", ".join([b"9" * 4000] * 1900) + b"]}"
    return config.replace(b"9" * 4000, b"0." + b"3" * 3998, 1)


# ---- archives and arrays -------------------------------------------------------------------------


@attack(".npz")
def members_within_members() -> bytes:
    """Each stored member holds all those after it: read one by one they are 150 times the file."""
    names = [f"{i:06}.npy".encode() for i in range(300)]
    content, entries = b"", []
    tail = b"\0" * 20_000
    for i in reversed(range(len(names))):
        data = content if content else tail
        check, size = zlib.crc32(data), len(data)
        head = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 0, 0, 33, check, size, size, 10, 0)
        content = head + names[i] + data
        entries.append((names[i], size, check))
    table = b""
    for name, size, check in entries:
        offset = len(content) - (size + 40)
        table += struct.pack(
            "<4s6H3I5H2I",
            *(b"PK\1\2", 20, 20, 0, 0, 0, 33, check, size, size, 10, 0, 0, 0, 0, 0, offset),
        )
        table += name
    end = struct.pack(
        "<4s4H2IH", b"PK\5\6", 0, 0, len(entries), len(entries), len(table), len(content), 0
    )
    return content + table + end


@attack(".npz")
def many_members() -> bytes:
    return archive({f"{i}.npy": b"" for i in range(15_000)}, zipfile.ZIP_STORED)


@attack(".npz")
def an_array_of_zeros() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, kernel=np.zeros((1, 2, 1_900_000, 1), "f4"))
    return buffer.getvalue()


@attack(".safetensors")
def many_empty_tensors() -> bytes:
    tensor = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header = json.dumps({f"{i}": tensor for i in range(30_000)}).encode()
    return struct.pack("<Q", len(header)) + header


def main() -> None:
    """Writes all of them."""
    FOLDER.mkdir(exist_ok=True)
    for name, make in ATTACKS.items():
        path = FOLDER / f"{name}.gz"
        with path.open("wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
            packed.write(make())


if __name__ == "__main__":
    main()
