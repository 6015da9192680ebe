"""The site: `make docs` builds it into build/docs, with warnings as errors.

A page may link to any file of the repository by its relative path, as GitHub shows it. On the site
a link that leaves `docs/` leads to the repository, and a page of `PAGES` has the text of a file
that is elsewhere.
"""

from __future__ import annotations

import os
import posixpath
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from sphinx.application import Sphinx

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path.insert(0, str(DOCS / "_extensions"))

_metadata = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
_version: dict[str, str] = {}
exec((ROOT / "dwconv" / "_version.py").read_text(encoding="utf-8"), _version)
SOURCE = _metadata["urls"]["Source"] + "/blob/main"

project = "dwconv"
author = _metadata["authors"][0]["name"]
copyright = author  # noqa: A001 (Sphinx's name)
release = version = _version["__version__"]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.intersphinx",
    "sphinx_copybutton",
    "local_inventories",
]
exclude_patterns = ["_extensions"]
html_theme = "furo"
html_title = f"dwconv {release}"
html_static_path: list[str] = []

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say it in words
autodoc_mock_imports = ["torch"]  # a gigabyte that the site does not need
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True

# Prompts and outputs are not copied.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True

# Without a network the few names that docstrings use come from lists in `_extensions`.
ONLINE = bool(os.environ.get("READTHEDOCS") or os.environ.get("DWCONV_DOCS_ONLINE"))

#: Pages whose text is in another file.
PAGES = {
    "benchmarks": "bench/README.md",
    "results": "bench/results/README.md",
    "changelog": "CHANGELOG.md",
    "security": "SECURITY.md",
}
_WHERE = {path: page for page, path in PAGES.items()}
_CODE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?P<begin>!?\[[^\]]*\]\()(?P<target>[^)\s#]*)(?P<anchor>#[^)\s]*)?\)")


def links(text: str, folder: str, page_folder: str) -> str:
    """`text` of a file in `folder` as a page in `page_folder`, both relative to the root."""

    def one(match: re.Match[str]) -> str:
        target, anchor = match["target"], match["anchor"] or ""
        if not target or re.match(r"[a-z]+:", target):
            return match[0]
        path = posixpath.normpath(posixpath.join(folder, target))
        if path in _WHERE:
            path = f"docs/{_WHERE[path]}.md"
        elif not match["begin"].startswith("!") and not path.startswith("docs/"):
            return f"{match['begin']}{SOURCE}/{path}{anchor})"
        return f"{match['begin']}{posixpath.relpath(path, page_folder)}{anchor})"

    parts = _CODE.split(text)  # text and code in turns
    parts[::2] = [_LINK.sub(one, part) for part in parts[::2]]
    return "".join(parts)


def _read(_: Sphinx, page: str, source: list[str]) -> None:
    origin = PAGES.get(page)
    here = posixpath.dirname(f"docs/{page}")
    if origin is None:
        source[0] = links(source[0], here, here)
    else:
        text = (ROOT / origin).read_text(encoding="utf-8")
        source[0] = links(text, posixpath.dirname(origin), here)


def _plain(*event: Any) -> None:
    """Docstrings are plain text: `|x|` is no substitution and `2**-126` no emphasis."""
    lines = event[-1]
    for i, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            parts = line.split("`")
            parts[::2] = [re.sub(r"[*|]|(?<=\w)_(?=\W)", r"\\\g<0>", part) for part in parts[::2]]
            lines[i] = "`".join(parts)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", _read)
    app.connect("autodoc-process-docstring", _plain, priority=400)  # before napoleon
    return {"parallel_read_safe": True}
