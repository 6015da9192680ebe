"""The C tests in tests/c, compiled here with each C compiler found and run.

They need the repository's csrc/, not the installed package; what the package reports is compared
with what the C programs find, so that no instruction set of this CPU is skipped by mistake.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TypeAlias

import pytest
from support import ROOT, run_python
from support.compilers import (
    CSRC,
    FLAGS,
    WARNINGS,
    build,
    c_plus_plus,
    core_to_link,
    find_compilers,
    run,
)
from support.compilers import TESTS_IN_C as TESTS

from dwconv import _core

Arguments: TypeAlias = list[str | Path]
CPU_LACKS_IT = 77  # the exit status of test_vec

#: A cross compiler and what runs its programs, for the instruction sets of other processors.
EMULATED = {"neon": ("aarch64-linux-gnu-gcc", "qemu-aarch64-static")}


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="the C tests need mmap and mprotect"),
]

COMPILERS = find_compilers()
if not COMPILERS:
    pytest.skip("no C compiler: neither $CC nor gcc, clang or cc", allow_module_level=True)


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


TARGETS = {
    "avx2": "-mavx2 -mfma -mf16c",
    "avx512": "-mavx512f -mavx512vl -mavx512bw -mavx512dq -mfma -mf16c",
}


@pytest.mark.parametrize("isa", _core.available_isas())
def test_zeros(compiler: str, isa: str, tmp_path: Path) -> None:
    """Activations keep the sign of a zero, optimized as for users."""
    defined = [f"-DTEST_ISA={isa}", f'-DTEST_HEADER="vec_{isa}.h"', f"-I{CSRC / 'isa'}"]
    source: Arguments = ["-std=c11", *FLAGS, "-O3", *TARGETS.get(isa, "").split(), *defined]
    program = tmp_path / "test_zeros"
    build(compiler, *source, TESTS / "test_zeros.c", "-lm", "-o", program)
    assert checks_passed(run(str(program))) == 9 * 19


@pytest.fixture(scope="module")
def core(compiler: str) -> list[Path]:
    """The C core as object files."""
    return core_to_link(compiler)


@pytest.mark.parametrize(
    "name", ["test_api", "test_copies", "test_grad", "test_half", "test_measure", "test_slopes"]
)
@pytest.mark.parametrize("language", ["c", "c++"])
def test_api(compiler: str, core: list[Path], language: str, name: str, tmp_path: Path) -> None:
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
    build(driver, standard, "-pedantic", *FLAGS, *source, *core, "-lm", "-o", program)
    assert checks_passed(run(str(program))) > 500


def test_machine(compiler: str, core: list[Path], tmp_path: Path) -> None:
    """What the core makes of what CPUs tell, of some that are not at hand, too."""
    program = tmp_path / "test_machine"
    source: Arguments = ["-std=c11", *FLAGS, TESTS / "test_machine.c", *core]
    build(compiler, *source, "-lm", "-pthread", "-o", program)
    assert checks_passed(run(str(program))) > 20


def test_threads(compiler: str, core: list[Path], tmp_path: Path) -> None:
    """The pool by itself, and runs by several threads; `make zig-check` has it run on Windows."""
    program = tmp_path / "test_threads"
    source: Arguments = ["-std=c11", *FLAGS, TESTS / "test_threads.c", *core]
    build(compiler, *source, "-lm", "-pthread", "-o", program)
    assert checks_passed(run(str(program))) > 100


def test_quantized(compiler: str, core: list[Path], tmp_path: Path) -> None:
    """Quantized convolutions, every kernel that this CPU has; `make test-isa` has it on others."""
    program = tmp_path / "test_quantized"
    source: Arguments = ["-std=c11", *FLAGS, TESTS / "test_quantized.c", *core]
    build(compiler, *source, "-lm", "-pthread", "-o", program)
    assert checks_passed(run(str(program))) > 5000


def test_golden_quantized(compiler: str, core: list[Path], tmp_path: Path) -> None:
    """Hashes of results of NumPy's integers, by every kernel for bytes that this CPU has."""
    program = tmp_path / "golden_quantized"
    source: Arguments = ["-std=c11", *FLAGS, TESTS / "golden_quantized.c", *core]
    build(compiler, *source, "-lm", "-pthread", "-o", program)
    assert checks_passed(run(str(program))) > 500


def test_golden_quantized_is_what_is_made() -> None:
    done = run_python(str(TESTS / "make_golden_quantized.py"), "--check")
    assert done.returncode == 0, f"it would write something else; {done.stderr}"


