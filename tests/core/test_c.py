"""The C tests in tests/c, compiled here with each C compiler found and run.

They need the repository's csrc/, not the installed package; what the package reports is compared
with what the C programs find, so that no instruction set of this CPU is skipped by mistake.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

import pytest
from support.compilers import find_compilers

from dwconv import _core

ROOT = Path(__file__).parents[2]
CSRC = ROOT / "csrc"
TESTS = ROOT / "tests" / "c"
FLAGS = ["-O2", "-g", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", f"-I{CSRC}"]
Arguments: TypeAlias = list[str | Path]
CPU_LACKS_IT = 77  # the exit status of test_vec

#: A cross compiler and what runs its programs, for the instruction sets of other processors.
EMULATED = {"neon": ("aarch64-linux-gnu-gcc", "qemu-aarch64-static")}


def c_plus_plus(command: str) -> str | None:
    """The C++ compiler that belongs to a C compiler, if it is there."""
    words = shlex.split(command)
    name = words[-1].replace("gcc", "g++").replace("clang", "clang++")
    return shlex.join([*words[:-1], name]) if name != words[-1] and shutil.which(name) else None


pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="the C tests need mmap and mprotect"
)

COMPILERS = find_compilers()
if not COMPILERS:
    pytest.skip("no C compiler: neither $CC nor gcc, clang or cc", allow_module_level=True)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL
    )


def build(compiler: str, *arguments: str | Path) -> None:
    result = run(*shlex.split(compiler), *map(str, arguments))
    assert result.returncode == 0, f"{compiler} failed:\n{result.stdout}{result.stderr}"


def checks_passed(result: subprocess.CompletedProcess[str]) -> int:
    assert result.returncode == 0, f"{result.returncode}:\n{result.stdout}{result.stderr}"
    found = re.search(r"(\d+) checks passed", result.stdout)
    assert found, result.stdout
    return int(found[1])


@pytest.fixture(scope="module", params=COMPILERS)
def compiler(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("isa", [*_core.ISA_NAMES, "avx512vl"])
def test_vec(compiler: str, isa: str, tmp_path: Path) -> None:
    """Every word of a vector header and every partial count, between guard pages, as portable."""
    needs = isa.removesuffix("vl")  # no instruction set of its own to the package
    program = tmp_path / "test_vec"
    emulator: list[str] = []
    if needs not in _core.compiled_isas():
        cross, emulator_name = EMULATED.get(isa, ("", ""))
        if not shutil.which(cross) or not shutil.which(emulator_name):
            pytest.skip(f"{isa} is for another processor; no {cross} with {emulator_name}")
        compiler, emulator = f"{cross} -static", [emulator_name]
    source: Arguments = ["-std=c11", *FLAGS, f"-DTEST_ISA={isa}", TESTS / "test_vec.c"]
    build(compiler, *source, "-lm", "-o", program)
    result = run(*emulator, str(program))
    if result.returncode == CPU_LACKS_IT:
        assert needs not in _core.available_isas(), "this CPU lacks it, the package says otherwise"
        pytest.skip(f"this CPU lacks {isa}; compiled only")
    assert checks_passed(result) > 100_000


TARGETS = {"avx2": "-mavx2 -mfma", "avx512": "-mavx512f -mavx512vl -mavx512bw -mavx512dq -mfma"}


@pytest.mark.parametrize("isa", _core.available_isas())
def test_zeros(compiler: str, isa: str, tmp_path: Path) -> None:
    """Activations keep the sign of a zero, optimized as for users."""
    defined = [f"-DTEST_ISA={isa}", f'-DTEST_HEADER="vec_{isa}.h"', f"-I{CSRC / 'isa'}"]
    source: Arguments = ["-std=c11", *FLAGS, "-O3", *TARGETS.get(isa, "").split(), *defined]
    program = tmp_path / "test_zeros"
    build(compiler, *source, TESTS / "test_zeros.c", "-lm", "-o", program)
    assert checks_passed(run(str(program))) == 9 * 19


@pytest.fixture(scope="module")
def core_objects(compiler: str, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The C core as object files, compiled as C without a warning.

    Not optimised: four times as fast to compile, and the bits must not depend on it.
    """
    return core(compiler, "-O0", tmp_path_factory.mktemp("core"))


def core(compiler: str, optimization: str, folder: Path) -> list[Path]:
    """Object files of csrc/, compiled by all processors; the instruction sets take long: first.

    -g0: debug information of the unrolled kernels takes most of a compiler's time.
    """
    sources = sorted(CSRC.rglob("*.c"), key=lambda path: path.parent == CSRC)
    objects = [folder / f"{source.stem}.o" for source in sources]

    def compile_one(source: Path, made: Path) -> None:
        build(compiler, "-std=c11", *FLAGS, optimization, "-g0", "-c", source, "-o", made)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(compile_one, sources, objects))
    return objects


