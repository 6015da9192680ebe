"""What the documents say is so: the README's example, the files and commands that they name."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import numpy as np
import pytest

import dwconv

ROOT = Path(__file__).parents[2]
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "bench/README.md"]


def test_readme_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    failed, tried = doctest.testfile(str(ROOT / "README.md"), module_relative=False)
    assert tried >= 3
    assert failed == 0


#: Modules with examples in their docstrings.
PACKAGE = Path(dwconv.__file__).parent
WITH_EXAMPLES = [
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted(PACKAGE.rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_docstring_examples(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(f"dwconv.{name}")
    names = {"DepthwiseConv2D": dwconv.DepthwiseConv2D, "np": np}
    failed, tried = doctest.testmod(module, extraglobs=names)
    assert tried
    assert failed == 0


def test_there_are_examples_of_what_is_used_most() -> None:
    assert {"saving", "optimizers", "ops.convolution", "ops.gradients"} <= set(WITH_EXAMPLES)
    assert {"layers.depthwise_conv2d", "layers.sequential"} <= set(WITH_EXAMPLES)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_make_targets_exist(document: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z-]+)", (ROOT / document).read_text(encoding="utf-8")))
    assert named
    assert named <= targets


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    path = ROOT / document
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target


def test_the_map_names_files_that_exist_and_every_module() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?`) \|", text, re.MULTILINE)
    assert len(rows) > 10
    named = set()
    for row in rows:
        names = re.findall(r"`([^`]+)`", row)
        if names[0].startswith(("make ", ".ci/")):
            continue
        top = names[0].partition("/")[0]
        folder = ROOT / Path(names[0]).parent  # that of names without one
        for name in names:
            path = ROOT / name if name.startswith(f"{top}/") else folder / name
            if not path.exists():
                path = ROOT / top / name
            assert path.exists(), f"the map names {name}"
            named.add(path)
    for module in (ROOT / "dwconv").rglob("*.py"):
        if module.name in {"_version.py", "__init__.py"} or module.parent.name == "cli":
            continue
        whole = module.relative_to(ROOT).as_posix()
        beside = f"`{module.name}`" in text or f"`{whole}`" in text
        assert beside, f"the map does not name {module.name}"


def test_addresses_are_the_same_everywhere() -> None:
    """The repository's and the site's, in the metadata, CITATION.cff and the documents."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    table = text.partition("[project.urls]\n")[2].partition("\n\n")[0]
    urls = dict(re.findall(r'^(\w+) = "(\S+)"$', table, re.MULTILINE))
    source, site = urls["Source"], urls["Documentation"]
    assert urls["Issues"] == f"{source}/issues"
    assert urls["Changelog"] == f"{source}/blob/main/CHANGELOG.md"
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r'^repository-code: "(.*)"$', citation, re.MULTILINE) == [source]
    assert re.findall(r'^url: "(.*)"$', citation, re.MULTILINE) == [site]
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        found = re.findall(r"https://[\w./-]*dwconv[\w./-]*", path.read_text(encoding="utf-8"))
        assert all(url.startswith((source, site)) for url in found), (path, found)
