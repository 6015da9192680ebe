"""What to say when the compiled module cannot be imported; itself only imported then."""

from __future__ import annotations

import sys
import sysconfig
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

FOLDER = Path(__file__).parents[1]


def explain(error: ImportError, folder: Path = FOLDER) -> str:
    """Why dwconv._core does not load and what helps, from what lies in the package's folder."""
    found = sorted(
        path.name for path in folder.glob("_core.*") if path.suffix in {".so", ".pyd", ".dylib"}
    )
    fitting = [name for name in found if name.removeprefix("_core") in EXTENSION_SUFFIXES]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    here = f"{sys.implementation.name} {version} on {sysconfig.get_platform()}"
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