WRAPPED = ("malloc", "calloc", "realloc", "aligned_alloc", "posix_memalign", "free")


@pytest.mark.skipif(sys.platform == "darwin", reason="its linker knows no --wrap")
def test_failing_allocations(compiler: str, core: list[Path], tmp_path: Path) -> None:
    """Each allocation of a plan or gradient fails once; nothing leaks, and a run makes none."""
    program = tmp_path / "test_nomem"
    wrap = "-Wl," + ",".join(f"--wrap={name}" for name in WRAPPED)
    source: Arguments = ["-std=c11", *FLAGS, TESTS / "test_nomem.c", *core]
    build(compiler, *source, "-lm", wrap, "-o", program)
    assert checks_passed(run(str(program))) > 100


def test_fuzz_target(compiler: str, core: list[Path], tmp_path: Path) -> None:
    """Two seconds of random descriptors, always the same; `make fuzz` runs longer, with others."""
    program = tmp_path / "fuzz_plan"
    source: Arguments = ["-std=c11", *FLAGS, "-DFUZZ_MAIN", TESTS / "fuzz_plan.c", *core]
    build(compiler, *source, "-lm", "-o", program)
    assert checks_passed(run(str(program), "2", "1")) > 10


def test_all_floats(compiler: str, core: list[Path], tmp_path: Path) -> None:
    """One float32 in 16381: each activation within 2 ulp of its formula, the same bits from every
    instruction set, and nothing wrong where denormal numbers are flushed to zero.

    The step is prime, so that all exponents and all last digits occur; 1 takes a quarter of an
    hour.
    """
    program = tmp_path / "all_floats"
    build(compiler, "-std=c11", *FLAGS, TESTS / "all_floats.c", *core, "-lm", "-o", program)
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
    """Its flags and files are enough for each source, and what it links works.

    The objects are those of the tests above: -O3 takes a minute. The program is C++, too, and the
    core compiles without a warning.
    """
    compiler = find_compilers()[0]
    command, _, program = the_command().partition(" && ")
    assert program == "./embed"
    words = shlex.split(compiler)
    expanded = run("sh", "-c", f"cd {shlex.quote(str(ROOT))} && echo {command}").stdout.split()
    _, *arguments = expanded[: expanded.index("-o")]
    sources = [word for word in arguments if word.endswith(".c")]
    assert {ROOT / name for name in sources} == {
        *CSRC.rglob("*.c"),
        ROOT / "examples" / "embed.c",
    }
    flags = [word for word in arguments if word not in sources]
    assert "-O3" in flags
    done = subprocess.run(
        [*words, *flags, *WARNINGS, "-fsyntax-only", *sources], cwd=ROOT, check=False
    )
    assert done.returncode == 0, command
    objects = core_to_link(compiler)
    linked = ["-O0" if word == "-O3" else word for word in flags if word != "-lm"]
    linked += ["examples/embed.c", *map(str, objects), "-lm", "-o", str(tmp_path / "embed")]
    subprocess.run([*words, *linked], cwd=ROOT, check=True)
    done = run(tmp_path / "embed")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["4 6 6 6 6 6 4", *["6 9 9 9 9 9 6"] * 3, "4 6 6 6 6 6 4"]
    assert done.stderr == ""
    if plus_plus := c_plus_plus(compiler):
        arguments = ["-fsyntax-only", "-x", "c++", "-Wall", "-Werror", "-Icsrc", "examples/embed.c"]
        subprocess.run([*shlex.split(plus_plus), *arguments], cwd=ROOT, check=True)


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tests/c/golden.c with the whole core, built by the first compiler there is."""
    compiler, program = find_compilers()[0], tmp_path_factory.mktemp("golden") / "golden"
    source: Arguments = ["-std=c11", *FLAGS, TESTS / "golden.c", *core_to_link(compiler)]
    build(compiler, *source, "-lm", "-pthread", "-o", program)
    return program


@pytest.mark.skipif("avx512" not in _core.compiled_isas(), reason="made of the kernels of x86-64")
def test_golden_is_what_is_made() -> None:
    """The problems, and some of the hashes, which take minutes as a whole."""
    done = run_python(str(TESTS / "make_golden.py"), "--check", "40")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("isa", _core.compiled_isas())
def test_golden(golden: Path, isa: str) -> None:
    """Hashes of results computed exactly, in Python, without this library."""
    done = run(golden, isa)
    if done.returncode == CPU_LACKS_IT:
        assert isa not in _core.available_isas()
        pytest.skip(f"this CPU lacks {isa}")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
