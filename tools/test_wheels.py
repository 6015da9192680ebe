"""Installs the wheels of wheelhouse/ where each can run, without a compiler, and tests them there:
`make wheels-test`.

    python tools/test_wheels.py [--pythons 3.11] [--machines x86_64,aarch64] [--short]
                                [PYTEST ARGUMENT...]

For each wheel: a fresh environment, on PATH nothing but that environment; `dwconv info`,
`dwconv check`, the tests of the sdist. Wheels for aarch64 run under qemu-user with a Python 3.11 of
Debian for arm64 (tools/arm64.py), with a short form of both: it is at least eight times as slow.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import arm64
import pythons

ROOT = Path(__file__).resolve().parent.parent
WHEELHOUSE = ROOT / "wheelhouse"

#: What is tested where time is short: the operation, bits, memory, the layer, files.
SHORT = [
    "tests/core/test_isa.py",
    "tests/core/test_bits.py",
    "tests/core/test_guard_pages.py",
    "tests/layers/test_layer.py",
    "tests/files/test_saving.py",
]

WHERE = """
import dwconv, pathlib
package = pathlib.Path(dwconv.__file__).parent
assert package == pathlib.Path({site!r}, "dwconv"), package
assert not list(package.rglob("*.pyx"))
"""


@dataclass
class Place:
    """An environment with the wheel in it."""

    python: list[str]  #: words that run its Python
    site: Path
    environment: dict[str, str]

    def run(self, *arguments: str, cwd: Path) -> int:
        done = subprocess.run(
            [*self.python, *arguments],
            env=self.environment,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        return done.returncode


def native(wheel: Path, python: pythons.Python, folder: Path) -> Place:
    """A virtual environment; PATH leads to it alone, so that no compiler is found."""
    venv = folder / "venv"
    subprocess.run([python.path, "-m", "venv", str(venv)], check=True)
    interpreter = venv / "bin" / "python"
    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in ("CC", "CXX", "PYTHONPATH", "DWCONV_ISA", "VIRTUAL_ENV")
    }
    environment["PATH"] = str(venv / "bin")
    assert not any(shutil.which(name, path=environment["PATH"]) for name in ("cc", "gcc", "clang"))
    pip = [interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    # Nothing compiled here: --only-binary.
    command = [*map(str, pip), "--only-binary=:all:", f"{wheel}[test]"]
    subprocess.run(command, env=environment, check=True)
    (site,) = venv.glob("lib/python3*/site-packages")
    return Place([str(interpreter)], site, environment)


def emulated(wheel: Path, folder: Path) -> Place:
    """The root's Python with the wheel in a folder."""
    site = folder / "site"
    arm64.install(site, f"{wheel}[test]")
    environment = {"PATH": "/nonexistent", "HOME": str(folder), "LANG": "C.UTF-8"}
    environment |= {"PYTHONPATH": str(site), "OPENBLAS_NUM_THREADS": "1"}
    words = arm64.command(f"python{arm64.PYTHON}")
    words[0] = shutil.which(words[0]) or words[0]
    environment["DWCONV_TEST_EMULATOR"] = shlex.join(words[:-1])
    return Place(words, site, environment)


def test(wheel: Path, place: Place, folder: Path, short: bool, extra: list[str]) -> bool:
    """Whether everything passes."""
    sources = sorted(folder.glob("dwconv-*"))[0]
    tests = [str(sources / name) for name in (SHORT if short else ["tests"])]
    steps = [
        ["-c", WHERE.format(site=str(place.site))],
        ["-m", "dwconv", "info"],
        ["-m", "dwconv", "check"],
        ["-m", "pytest", "-q", "-p", "no:cacheprovider", *tests, *extra],
    ]
    for step in steps:
        began = time.monotonic()
        print("$", *step[:3], flush=True)
        if place.run(*step, cwd=folder):
            print(f"{wheel.name}: FAILED: {' '.join(step)}", flush=True)
            return False
        print(f"  {time.monotonic() - began:.0f} s", flush=True)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pythons", help="versions, e.g. 3.11,3.13t; default: all that are found")
    parser.add_argument("--machines", default="x86_64,aarch64")
    parser.add_argument("--short", action="store_true", help="the short form everywhere")
    arguments, extra = parser.parse_known_args()
    machines = arguments.machines.split(",")
    (sdist,) = WHEELHOUSE.glob("*.tar.gz")
    installed = pythons.find()
    if arguments.pythons:
        installed = [p for p in installed if p.version in arguments.pythons.split(",")]
    passed, failed = 0, []
    for wheel in sorted(WHEELHOUSE.glob("*.whl")):
        foreign = "aarch64" in wheel.name
        if ("aarch64" if foreign else "x86_64") not in machines:
            continue
        match = next((p for p in installed if f"-{p.wheel_tag}-" in wheel.name), None)
        if match is None or (foreign and match.version != arm64.PYTHON):
            continue
        if match.version == "3.13t":
            print(f"\n== {wheel.name}\nnot tested: safetensors and h5py have no wheels for 3.13t;")
            print("`make test-free-threaded` tests what can do without")
            continue
        if foreign and (what := arm64.missing()):
            print(f"\n== {wheel.name}\nnot tested; {what}")
            continue
        print(f"\n== {wheel.name}", flush=True)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with tarfile.open(sdist) as archive:
                archive.extractall(folder)
            place = emulated(wheel, folder) if foreign else native(wheel, match, folder)
            if test(wheel, place, folder, arguments.short or foreign, extra):
                passed += 1
            else:
                failed.append(wheel.name)
    print(f"\n{passed} wheels passed, {len(failed)} failed", *failed)
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
