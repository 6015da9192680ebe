"""The pages of the site: their examples run, every public name has one, links lead somewhere."""

from __future__ import annotations

import doctest
import importlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import dwconv
from dwconv import config, wisdom

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md"))
REFERENCE = [path for path in PAGES if path.parent.name == "reference"]

_BLOCK = re.compile(r"^<!-- needs: (?P<needs>\w+) -->$|^```pycon\n(?P<code>.*?)^```$", re.M | re.S)


def page_name(path: Path) -> str:
    return path.relative_to(DOCS).with_suffix("").as_posix()


def blocks(path: Path) -> Iterator[tuple[int, str, str | None]]:
    """(line, examples, the module that these need) of each block of a page.

    `<!-- needs: MODULE -->` is for all blocks after it.
    """
    text = path.read_text(encoding="utf-8")
    needs = None
    for match in _BLOCK.finditer(text):
        if match["needs"]:
            needs = match["needs"]
        else:
            yield text.count("\n", 0, match.start("code")), match["code"], needs


def is_here(module: str) -> bool:
    """Keras counts where its backend is one that dwconv is for."""
    if module == "keras" and os.environ.get("KERAS_BACKEND") not in ("jax", "torch"):
        return False
    return importlib.util.find_spec(module) is not None


@pytest.fixture
def settings(registering: None) -> Iterator[None]:
    """Examples set what holds for the process, measure and register."""
    before = config.num_threads(), config.denormals(), config.planning(), config.planning_budget()
    printing = np.get_printoptions()
    yield
    config.set_num_threads(before[0])
    config.set_denormals(before[1])
    config.set_planning(before[2], milliseconds=before[3] * 1000)
    wisdom.forget()
    np.set_printoptions(**printing)


WITH_EXAMPLES = [path for path in PAGES if any(True for _ in blocks(path))]


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=page_name)
@pytest.mark.usefixtures("settings")
def test_examples(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a page share names, except in the reference: there each shows its imports."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    names: dict[str, Any] = {}
    ran, missing = 0, set()
    for line, code, needs in blocks(path):
        if needs is not None and not is_here(needs):
            missing.add(needs)
            continue
        if path in REFERENCE:
            names = {}
        example = doctest.DocTestParser().get_doctest(code, names, page_name(path), str(path), line)
        runner = doctest.DocTestRunner()
        said: list[str] = []
        runner.run(example, out=said.append, clear_globs=False)
        names = example.globs
        assert runner.failures == 0, "".join(said)
        ran += runner.tries
    if missing and not ran:
        pytest.skip(f"needs {', '.join(sorted(missing))}")
    assert ran


#: Modules whose `__all__` the reference documents.
PUBLIC = [
    dwconv,
    *(value for name in dwconv.__all__ if isinstance(value := getattr(dwconv, name), ModuleType)),
]


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: module.__name__)
def test_every_public_name_has_an_example(module: ModuleType) -> None:
    examples = [code for path in REFERENCE for _, code, _ in blocks(path)]
    short = module.__name__.rpartition(".")[2]
    for name in module.__all__:
        used = re.compile(rf"\b{short}\.{name}\b")
        if module is dwconv and isinstance(getattr(module, name), ModuleType):
            used = re.compile(rf"\bdwconv\.{name}\b|\bfrom dwconv import [^\n]*\b{name}\b")
        found = any(
            used.search(code)
            or (f"from {module.__name__} import" in code and re.search(rf"\b{name}\b", code))
            for code in examples
        )
        assert found, f"docs/reference: expected an example of {module.__name__}.{name}"


def test_adapters_have_examples() -> None:
    text = (DOCS / "reference" / "adapters.md").read_text(encoding="utf-8")
    for path in [
        ROOT / "dwconv" / "jax" / "__init__.py",
        ROOT / "dwconv" / "keras" / "__init__.py",
        ROOT / "dwconv" / "torch" / "__init__.py",
        ROOT / "dwconv" / "dask" / "__init__.py",
        ROOT / "dwconv" / "xarray.py",
    ]:
        names = re.search(r"__all__ = \[(.*?)\]", path.read_text(encoding="utf-8"), re.S)
        assert names
        module = path.parent.name if path.stem == "__init__" else path.stem
        for name in re.findall(r'"(\w+)"', names[1]):
            assert f"dwconv.{module}.{name}(" in text


def headings(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub and MyST make them."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    found = set()
    for title in re.findall(r"^#+ (.+)$", text, re.M):
        words = re.sub(r"[^\w\- ]", "", title.replace("`", "").lower())
        found.add(words.replace(" ", "-"))
    return found


@pytest.mark.parametrize("path", PAGES, ids=page_name)
def test_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target, anchor in re.findall(r"\]\((?![a-z]+:)([^)#\s]*)(#[^)\s]*)?\)", text):
        there = (path.parent / target).resolve() if target else path
        assert there.exists(), target
        if anchor and there.suffix == ".md":
            assert anchor[1:] in headings(there.read_text(encoding="utf-8")), target + anchor


def test_every_page_is_in_the_table_of_contents() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    listed = {
        line
        for block in re.findall(r"```\{toctree\}(.*?)```", index, re.S)
        for line in block.split("\n")
    }
    assert {page_name(path) for path in PAGES} - {"index"} <= listed


def test_the_command_line_page_shows_the_help() -> None:
    from dwconv.__main__ import _parser

    text = (DOCS / "reference" / "command-line.md").read_text(encoding="utf-8")
    assert sys.version_info < (3, 13) or "[" in text  # argparse's words differ from 3.13 on
    parser = _parser()
    (commands,) = (action for action in parser._actions if action.dest == "command")
    assert commands.choices
    for name, command in commands.choices.items():
        assert f"## dwconv {name}\n" in text
        for action in command._actions:
            for option in action.option_strings:
                if option not in ("-h", "--help"):
                    assert f"`{option}" in text, f"{name} {option}"
