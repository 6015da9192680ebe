"""What to say when the compiled module cannot be imported; itself only imported then."""

from __future__ import annotations

import sys
import sysconfig
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

FOLDER = Path(__file__).parents[1]

#: What CPython, Cython and NumPy say in a second interpreter of a process.
SECOND_INTERPRETER = ("subinterpreter", "interpreter change", "more than once per process")


def explain(error: ImportError, folder: Path = FOLDER) -> str:
    """Why dwconv._core does not load and what helps, from what lies in the package's folder."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    here = f"{sys.implementation.name} {version} on {sysconfig.get_platform()}"
    archive = next((path for path in (folder, *folder.parents) if path.is_file()), None)
    if archive is not None:
        return (
            f"dwconv: expected a folder; {folder} is inside of {archive}, and no operating system "
            "loads an extension module from within a file. Unpack it into a folder"
        )
    if any(words in str(error).lower() for words in SECOND_INTERPRETER):
        return (
            "dwconv: expected the main interpreter of the process: NumPy and dwconv can be loaded "
            f"once; received an import in another one ({error}). Use processes or threads; with "
            "mod_wsgi, WSGIApplicationGroup %{GLOBAL}"
        )
    found = sorted(
        path.name for path in folder.glob("_core.*") if path.suffix in {".so", ".pyd", ".dylib"}
    )
    fitting = [name for name in found if name.removeprefix("_core") in EXTENSION_SUFFIXES]
    reinstall = f"{sys.executable} -m pip install --force-reinstall --no-cache-dir dwconv"
    if fitting:
        # The right name, and still not loaded: of another processor, C library or NumPy.
        reason = f"expected {fitting[0]} to load on this machine ({here}); received: {error}"
        return f"dwconv: {reason}. Install it anew with: {reinstall}"
    if found:
        reason = f"expected an extension module for {here}; {folder} has {', '.join(found)}"
        return f"dwconv: {reason}. Install it with this Python: {reinstall}"
    if (folder.parent / "setup.py").exists():
        reason = f"expected a built extension module in {folder}, a source tree; it has none"
        return (
            f"dwconv: {reason}. Build it there with `make build` or `pip install --editable .`, or "
            "start Python in another folder to get an installed dwconv"
        )
    reason = f"expected an extension module for {here} in {folder}; it has none"
    return f"dwconv: {reason}. Install it anew with: {reinstall}"
