"""JSON and zip archives that are too much, or not what they seem."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
from support import ASAN, mutations, run_python, slow
from support.layers import isolate
from test_saving import filled

import dwconv
from dwconv import FormatError
from dwconv.formats import entries, short, untrusted
from dwconv.formats.budget import Budget


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


def opened(content: bytes) -> untrusted.Archive:
    return untrusted.Archive(io.BytesIO(content), Budget(len(content)))


def archive(
    *members: tuple[str, bytes], compression: int = zipfile.ZIP_STORED
) -> untrusted.Archive:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that comes twice
        for name, content in members:
            file.writestr(name, content)
    return opened(buffer.getvalue())


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../x", "a/../../x", "C:/x", "\\\\host\\x", "..\\x", "a\\..\\x"]
)
def test_names_that_lead_elsewhere(name: str) -> None:
    with pytest.raises(FormatError, match="expected names within the archive"):
        archive((name, b""))


def test_a_name_that_comes_twice() -> None:
    with pytest.raises(FormatError, match="expected each member once; received 'a' 2 times"):
        archive(("a", b"1"), ("a", b"2"))


def test_a_member_is_read_whole_or_not() -> None:
    found = archive(("a", b"1234"), ("b", b""))
    assert found.read("a") == b"1234"
    assert found.read("b") == b""
    with pytest.raises(FormatError, match="expected a member 'c'"):
        found.read("c")
    with pytest.raises(FormatError, match=r"a: expected at most 3 bytes .* received 4"):
        found.read("a", 3)


def test_compressed_members_are_fine_as_long_as_they_are_small() -> None:
    found = archive(("a", b"1234" * 1000), compression=zipfile.ZIP_DEFLATED)
    assert found.read("a") == b"1234" * 1000
    found = archive(("a", b"1234" * 1000), compression=zipfile.ZIP_LZMA)
    with pytest.raises(FormatError, match="expected a stored or deflated member"):
        found.read("a")


def test_bombs() -> None:
    """A thousand times its size, said or kept secret; 42.zip has such layers, but nobody here
    unpacks an archive in an archive.
    """
    content = b"\0" * (64 << 20)
    found = archive(("a", content), compression=zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match=f"a: expected at most .* received {len(content)}"):
            found.read("a")
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("a", content)
        lying = bytearray(buffer.getvalue())
        for mark, offset in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
            struct.pack_into("<I", lying, lying.find(mark) + offset, 1000)
        with pytest.raises(FormatError, match="a: damaged: Bad CRC"):
            opened(bytes(lying)).read("a")
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_table_of_contents_of_millions() -> None:
    many = io.BytesIO()
    with zipfile.ZipFile(many, "w") as file:
        for i in range(20_000):
            file.writestr(f"{i:040}", b"")
    with pytest.raises(FormatError, match="a table of contents of more than"):
        opened(many.getvalue())


def test_encrypted_members() -> None:
    buffer = io.BytesIO(mutations.archive({"a": b"1234"}))
    content = bytearray(buffer.getvalue())
    content[content.find(b"PK\1\2") + 8] |= 1
    content[content.find(b"PK\3\4") + 6] |= 1
    with pytest.raises(FormatError, match=r"a: damaged: .*encrypted"):
        opened(bytes(content)).read("a")


# ---- JSON ----------------------------------------------------------------------------------------


def parse(raw: bytes | str) -> Any:
    return untrusted.parse_json(raw, "it")


def test_json() -> None:
    assert parse('{"a": [1, 2.5, null, "ä"]}') == {"a": [1, 2.5, None, "ä"]}
    assert parse('{"a": "ä"}'.encode()) == {"a": "ä"}
    with pytest.raises(FormatError, match="it: expected each key once; received 'a' twice"):
        parse('{"b": {"a": 1, "a": 2}}')


@pytest.mark.parametrize(
    "raw", ["", "{", "[" * 100_000, '{"a":' * 100_000, b"\xff\xfe", "9" * 99_999]
)
def test_what_is_no_json(raw: bytes | str) -> None:
    with pytest.raises(FormatError, match="it: expected"):
        parse(raw)


def test_what_is_nested_as_deep_as_can_be_has_a_short_form() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert short(deep) == "[" * 9 + "..." + "]" * 9
    for depth in range(900, 1000):  # to where the parser gives up
        text = '{"class_name": "Sequential", "config": [' + "[" * depth + "]" * depth + "]}"
        with pytest.raises(FormatError, match="expected"):
            list(entries.walk(entries.as_entry(parse(text))))


SMALL_STACK = """
import sys, threading
from pathlib import Path
import dwconv, dwconv.saving
def work():
    try:
        dwconv.load_layers(Path(sys.argv[1]))
    except dwconv.FormatError as error:
        print(error)
