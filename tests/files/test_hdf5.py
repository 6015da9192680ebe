"""Our reader of HDF5 against h5py, and what it refuses."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
import pytest

from dwconv.formats import FormatError, hdf5
from dwconv.formats.budget import Budget


def written(write: Callable[[h5py.File], Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", **options) as file:
        write(file)
    return buffer.getvalue()


def opened(content: bytes) -> hdf5.Group:
    return hdf5.File(io.BytesIO(content), Budget(len(content))).root


def compare(ours: hdf5.Group, theirs: Any) -> int:
    """Asserts that a group and all below it hold the same; returns how many arrays there were."""
    assert sorted(ours.attributes()) == sorted(theirs.attrs)
    for name in theirs.attrs:
        expected, actual = theirs.attrs[name], ours.attribute(name)
        if isinstance(expected, h5py.Empty):
            assert actual is None
        elif isinstance(expected, np.ndarray) and expected.dtype.kind in "OS":
            texts = [t.decode() if isinstance(t, bytes) else t for t in expected.ravel()]
            assert actual == texts
        elif isinstance(expected, (bytes, str)):
            assert actual == (expected.decode() if isinstance(expected, bytes) else expected)
        else:
            np.testing.assert_array_equal(actual, expected)
    if not isinstance(theirs, h5py.Group):
        expected = theirs[()]
        actual = ours.array()
        assert ours.is_dataset
        assert ours.shape == actual.shape == expected.shape
        assert actual.dtype == expected.dtype.newbyteorder("=")
        assert actual.tobytes() == expected.astype(actual.dtype).tobytes()
        return 1
    assert sorted(ours.names()) == sorted(theirs)
    arrays = 0
    for name in theirs:
        member = ours.get(name)
        assert member is not None
        arrays += compare(member, theirs[name])
    return arrays


DTYPES = "<f2 <f4 <f8 >f2 >f4 >f8 i1 <i2 <i4 <i8 u1 >u2 >u4 >i8".split()


def random_tree(group: h5py.Group, rng: np.random.Generator, depth: int) -> None:
    for i in range(int(rng.integers(0, 30 if depth == 1 else 6))):
        # Names of many lengths, more than fit in one symbol table node (8).
        name = f"{'name' * int(rng.integers(1, 9))}_{i}"
        if depth < 3 and rng.random() < 0.5:
            random_tree(group.create_group(name), rng, depth + 1)
        else:
            dtype = DTYPES[int(rng.integers(len(DTYPES)))]
            shape = tuple(int(n) for n in rng.integers(0, 4, int(rng.integers(0, 5))))
            data = np.frombuffer(rng.bytes(int(np.prod(shape)) * np.dtype(dtype).itemsize), dtype)
            group.create_dataset(name, data=data.reshape(shape))
    for i in range(int(rng.integers(0, 9))):
        text = "ä" * int(rng.integers(0, 40))
        value = (
            text,
            text.encode(),
            np.array([b"a", b"", b"long text"]),
            [text, "", "b"],
            np.arange(i, dtype=DTYPES[i]),
            np.float64(i),
            h5py.Empty("f4"),
            np.zeros(0),
        )[i % 8]
        group.attrs[f"attribute {'x' * i}"] = value


@pytest.mark.parametrize("seed", range(12))
def test_the_same_as_h5py(seed: int) -> None:
    content = written(lambda file: random_tree(file, np.random.default_rng(seed), 0))
    with h5py.File(io.BytesIO(content)) as file:
        compare(opened(content), file)


def test_many_members_and_a_long_text() -> None:
    """A B-tree of two levels (more than 32 nodes of 8 links each), and a global heap of its own."""

    def write(file: h5py.File) -> None:
        for i in range(600):
            file[f"{i}"] = np.array(i)
        file.attrs["long"] = "x" * 100_000

    content = written(write)
    assert b"TREE\0\1" in content
    with h5py.File(io.BytesIO(content)) as file:
        assert compare(opened(content), file) == 600


def named(count: int) -> Callable[[h5py.File], None]:
    """Writes members whose names are not ASCII: HDF5 keeps such groups in the newer layout."""

    def write(file: h5py.File) -> None:
        for i in range(count):
            file[f"ñ{'深' * (i % 50)}{i}"] = np.arange(3, dtype="f4") + i
        file["ascii/deep"] = 1.5

    return write


@pytest.mark.parametrize(
    ("count", "marks"),
    [
        (1, {}),
        (7, {}),  # with the other one eight: in the header
        (8, {b"FRHP": 1, b"BTLF": 1}),
        (60, {b"FHIB": 1}),  # more than one block
        (1000, {b"BTIN": 3}),  # an index of three levels
    ],
)
def test_names_beyond_ascii(count: int, marks: dict[bytes, int]) -> None:
    content = written(named(count))
    assert all(content.count(mark) >= least for mark, least in marks.items())
    with h5py.File(io.BytesIO(content)) as file:
        assert compare(opened(content), file) == count + 1


def test_blocks_within_blocks() -> None:
    """A heap whose rows of the largest direct blocks (64 KiB) are full."""

    def write(file: h5py.File) -> None:
        for i in range(3000):
            file.create_group(f"ü{'n' * 450}{i}")

    content = written(write)
    assert content.count(b"FHIB") > 1
    with h5py.File(io.BytesIO(content)) as file:
        assert opened(content).names() == sorted(file)


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "gzip"},
        {"compression": "gzip", "shuffle": True, "fletcher32": True},
        {"shuffle": True, "chunks": (2, 3, 4, 1)},
        {"chunks": (2, 2, 5, 1), "compression": "gzip", "compression_opts": 9},
        {"chunks": True, "maxshape": (None,) * 4},
    ],
)
def test_chunks_and_filters(options: dict[str, Any]) -> None:
    def write(file: h5py.File) -> None:
        rng = np.random.default_rng(0)
        for dtype in DTYPES:
            data = (100 * rng.standard_normal((5, 7, 9, 2))).astype(dtype)
            file.create_dataset(dtype, data=data, **options)
        # An index of more than one level, and chunks that were never written.
        file.create_dataset("many", data=np.zeros((99, 99, 2, 1)), chunks=(5, 5, 1, 1))
        file.create_dataset("none", (5, 5), "f4", chunks=(2, 2))

    content = written(write)
    with h5py.File(io.BytesIO(content)) as file:
        assert compare(opened(content), file) == len(DTYPES) + 2


def test_chunks_are_unpacked_within_limits() -> None:
    """40 MB of zeros in less than 1 MB; and chunks that hold more or less than they say."""
    zeros = written(
        lambda file: file.create_dataset("a", data=np.zeros((10, 10**6), "f4"), compression=9)
    )
    refused(zeros, "a", "expected chunks of 16777216 bytes in all, unpacked, in a file of")
    plain = bytearray(
        written(lambda file: file.create_dataset("a", data=np.zeros(999, "f4"), compression=9))
    )
    packed = zlib.compress(bytes(999 * 4), 9)
    at = plain.find(packed)
    assert at > 0
    for size in (999 * 4 + 9, 999 * 4 - 9):
        other = zlib.compress(bytes(size), 9)
        assert len(other) <= len(packed)
        plain[at : at + len(packed)] = other.ljust(len(packed), b"\0")
        refused(bytes(plain), "a", "expected chunks of 3996 bytes; received")
    plain[at] ^= 0xFF
    refused(bytes(plain), "a", "damaged")


def test_paths() -> None:
    root = opened(written(lambda file: file.create_dataset("a/b/c", data=[1.5])))
    member = root.get("a/b/c")
    assert member is not None
    assert member.path == "/a/b/c"
    assert member.array() == [1.5]
    assert root.get("a/x/c") is None
    assert root.get("a/b/c/d") is None
    assert root.attribute("none") is None


def refused(content: bytes, path: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        opened(content).get(path).array()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compression": "lzf"}, "expected the filters gzip, shuffle and fletcher32; received"),
        ({"dtype": h5py.string_dtype()}, "expected numbers"),
        ({"dtype": "c8"}, "expected numbers"),
        ({"dtype": "?"}, "expected numbers"),
    ],
)
def test_storage_and_types_that_keras_does_not_write(options: Any, message: str) -> None:
    content = written(lambda file: file.create_dataset("a", (4,), **{"dtype": "f4", **options}))
    refused(content, "a", message)


@pytest.mark.parametrize("libver", ["v108", "latest"])
def test_newer_layouts(libver: str) -> None:
    content = written(lambda file: file.create_dataset("a", data=[1.0]), libver=libver)
    refused(content, "a", "expected HDF5 as h5py writes it by default; received superblock")


def test_links_are_not_followed() -> None:
    def write(file: h5py.File) -> None:
        file["soft"] = h5py.SoftLink("/etc")
        file["real"] = [1.0]

    root = opened(written(write))
    assert root.names() == ["real"]

    def write_external(file: h5py.File) -> None:
        write(file)
        file["out"] = h5py.ExternalLink("/etc/passwd", "/")

    assert opened(written(write_external)).names() == ["real"]


def test_external_data_are_not_read() -> None:
    content = written(
        lambda file: file.create_dataset("a", (4,), "u1", external=[("/etc/passwd", 0, 4)])
    )
    refused(content, "a", "expected plain storage; received external storage")


# ---- hostile structures --------------------------------------------------------------------------


def base() -> bytearray:
    def write(file: h5py.File) -> None:
        file["a/x"] = np.arange(4.0)
        file["b/x"] = np.arange(4.0)
        file.attrs["text"] = "hello"

    return bytearray(written(write))


def positions(content: bytes, mark: bytes) -> list[int]:
    found, at = [], content.find(mark)
    while at >= 0:
        found.append(at)
        at = content.find(mark, at + 1)
    return found


def read_all(group: hdf5.Group) -> None:
    for name in group.attributes():
        group.attribute(name)
    if group.is_dataset:
        group.array()
    for name in group.names():
        member = group.get(name)
        assert member is not None
        read_all(member)


def test_a_tree_that_is_a_circle() -> None:
    content = base()
    tree = positions(content, b"TREE")[0]
    content[tree + 5] = 1  # level 1, its child itself
    struct.pack_into("<Q", content, tree + 32, tree)
    with pytest.raises(FormatError, match=r"expected level 0; received 1|expected each node once"):
        read_all(opened(content))
    struct.pack_into("<H", content, tree + 6, 2)
    content[tree + 5] = 0
    struct.pack_into("<Q", content, tree + 48, struct.unpack_from("<Q", content, tree + 32)[0])
    with pytest.raises(FormatError, match="expected"):
        read_all(opened(content))


def test_headers_that_continue_in_a_circle() -> None:
    content = base()
    (root,) = struct.unpack_from("<Q", content, 64)
    struct.pack_into("<HHB", content, root + 16, 0x10, 16, 0)
    struct.pack_into("<QQ", content, root + 24, root + 16, 40)
    with pytest.raises(FormatError, match="expected an end; received a circle"):
        opened(content)


def test_a_group_within_itself() -> None:
    """As deep as a caller follows it; a caller has a limit of its own (`keras_weights`)."""
    content = base()
    (root,) = struct.unpack_from("<Q", content, 64)
    for node in positions(content, b"SNOD"):
        struct.pack_into("<Q", content, node + 16, root)
    group = opened(content)
    for _ in range(100):
        group = group.get(group.names()[0])  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("mark", "offset", "form", "value"),
    [
        (b"HEAP", 8, "<Q", 2**63),  # the size of names
        (b"HEAP", 24, "<Q", 2**64 - 8),  # their address
        (b"TREE", 6, "<H", 65535),  # entries
        (b"SNOD", 6, "<H", 65535),  # links
        (b"SNOD", 8, "<Q", 2**40),  # the offset of a name
        (b"SNOD", 16, "<Q", 2**50),  # the address of a header
        (b"GCOL", 8, "<Q", 2**62),  # the size of a heap
        (b"GCOL", 24, "<Q", 2**60),  # of an object in it
    ],
)
def test_sizes_and_addresses_beyond_the_file(
    mark: bytes, offset: int, form: str, value: int
) -> None:
    content = base()
    for at in positions(content, mark):
        struct.pack_into(form, content, at + offset, value)
    with pytest.raises(FormatError):
        read_all(opened(content))


def test_a_dataset_of_terabytes() -> None:
    content = base()
    shape = struct.pack("<QQ", 4, 4)  # the sizes, and the most that they may become
    for at in positions(content, shape):
        struct.pack_into("<QQ", content, at, 2**40, 2**40)
    with pytest.raises(FormatError, match=f"expected {2**43} bytes of data; received 32"):
        read_all(opened(content))


def test_one_large_part_shared_by_many_is_not_read_often() -> None:
    def write(file: h5py.File) -> None:
        for i in range(300):
            file[f"{i:03}"] = np.zeros(10_000, "u1")

    content = bytearray(written(write))
    layouts = positions(content, struct.pack("<BB", 3, 1))
    addresses = [struct.unpack_from("<QQ", content, at + 2) for at in layouts]
    first = min(address for address, size in addresses if size == 10_000)
    for at, (_, size) in zip(layouts, addresses, strict=True):
        if size == 10_000:
            struct.pack_into("<Q", content, at + 2, first)
    del content[-2_000_000:]  # what nothing points to any longer
    struct.pack_into("<Q", content, 40, len(content))
    with pytest.raises(FormatError):
        read_all(opened(content))
