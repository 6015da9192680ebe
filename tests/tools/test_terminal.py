"""What is printed is harmless, whatever a file holds."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.layers import isolate

import dwconv
from dwconv.__main__ import main
from dwconv.cli import progress
from dwconv.terminal import printable

#: Clears the screen, sets the title, forges a line, turns text around, cannot be encoded.
NASTY = "a\x1b[2J\x1b]0;title\x07\nkind     forged\r\u202e\x9b\ud800\u2028\u200b"


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


def assert_harmless(text: str) -> None:
    assert "forged" in text, text
    assert not any(line.startswith("kind     forged") for line in text.splitlines())
    wrong = {each for each in text if not each.isprintable() and each != "\n"}
    assert not wrong, (wrong, text)


def test_printable() -> None:
    assert printable("dw/深度 ä") == "dw/深度 ä"
    assert printable(Path("a b")) == "a b"
    assert printable("\x1b[2J\n\u202e\ud800") == r"\x1b[2J\n\u202e\ud800"
    assert_harmless(printable(NASTY))


def file_with(name: str, path: Path) -> Path:
    layers: list[dict[str, Any]] = [
        {"class_name": "DepthwiseConv2D", "config": {"name": name, "kernel_size": [3, 3]}},
        {"class_name": f"Den{name}se", "config": {"name": f"x{name}"}},
    ]
    document = {"class_name": "Sequential", "config": {"name": "m", "layers": layers}}
    path.write_text(json.dumps({**document, "keras_version": f"3.1{name}"}), encoding="ascii")
    return path


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = file_with(NASTY, tmp_path / "m.json")
    assert main(["inspect", str(source)]) == 0
    assert_harmless("".join(capsys.readouterr()))
    target = str(tmp_path / "o.npz")
    assert main(["convert", str(source), target]) == 0
    assert_harmless("".join(capsys.readouterr()))
    assert main(["inspect", target]) == 0
    assert_harmless("".join(capsys.readouterr()))
    assert main(["convert", str(source), target, "--layer", NASTY[1:]]) == 2
    assert_harmless("".join(capsys.readouterr()))
    with pytest.raises(dwconv.FormatError) as caught:
        dwconv.load(source)
    assert_harmless(str(caught.value))


def test_summaries(capsys: pytest.CaptureFixture[str]) -> None:
    layer = dwconv.DepthwiseConv2D(1, name=NASTY)
    model = dwconv.Sequential([layer], name=NASTY)
    model(np.zeros((1, 2, 2, 1)))
    model.summary()
    assert_harmless(capsys.readouterr().out)
    assert_harmless(repr(layer) + repr(model))


def test_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("COLUMNS", "300")
    assert list(progress.progress([1], NASTY)) == [1]
    own = stream.getvalue().replace("\r", "").replace("\x1b[K", "")
    assert_harmless(own)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_output_that_holds_no_boxes(encoding: str, tmp_path: Path) -> None:
    path = file_with("深度", tmp_path / "m.json")
    done = subprocess.run(
        [sys.executable, "-m", "dwconv", "inspect", str(path)],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
    )
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode(encoding)
    assert ("深度" if encoding == "utf-8" else r"\u6df1\u5ea6") in text
    assert ("┏" if encoding == "utf-8" else "+--") in text