threading.stack_size(int(sys.argv[2]) << 10)
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


@pytest.mark.skipif(ASAN, reason="takes more of the stack")
@pytest.mark.parametrize("kilobytes", [128, *slow(256, 1024)])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 199_000, "expected JSON nested at most 128 deep; received 199000 levels"),
        ('["\\\\", "\\"[", ' + '{"a":[' * 90_000, "at most 128 deep; received 180001 levels"),
        ("[" * 129 + "]" * 129, "expected JSON nested at most 128 deep; received 129 levels"),
        ("[" * 128 + "]" * 128, "expected an item with class_name and config"),
        ('{"a":' * 127 + "[]" + "}" * 127, "expected"),
    ],
    ids=["lists", "escapes", "one more", "the most", "the most of objects"],
)
def test_deep_json_in_a_thread_with_a_small_stack(
    text: str, message: str, kilobytes: int, tmp_path: Path
) -> None:
    """musl gives threads 128 KB; the parser of `json` takes some of that for each level."""
    path = tmp_path / "deep.json"
    path.write_text(text, encoding="utf-8")
    done = run_python("-c", SMALL_STACK, str(path), str(kilobytes))
    assert done.returncode == 0, done.stderr
    assert message in done.stdout


@pytest.mark.parametrize(
    ("text", "depth"),
    [("", 0), ("[]", 1), ('["[[["]', 1), (r'["\"[[", "]"]', 1), (r'["\\", [{}]]', 3), ("]]]", 0)],
)
def test_the_depth_of_json(text: str, depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(untrusted, "MAX_DEPTH", depth)
    assert untrusted.too_much(text.encode()) is None
    monkeypatch.setattr(untrusted, "MAX_DEPTH", depth - 1)
    assert f"received {depth} levels" in str(untrusted.too_much(text.encode()))


def test_json_is_utf_8() -> None:
    text = json.dumps({"ä": "[" * 500}, ensure_ascii=False)
    assert parse(text.encode("utf-8-sig")) == {"ä": "[" * 500}
    for encoding in ("utf-16", "utf-16-le", "utf-32"):
        with pytest.raises(FormatError, match="it: expected JSON"):
            parse(text.encode(encoding))


@pytest.mark.parametrize("suffix", [".json", ".keras"])
def test_a_file_of_dwconv_whose_layer_is_none(suffix: str, tmp_path: Path) -> None:
    document = {
        "class_name": "Sequential",
        "config": {"name": "s", "layers": [[1]]},
        "dwconv": {"layer": {}},
    }
    path = tmp_path / f"dw{suffix}"
    content = json.dumps(document).encode()
    if suffix == ".keras":
        filled().save(path)
        parts = mutations.members(path.read_bytes())
        content = mutations.archive({**parts, "config.json": content})
    path.write_bytes(content)
    for read in (dwconv.load, dwconv.load_layers, filled().load_weights):
        with pytest.raises(FormatError, match=r"expected a model of one layer; received \[\[1\]\]"):
            read(path)


def test_too_much_json_is_not_parsed() -> None:
    with pytest.raises(FormatError, match="it: expected at most"):
        parse('"' + "x" * untrusted.MAX_JSON + '"')
    with pytest.raises(FormatError, match="it: expected at most"):
        parse("[" + "{}," * untrusted.MAX_ITEMS + "0]")
    # The most that is parsed: objects of one key are what takes the most memory per item.
    text = json.dumps(
        [{f"{i}": 0} for i in range(untrusted.MAX_ITEMS // 2 - 1)], separators=(",", ":")
    )
    tracemalloc.start()
    try:
        parse(text)
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()


# ---- the same in files ---------------------------------------------------------------------------


def test_archives_that_are_too_much_as_files(tmp_path: Path) -> None:
    path = tmp_path / "dw.keras"
    filled().save(path)
    parts = mutations.members(path.read_bytes())
    for name, content, message in (
        ("config.json", b"[" * 1_000_000, "config.json: expected"),
        ("config.json", b'{"a":' * 50_000, "config.json: expected JSON"),
        ("config.json", b"7", "expected the config of a model"),
        ("metadata.json", b"[]", "metadata.json: expected a JSON object"),
        ("model.weights.h5", b"", r"model\.weights\.h5: expected an HDF5 file"),
        ("model.weights.h5", parts["model.weights.h5"][:-1], r"model\.weights\.h5: truncated"),
    ):
        path.write_bytes(mutations.archive({**parts, name: content}))
        with pytest.raises(FormatError, match=message):
            dwconv.load(path)
    del parts["config.json"]
    path.write_bytes(mutations.archive(parts))
    with pytest.raises(FormatError, match=r"expected a member 'config\.json'"):
        dwconv.load(path)


def test_nothing_in_a_file_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of the user's that a config names is not imported, a lambda not unpickled."""
    (tmp_path / "trap.py").write_text("raise SystemExit('imported')", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "dw.json"
    filled().save(path)
    document = json.loads(path.read_text(encoding="utf-8"))
    config = document["config"]["layers"][1]["config"]
    code = ["4wEAAAAAAAAAAAAAAAIAAAADAAAAAAAAAA==", None, None]
    for key, value in (
        ("activation", {"module": "trap", "class_name": "f", "config": {}, "registered_name": "f"}),
        ("activation", {"class_name": "__lambda__", "config": {"value": code}}),
        ("activation", {"module": "builtins", "class_name": "function", "config": "eval"}),
        ("depthwise_initializer", {"module": "trap", "class_name": "Zeros", "config": {}}),
        ("bias_constraint", {"module": "os", "class_name": "system", "config": {"command": "x"}}),
        ("dtype", {"module": "trap", "class_name": "P", "config": {"name": "float32"}}),
    ):
        changed = json.loads(json.dumps(document))
        changed["config"]["layers"][1]["config"] = {**config, key: value}
        path.write_text(json.dumps(changed), encoding="utf-8")
        with pytest.raises(FormatError, match="layer 'dw': "):
            dwconv.load(path)


@pytest.mark.parametrize("compressed", [False, True])
def test_large_members_are_read_in_pieces(
    compressed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bytes, and damage is noticed: in the data, in its length, in the table."""
    monkeypatch.setattr(untrusted, "_LARGE", 10)
    monkeypatch.setattr(untrusted.plain, "AT_ONCE", 7)
    content = bytes(range(100))
    kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    for size in (9, 10, 11, 14, 100):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", kind) as archive:
            archive.writestr("a", content[:size])
        whole = file.getvalue()

        def read(raw: bytes) -> bytes:
            file = io.BytesIO(raw)
            return bytes(untrusted.Archive(file, Budget(len(raw))).read("a"))

        assert read(whole) == content[:size]
        table = whole.rindex(b"PK\1\2")
        for at, change in ((16, 1), (24, 1), (24, -1)):  # the checksum, the size
            damaged = bytearray(whole)
            damaged[table + at] = (damaged[table + at] + change) % 256
            with pytest.raises(FormatError):
                read(bytes(damaged))
