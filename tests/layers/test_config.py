"""keras.json: found, read, never written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dwconv import config


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


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '"channels_first"',
        '{"image_data_format": "NCHW"}',
        '{"image_data_format": null}',
    ],
)
def test_broken_file(home: Path, text: str) -> None:
    path = write(home / ".keras", text)
    with pytest.raises(ValueError, match="expected") as caught:
        config.image_data_format()
    assert str(caught.value).startswith(f"{path}: ")
    assert path.read_text(encoding="utf-8") == text


def test_not_text(home: Path) -> None:
    path = write(home / ".keras", "")
    path.write_bytes(b"\xff\xfe\x80")
    with pytest.raises(ValueError, match="expected a readable"):
        config.image_data_format()


def test_directory_in_its_place(home: Path) -> None:
    (home / ".keras" / "keras.json").mkdir(parents=True)
    with pytest.raises(ValueError, match="expected a readable"):
        config.image_data_format()
