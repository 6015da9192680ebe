"""A Debian for AArch64 in a folder, and programs in it run by qemu: what can be tested without the
processor. No root rights, chroot or containers.

    python tools/arm64.py PROGRAM [ARGUMENT...]     a static or dynamic AArch64 program
    python tools/arm64.py python3.11 ...            the root's own Python

Needs Debian's qemu-user-static and mmdebstrap, the latter for the first time only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pythons

EMULATOR = "qemu-aarch64-static"
PYTHON = "3.11"  # of Debian 12
PLATFORMS = ("manylinux2014_aarch64", "manylinux_2_27_aarch64", "manylinux_2_28_aarch64")


def missing() -> str | None:
    """What has to be installed before any of this works; None if all is there."""
    if not shutil.which(EMULATOR):
        return "apt-get install qemu-user-static"
    if not root_folder().exists() and not shutil.which("mmdebstrap"):
        return "apt-get install mmdebstrap"
    return None


def root_folder() -> Path:
    return pythons.cache() / "arm64"


def root() -> Path:
    """The folder, made by the first call: some 15 s and 90 MB."""
    folder = root_folder()
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="arm64.") as parent:
        made = Path(parent) / "root"
        packages = "--include=python3,python3-venv,libstdc++6"
        command = ["mmdebstrap", "--quiet", "--arch=arm64", "--variant=extract"]
        command += ["--skip=check/qemu", packages, "bookworm", str(made)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        made.rename(folder)
    return folder


def command(program: str, *arguments: str) -> list[str]:
    """The words that run an AArch64 program; 'python3.11' is the root's."""
    folder = root()
    if program.startswith("python3"):
        program = str(folder / "usr" / "bin" / program)
    return [EMULATOR, "-L", str(folder), program, *arguments]


def install(folder: Path, *requirements: str) -> None:
    """Packages for the root's Python into a folder of their own, by this machine's pip."""
    options = ["--quiet", "--disable-pip-version-check", "--only-binary=:all:", "--target", folder]
    options += [f"--platform={platform}" for platform in PLATFORMS]
    options += [f"--python-version={PYTHON}", "--implementation=cp", *requirements]
    subprocess.run([sys.executable, "-m", "pip", "install", *map(str, options)], check=True)


if __name__ == "__main__":
    if what := missing():
        sys.exit(f"not here yet: {what}")
    words = command(*sys.argv[1:])
    os.execvp(words[0], words)
