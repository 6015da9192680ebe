"""C compilers of this machine, and the C core as object files: once per (compiler, flags)."""

from __future__ import annotations

import functools
import hashlib
import os
import shlex
import shutil
import subprocess
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from support import ROOT, patient

CSRC = ROOT / "csrc"
TESTS_IN_C = ROOT / "tests" / "c"
WARNINGS = ["-Wall", "-Wextra", "-Werror"]
FLAGS = ["-O2", "-g", "-ffp-contract=off", *WARNINGS, f"-I{CSRC}"]

#: Objects of the core, here rather than in a temporary folder: the next run finds them.
KEPT = ROOT / "build" / "tests"

#: Objects of the package, where setup.py leaves them.
BUILT = ROOT / "build" / "objects" / "csrc"


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


def c_plus_plus(command: str) -> str | None:
    """The C++ compiler that belongs to a C compiler, if it is there."""
    words = shlex.split(command)
    name = words[-1].replace("gcc", "g++").replace("clang", "clang++")
    return shlex.join([*words[:-1], name]) if name != words[-1] and shutil.which(name) else None


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """A program that takes seconds; its output is kept, its exit status is not judged."""
    return subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        timeout=patient(300),
        stdin=subprocess.DEVNULL,
        check=False,
    )


def build(compiler: str, *arguments: str | Path) -> None:
    """Runs the compiler; an AssertionError holds what it complains about."""
    result = run(*shlex.split(compiler), *arguments)
    assert result.returncode == 0, f"{compiler} failed:\n{result.stdout}{result.stderr}"


@functools.cache
def core_objects(compiler: str, *flags: str) -> list[Path]:
    """The C core as object files, compiled as C without a warning; link them with -lm -pthread.

    They are compiled by all processors, those of an instruction set first, since they take longest.
    -g0: debug information of the unrolled kernels takes most of a compiler's time. The folder's
    name is a hash of all that goes in, so an old object is never taken for a new one.
    """
    arguments = ["-std=c11", *FLAGS, *flags, "-g0"]
    sources = sorted(CSRC.rglob("*.c"), key=lambda path: path.parent == CSRC)
    seen = hashlib.sha256(repr((arguments, run(*shlex.split(compiler), "-v").stderr)).encode())
    for path in sorted(path for path in CSRC.rglob("*") if path.is_file()):
        seen.update(f"\0{path.relative_to(CSRC)}\0".encode() + path.read_bytes())
    folder = KEPT / seen.hexdigest()[:16]
    if not folder.exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=KEPT) as name:
            made = Path(name) / "objects"
            made.mkdir()

            def compile_one(source: Path) -> None:
                build(compiler, *arguments, "-c", source, "-o", made / f"{source.stem}.o")

            with ThreadPoolExecutor(os.cpu_count()) as pool:
                list(pool.map(compile_one, sources))
            if not folder.exists():  # another process may have been faster
                made.rename(folder)
    return sorted(folder.glob("*.o"))


def core_to_link(compiler: str) -> list[Path]:
    """The C core for programs in C: the objects of the package that is tested, which `make build`
    has compiled as for users. Those of another compiler, or of a core that has changed since, are
    compiled without optimization, which takes a quarter of the time and changes no bit.
    """
    sources = sorted(path for path in CSRC.rglob("*") if path.is_file())
    built = sorted(BUILT.rglob("*.o"))
    whole = [path.stem for path in built] == [path.stem for path in sources if path.suffix == ".c"]
    newest = max(map(changed, [*sources, ROOT / "setup.py"]))
    if compiler == find_compilers()[0] and whole and min(map(changed, built)) > newest:
        return built
    return core_objects(compiler, "-O0")


def changed(path: Path) -> float:
    return path.stat().st_mtime
