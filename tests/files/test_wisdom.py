"""Files of what was measured: written whole, read with suspicion."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dwconv
from dwconv import FormatError, config, isa, planning, wisdom

PROBLEM = "56x56x128 k3x3 s1x1 d1x1 p1.1.1.1 m1 float32 channels_last t1"


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    wisdom.forget()
    config.set_planning("estimate", 400)  # time enough on a busy machine
    yield
    wisdom.forget()
    config.set_planning("estimate", 20)


def written(tmp_path: Path, change: Any = None) -> Path:
    """A file of one strategy; `change` gets its document before."""
    planning.remember(isa.default(), PROBLEM, "k3x3s1_t2x4_avx2+aligned")
    path = tmp_path / "wisdom.json"
    assert wisdom.save(path) == 1
    wisdom.forget()
    if change is not None:
        document = json.loads(path.read_text(encoding="utf-8"))
        result = change(document)
        path.write_text(json.dumps(document if result is None else result), encoding="utf-8")
    return path


def test_round_trip(tmp_path: Path) -> None:
    planning.remember("portable", PROBLEM, "general_portable")
    layer = dwconv.DepthwiseConv2D(3)
    measured = layer.plan((1, 12, 12, 48), effort="measure")
    known = planning.all_known()
    path = tmp_path / "wisdom.json"
    assert wisdom.save(path) == len(known) == 2
    assert wisdom.forget() == 2
    assert layer.plan((1, 12, 12, 48)).describe().planned_by == "estimate"
    assert wisdom.load(path) == wisdom.Loaded(used=2, ignored=0) == (2, 0)
    assert planning.all_known() == known
    plan = layer.plan((1, 12, 12, 48))
    assert plan.describe().planned_by == "wisdom"
    assert plan.strategy == measured.strategy
    before = path.read_bytes()
    wisdom.save(path)
    assert path.read_bytes() == before
    assert [child.name for child in tmp_path.iterdir()] == ["wisdom.json"]  # no temporary is left


def test_the_file_can_be_read_by_people(tmp_path: Path) -> None:
    document = json.loads(written(tmp_path).read_text(encoding="ascii"))
    assert document["format"] == "dwconv wisdom"
    assert document["version"] == 1
    (machine,) = document["machines"]
    assert machine["library"] == dwconv.__version__
    assert machine["isa"] == isa.default()
    assert f"family {isa.cpu()['family']}" in machine["cpu"]
    assert machine["strategies"] == {PROBLEM: "k3x3s1_t2x4_avx2+aligned"}


@pytest.mark.parametrize(
    ("key", "value"), [("library", "0.0.1"), ("cpu", "another"), ("isa", "rvv"), ("isa", "neon2")]
)
def test_what_is_for_others_is_ignored_and_counted(tmp_path: Path, key: str, value: str) -> None:
    path = written(tmp_path, lambda document: document["machines"][0].update({key: value}))
    assert wisdom.load(path) == (0, 1)
    assert planning.all_known() == {}


def first(document: Any) -> Any:
    return document["machines"][0]


WRONG: dict[str, tuple[Any, str]] = {
    "no object": (lambda d: [d], "expected a JSON object"),
    "another format": (lambda d: d.update(format="fftw"), "format: expected 'dwconv wisdom'"),
    "a newer format": (lambda d: d.update(version=2), "newer"),
    "no version": (lambda d: d.pop("version") and None, "version: expected an integer"),
    "version true": (lambda d: d.update(version=True), "version: expected an integer"),
    "version 0": (lambda d: d.update(version=0), "version: expected an integer from 1"),
    "huge version": (lambda d: d.update(version=10**400), "version: expected"),
    "no machines": (lambda d: d.update(machines={}), "machines: expected a list"),
    "machine": (lambda d: d["machines"].append(3), r"machines\[1\]: expected an object"),
    "isa": (lambda d: first(d).update(isa=None), "isa: expected a string"),
    "strategies": (lambda d: first(d).update(strategies=[]), "strategies: expected an object"),
    "problem": (lambda d: first(d)["strategies"].update({"1x1": "k"}), "expected a problem"),
    "strategy": (lambda d: first(d)["strategies"].update({PROBLEM: 7}), "expected a string"),
    "name": (lambda d: first(d)["strategies"].update({PROBLEM: "../\n"}), "name of a strategy"),
    "long name": (lambda d: first(d)["strategies"].update({PROBLEM: "k" * 96}), "name of a str"),
    "long problem": (
        lambda d: first(d)["strategies"].update({"9" * 1000 + PROBLEM: "k"}),
        "expected a problem",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_hostile_and_foreign_files(tmp_path: Path, what: str) -> None:
    change, message = WRONG[what]
    path = written(tmp_path, change)
    with pytest.raises(FormatError, match=message) as caught:
        wisdom.load(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert planning.all_known() == {}, "part of a wrong file was taken"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x89HDF\r\n\x1a\n",
        b"{" * 100_000,
        b'{"format": "dwconv wisdom", "format": "dwconv wisdom"}',
        b'{"a": "\xff"}',
        b" " * (9 << 20),
    ],
    ids=["empty", "HDF5", "deep", "twice", "no UTF-8", "large"],
)
def test_no_json(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "wisdom.json"
    path.write_bytes(raw)
    with pytest.raises(FormatError):
        wisdom.load(path)


def test_every_cut_is_an_error(tmp_path: Path) -> None:
    path = written(tmp_path)
    whole = path.read_bytes().rstrip()
    for length in range(0, len(whole), 3):
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError):
            wisdom.load(path)


def test_paths(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        wisdom.load(tmp_path / "none.json")
    with pytest.raises(IsADirectoryError):
        wisdom.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        wisdom.save(tmp_path / "no folder" / "wisdom.json")
    path = written(tmp_path)
    before = path.read_bytes()
    with pytest.raises(IsADirectoryError):
        wisdom.save(tmp_path)
    assert path.read_bytes() == before


def test_nothing_known_is_a_file_too(tmp_path: Path) -> None:
    path = tmp_path / "wisdom.json"
    assert wisdom.save(path) == 0
    assert wisdom.load(path) == (0, 0)
