"""Checks the links within a built site: `make docs`.

    python tools/site_links.py build/docs

Every relative link of every page has to lead to a file of the site, and its anchor to an element
with that id.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit


class _Page(HTMLParser):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value is None:
                continue
            if name == "id" or (tag == "a" and name == "name"):
                self.ids.add(value)
            elif name in ("href", "src"):
                self.links.append(value)


def broken(site: Path) -> list[str]:
    """What leads nowhere, as 'page: link'."""
    pages = {path.resolve(): _Page(path) for path in sorted(site.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            address, anchor = urldefrag(link)
            place = unquote(urlsplit(address).path)
            target = (path.parent / place).resolve() if place else path
            if target.is_dir():
                target /= "index.html"
            ids = pages[target].ids if target in pages else None
            if not target.exists() or (ids is not None and anchor and unquote(anchor) not in ids):
                found.append(f"{path.relative_to(site.resolve())}: {link}")
    if not pages:
        found.append(f"expected pages in {site}; there are none")
    return found


if __name__ == "__main__":
    lines = broken(Path(sys.argv[1]))
    print("\n".join(lines) or "every link within the site leads somewhere")
    sys.exit(bool(lines))
