"""The CPythons of this machine that dwconv has wheels for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

MINORS = range(10, 15)

#: What an interpreter tells of itself; one that lacks the headers or venv cannot be used.
PROBE = """
import ensurepip, platform, sys, sysconfig, venv
from pathlib import Path
assert platform.python_implementation() == "CPython"
assert Path(sysconfig.get_path("include"), "Python.h").exists()
free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
print(sys.version_info.minor, free_threaded, sys._base_executable)
"""


@dataclass(frozen=True, order=True)
class Python:
    """An interpreter."""

    minor: int
    free_threaded: bool
    path: Path

    @property
    def version(self) -> str:
        """'3.12', '3.13t'."""
        return f"3.{self.minor}{'t' if self.free_threaded else ''}"

    @property
    def tag(self) -> str:
        """'cp312', 'cp313t'."""
        return "cp" + self.version.replace(".", "")

    @property
    def wheel_tag(self) -> str:
        """'cp312-cp312', 'cp313-cp313t'."""
        return f"cp3{self.minor}-{self.tag}"


def cache() -> Path:
    """Where this project keeps what is made once for all clones of a user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dwconv"


def candidates() -> list[Path]:
    """Programs that may be one: those on PATH first, then pyenv's, then the free-threaded one that
    tools/free_threaded_python.sh makes.
    """
    names = [f"python3.{minor}{suffix}" for minor in MINORS for suffix in ("", "t")]
    found = [Path(path) for name in [*names, "python3"] if (path := shutil.which(name))]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for folder in [
        *sorted((pyenv / "versions").glob("3.*"), reverse=True),
        cache() / "python3.13t",
    ]:
        found += [path for name in names if (path := folder / "bin" / name).exists()]
    return found


def find() -> list[Python]:
    """One interpreter of each version, oldest first."""
    found: dict[tuple[int, bool], Python] = {}
    for path in candidates():
        done = subprocess.run([path, "-c", PROBE], capture_output=True, text=True, check=False)
        match = re.fullmatch(r"(\d+) (True|False) (.+)\n", done.stdout)
        if done.returncode or not match or int(match[1]) not in MINORS:
            continue
        key = int(match[1]), match[2] == "True"
        found.setdefault(key, Python(*key, Path(match[3])))
    return sorted(found.values())


if __name__ == "__main__":
    for python in find():
        print(python.version, python.path)
