"""For programs in C, C++ and Cython: where the header is."""

from __future__ import annotations


def get_include() -> str:
    """The folder with dwconv.h, the C API, for a compiler's `-I`.

    The header is what a Cython module needs that does `from dwconv._core cimport ...`, which links
    with nothing: dwconv/_core.pxd says what there is. A program without Python compiles the sources
    of the core into itself; the README has the command.
    """
    from pathlib import Path

    package = Path(__file__).parents[1]
    installed = package / "include"
    return str(installed if installed.is_dir() else package.parent / "csrc")  # an editable install
