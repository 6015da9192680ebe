"""Where names of other projects are documented, without asking their sites.

Offline, and in tests, intersphinx reads inventories that are made here from `NAMES`: what our
docstrings and pages use. Online (Read the Docs) it reads the projects' own.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.config import Config

SITES = {
    "numpy": "https://numpy.org/doc/stable/",
    "python": "https://docs.python.org/3/",
    "keras": "https://keras.io/api/",
}

#: project -> name -> (role, page). `$` in a page stands for the name.
NAMES = {
    "numpy": {
        "numpy.ndarray": ("py:class", "reference/generated/$.html#$"),
        "numpy.pad": ("py:function", "reference/generated/$.html#$"),
        "numpy.random.default_rng": ("py:function", "reference/random/generator.html#$"),
    },
    "python": dict.fromkeys(
        (
            "AttributeError",
            "ImportError",
            "IndexError",
            "MemoryError",
            "NotImplementedError",
            "OSError",
            "TypeError",
            "ValueError",
        ),
        ("py:exception", "library/exceptions.html#$"),
    ),
    # keras.io has no inventory of its own.
    "keras": {
        "keras.layers.DepthwiseConv2D": (
            "py:class",
            "layers/convolution_layers/depthwise_convolution2d/",
        ),
    },
}


def inventory(project: str, names: dict[str, tuple[str, str]]) -> bytes:
    """Sphinx's format, version 2."""
    head = (
        "# Sphinx inventory version 2\n"
        f"# Project: {project}\n"
        "# Version: \n"
        "# The remainder of this file is compressed using zlib.\n"
    )
    lines = [
        f"{name} {role} 1 {page.replace('$', name)} -\n" for name, (role, page) in names.items()
    ]
    return head.encode() + zlib.compress("".join(lines).encode())


def write_inventories(app: Sphinx, config: Config) -> None:
    folder = Path(app.doctreedir) / "inventories"
    folder.mkdir(parents=True, exist_ok=True)
    for project, names in NAMES.items():
        path = folder / f"{project}.inv"
        path.write_bytes(inventory(project, names))
        own = (None, str(path)) if config.ONLINE and project != "keras" else str(path)
        config.intersphinx_mapping[project] = (SITES[project], own)


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_config_value("ONLINE", False, "env")
    app.connect("config-inited", write_inventories, priority=100)  # before intersphinx reads it
    return {"parallel_read_safe": True}