@pytest.mark.parametrize("name", ["test_api", "test_grad"])
@pytest.mark.parametrize("language", ["c", "c++"])
def test_api(
    compiler: str, core_objects: list[Path], language: str, name: str, tmp_path: Path
) -> None:
    """The public header from C and from C++: statuses, plans, gradients, results."""
    program = tmp_path / name
    if language == "c":
        driver, standard = compiler, "-std=c11"
    else:
        found = c_plus_plus(compiler)
        if found is None:
            pytest.skip(f"no C++ compiler beside {compiler}")
        driver, standard = found, "-std=c++11"
    source: Arguments = ["-x", language, TESTS / f"{name}.c", "-x", "none"]
    build(driver, standard, "-pedantic", *FLAGS, *source, *core_objects, "-lm", "-o", program)
    assert checks_passed(run(str(program))) > 500


def test_threads(compiler: str, core_objects: list[Path], tmp_path: Path) -> None:
    """The pool by itself, and runs by several threads; `make zig-check` has it run on Windows."""
    program = tmp_path / "test_threads"
    source: Arguments = ["-std=c11", *FLAGS, TESTS / "test_threads.c", *core_objects]
    build(compiler, *source, "-lm", "-pthread", "-o", program)
    assert checks_passed(run(str(program))) > 100


WRAPPED = ("malloc", "calloc", "realloc", "aligned_alloc", "posix_memalign", "free")


@pytest.mark.skipif(sys.platform == "darwin", reason="its linker knows no --wrap")
def test_failing_allocations(compiler: str, core_objects: list[Path], tmp_path: Path) -> None:
    """Each allocation of a plan or gradient fails once; nothing leaks, and a run makes none."""
    program = tmp_path / "test_nomem"
    wrap = "-Wl," + ",".join(f"--wrap={name}" for name in WRAPPED)
    source: Arguments = ["-std=c11", *FLAGS, TESTS / "test_nomem.c", *core_objects]
    build(compiler, *source, "-lm", wrap, "-o", program)
    assert checks_passed(run(str(program))) > 100


def test_fuzz_target(compiler: str, core_objects: list[Path], tmp_path: Path) -> None:
    """Two seconds of random wishes, the same each time; `make fuzz` takes longer and others."""
    program = tmp_path / "fuzz_plan"
    source: Arguments = ["-std=c11", *FLAGS, "-DFUZZ_MAIN", TESTS / "fuzz_plan.c", *core_objects]
    build(compiler, *source, "-lm", "-o", program)
    assert checks_passed(run(str(program), "2", "1")) > 10


def test_all_floats(compiler: str, core_objects: list[Path], tmp_path: Path) -> None:
    """One float32 in 16381: each activation within 2 ulp of its formula, the same bits from every
    instruction set, and nothing wrong where denormal numbers are flushed to zero.

    The step is prime, so that all exponents and all last digits occur; 1 takes a quarter of an
    hour.
    """
    program = tmp_path / "all_floats"
    build(compiler, "-std=c11", *FLAGS, TESTS / "all_floats.c", *core_objects, "-lm", "-o", program)
    results = {}
    for isa in _core.available_isas():
        done = run(str(program), isa, "16381")
        assert done.returncode == 0, f"{isa}:\n{done.stdout}{done.stderr}"
        results[isa] = done.stdout
    assert len(set(results.values())) == 1, "\n".join(f"{k}:\n{v}" for k, v in results.items())
    done = run(str(program), "16381", "flush")
    assert done.returncode == 0, f"flush:\n{done.stdout}{done.stderr}"


def the_command() -> str:
    """`cc ...` in the README."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"^(cc .*examples/embed\.c.*)$", text, re.MULTILINE)
    assert found
    return found[1]


def test_one_command_builds_the_core_without_python(tmp_path: Path) -> None:
    """As it stands there, but for the optimization, which takes a minute and changes no bit. The
    program is C++, too.
    """
    compiler = find_compilers()[0]
    command = the_command()
    assert " -O3 " in command
    command = command.replace(" -O3 ", " -O0 ")
    command = command.replace("cc ", f"{shlex.join(shlex.split(compiler))} ", 1)
    command = command.replace("-o embed && ./embed", "-o $OUT/embed && $OUT/embed")
    assert "$OUT" in command
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=ROOT,
        env={**os.environ, "OUT": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    assert done.stdout.splitlines() == ["4 6 6 6 6 6 4", *["6 9 9 9 9 9 6"] * 3, "4 6 6 6 6 6 4"]
    assert done.stderr == ""
    if plus_plus := c_plus_plus(compiler):
        arguments = ["-fsyntax-only", "-x", "c++", "-Wall", "-Werror", "-Icsrc", "examples/embed.c"]
        subprocess.run([*shlex.split(plus_plus), *arguments], cwd=ROOT, check=True)


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tests/c/golden.c with the whole core, built by the first compiler there is."""
    folder = tmp_path_factory.mktemp("golden")
    compiler, program = find_compilers()[0], folder / "golden"
    source: Arguments = ["-std=c11", *FLAGS, TESTS / "golden.c", *core(compiler, "-O1", folder)]
    build(compiler, *source, "-lm", "-o", program)
    return program


@pytest.mark.parametrize("isa", _core.compiled_isas())
def test_golden(golden: Path, isa: str) -> None:
    """Hashes of results computed exactly, in Python, without this library."""
    done = subprocess.run([golden, isa], capture_output=True, text=True, check=False)
    if done.returncode == CPU_LACKS_IT:
        assert isa not in _core.available_isas()
        pytest.skip(f"this CPU lacks {isa}")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
