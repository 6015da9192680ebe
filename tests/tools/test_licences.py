"""The licence of all data in the sdist is named, in the table of tests/data/README.md."""

from __future__ import annotations

import re
from pathlib import Path

from support import ROOT

README = ROOT / "tests" / "data" / "README.md"

#: Text that people have written: LICENSE is of these.
WRITTEN = {".c", ".cc", ".cpp", ".h", ".inc", ".pxi", ".py", ".pyx", ".pxd", ".pyi"}
WRITTEN |= {".md", ".txt", ".sh", ".in", ".yaml", ".yml", ".toml", ".cff", ".typed"}
NAMES = {"Dockerfile", "Makefile", "LICENSE", "pyrightconfig.json"}

#: What a build or a run leaves in a clone; MANIFEST.in excludes it, or nothing includes it.
MADE = {".so", ".o", ".pyc", ".pyd"}


def folders() -> list[Path]:
    """The folders that MANIFEST.in takes whole."""
    manifest = (ROOT / "MANIFEST.in").read_text(encoding="utf-8")
    return [ROOT / name for name in re.findall(r"^graft (\S+)$", manifest, re.MULTILINE)]


def licences() -> dict[Path, str]:
    """Path of data -> its licence, as the table says."""
    rows = re.findall(r"^\| (`.+?) \| (\S+) \|", README.read_text(encoding="utf-8"), re.MULTILINE)
    return {
        ROOT / path: licence
        for paths, licence in rows
        for path in re.findall(r"`([\w./-]+)`", paths)
        if "/" in path
    }


def unnamed(paths: list[Path], named: dict[Path, str]) -> list[Path]:
    """The files of data among these that no row of the table is about."""
    return [
        path
        for path in paths
        if path.suffix not in WRITTEN | MADE
        and path.name not in NAMES
        and not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
        and not any(path.is_relative_to(data) for data in named)
    ]


def test_each_file_of_data_has_a_licence() -> None:
    files = [path for folder in folders() for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 400
    assert unnamed(files, licences()) == []


def test_a_new_file_would_be_seen() -> None:
    new = ROOT / "docs" / "images" / "other.jpg"
    assert unnamed([new], licences()) == [new]


def test_the_table_names_what_is_there() -> None:
    found = licences()
    assert set(found.values()) == {"Apache-2.0", "CC0-1.0"}
    for path in found:
        assert path.exists(), path
    assert 'license = "Apache-2.0"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
