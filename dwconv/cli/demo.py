"""`dwconv demo`: runs examples/demo in a clone; the package does not contain it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from . import CommandError

_PROGRAM = Path(__file__).resolve().parents[2] / "examples" / "demo" / "demo.py"


def run(arguments: Sequence[str]) -> int:
    """The exit status of the demo with these arguments; CommandError where it is not there."""
    if not _PROGRAM.is_file():
        raise CommandError(
            "expected a clone of dwconv, whose folder examples/ has the demo; received an "
            "installed package. In a clone run: make demo"
        )
    return subprocess.run([sys.executable, str(_PROGRAM), *arguments], check=False).returncode
