"""The C compilers of this machine."""

from __future__ import annotations

import os
import shlex
import shutil
import sysconfig


def find_compilers() -> list[str]:
    """$CC if it is set, else whichever of gcc and clang there are, else Python's own compiler."""
    if os.environ.get("CC"):
        return [os.environ["CC"]]
    both = [name for name in ("gcc", "clang") if shutil.which(name)]
    if both:
        return both
    return [name for name in ("cc", sysconfig.get_config_var("CC")) if name and which(name)][:1]


def which(command: str) -> str | None:
    """The program that a command such as 'ccache gcc' starts with."""
    words = shlex.split(command)
    return shutil.which(words[0]) if words else None
