"""keras.json: found, read, never written."""

from __future__ import annotations

import errno
import json
import os
import warnings
from pathlib import Path

import pytest
from support import run_python

from dwconv import DepthwiseConv2D, config


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home directory; KERAS_HOME is not set."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.delenv("KERAS_HOME", raising=False)
    return tmp_path


def write(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "keras.json"
    path.write_text(text, encoding="utf-8")
    return path


def test_without_a_file(home: Path) -> None:
    assert config.image_data_format() == "channels_last"
    assert list(home.iterdir()) == []  # nothing was created


def test_home(home: Path) -> None:
    write(home / ".keras", json.dumps({"image_data_format": "channels_first", "floatx": "float32"}))
    assert config.image_data_format() == "channels_first"


def test_keras_home_comes_first(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home / ".keras", json.dumps({"image_data_format": "channels_first"}))
    monkeypatch.setenv("KERAS_HOME", str(home / "k"))
    assert config.image_data_format() == "channels_first"  # no file in KERAS_HOME
    write(home / "k", json.dumps({"image_data_format": "Channels_Last"}))
    assert config.image_data_format() == "channels_last"


def test_entry_missing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first file decides, also with what it leaves out."""
    write(home / ".keras", json.dumps({"image_data_format": "channels_first"}))
    write(home / "k", "{}")
    monkeypatch.setenv("KERAS_HOME", str(home / "k"))
    assert config.image_data_format() == "channels_last"


BROKEN = {
    "empty": b"",
    "half written": b'{\n    "floatx": "float32",\n    "eps',
    "mistyped": b'{"image_data_format": "channels_last",}',
    "an array": b"[]",
    "a string": b'"channels_first"',
    "a name of another framework": b'{"image_data_format": "NCHW"}',
    "null": b'{"image_data_format": null}',
    "a number": b'{"image_data_format": 1}',
    "no text": b"\xff\xfe\x80",
    "nested deep": b"[" * 100_000,
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
@pytest.mark.parametrize("kind", ["FIFO", "device"])
def test_no_regular_file(home: Path, kind: str) -> None:
    """A FIFO would block for ever, and /dev/zero has no end."""
    path = home / ".keras" / "keras.json"
    path.parent.mkdir()
    os.mkfifo(path) if kind == "FIFO" else path.symlink_to("/dev/zero")
    code = "import dwconv; print(dwconv.DepthwiseConv2D(3).data_format)"
    done = run_python("-c", code, HOME=str(home), KERAS_HOME="")
    assert done.stdout == "channels_last\n", done
    assert "expected a regular file" in done.stderr


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_broken_file(home: Path, content: bytes) -> None:
    """Such a file stops no layer: Keras' default, and one warning that names the file."""
    path = write(home / ".keras", "")
    path.write_bytes(content)
    with pytest.warns(RuntimeWarning, match="expected a readable keras.json") as caught:
        assert config.image_data_format() == "channels_last"
    assert str(caught[0].message).startswith(f"{path}: ")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert DepthwiseConv2D(3).data_format == "channels_last"  # no second warning
    assert path.read_bytes() == content


def test_directory_in_its_place(home: Path) -> None:
    (home / ".keras" / "keras.json").mkdir(parents=True)
    with pytest.warns(RuntimeWarning, match="expected a readable"):
        assert config.image_data_format() == "channels_last"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_home_that_may_not_be_entered(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that runs as another user than its HOME's. Root may enter all, so the system says
    no here instead of a mode.
    """

    def refused(path: Path, **_: object) -> os.stat_result:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", refused)
    with pytest.warns(RuntimeWarning, match="Permission denied"):
        assert config.image_data_format() == "channels_last"


def test_a_broken_file_hides_the_other(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first file that exists decides: what KERAS_HOME should have said is not known."""
    write(home / ".keras", json.dumps({"image_data_format": "channels_first"}))
    write(home / "k", "{")
    monkeypatch.setenv("KERAS_HOME", str(home / "k"))
    with pytest.warns(RuntimeWarning, match="keras.json"):
        assert config.image_data_format() == "channels_last"
