"""Every instruction set with the same problems, natively and in emulators: `make test-isa`.

    python tools/isa_matrix.py [--short] [PYTEST ARGUMENT...]

1. Golden vectors: tests/c/golden.c with the whole C core, linked statically, run with each
   instruction set of this CPU, on an emulated Haswell (where it has to choose avx2), an emulated
   Nehalem (portable) and an emulated AArch64 CPU (neon). All must give the hashes that
   tests/c/make_golden.py computed without the C core; a line tells the hash of each. Beside them
   golden_quantized.c, by each kernel for bytes, and test_slopes.c, which have hashes of their own,
   test_half.c, test_quantized.c and test_threads.c.
2. The tests of kernels and operation in Python with DWCONV_ISA, natively.
3. The same in a selection with this Python on the emulated Haswell and Nehalem, and with Debian's
   Python for arm64 and a cross-compiled wheel (tools/arm64.py, tools/build_wheels.py).

--short has fewer files in the second part and nothing of the third but the choice itself. What is
not installed (qemu-user-static, gcc-aarch64-linux-gnu) is said, and is a failure unless --short.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import arm64
import commands

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"

#: As setup.py has them.
FLAGS = ["-std=c11", "-O3", "-g0", "-ffp-contract=off", f"-I{CSRC}"]
CPU_LACKS_IT = 77  # the exit status of golden

#: The tests whose results depend on the instruction set.
NATIVE_TESTS = [
    *("test_ops", "test_bits", "test_int32", "test_planar", "test_activations"),
    *("test_guard_pages", "test_gradients", "test_plan", "test_layer", "test_model"),
]

#: With --short: what calls without naming an instruction set. The others force each by name anyway.
SHORT_TESTS = ["test_isa", "test_plan", "test_layer", "test_layer_plan", "test_model"]

#: A selection for emulators, which are 8 to 500 times as slow: each kernel's tails and edges are in
#: the golden vectors, so this looks at the way from Python to them and back.
EMULATED_TESTS = ["test_int32", "test_plan", "test_layer_plan", "test_layer"]


@dataclass(frozen=True)
class Cpu:
    """A processor to run on."""

    name: str
    machine: str  #: 'x86_64', 'aarch64'
    emulator: tuple[str, ...]  #: words before the program; none: this CPU
    chooses: str | None  #: the instruction set that it has to choose

    @property
    def lacks(self) -> str | None:
        """What has to be installed to run or compile for it."""
        if self.emulator and not shutil.which(self.emulator[0]):
            return f"no {self.emulator[0]} (Debian: qemu-user-static)"
        if not shutil.which(self.compiler):
            return f"no {self.compiler} (Debian: gcc-{self.machine.replace('_', '-')}-linux-gnu)"
        return None

    @property
    def compiler(self) -> str:
        return "gcc" if self.machine == platform.machine() else f"{self.machine}-linux-gnu-gcc"


HERE = Cpu("this CPU", platform.machine(), (), None)
EMULATED = (
    Cpu("Haswell", "x86_64", ("qemu-x86_64-static", "-cpu", "Haswell"), "avx2"),
    Cpu("Nehalem", "x86_64", ("qemu-x86_64-static", "-cpu", "Nehalem"), "portable"),
    Cpu("AArch64", "aarch64", ("qemu-aarch64-static",), "neon"),
)


#: Where Python runs: not beside dwconv/, which would be found before what is installed.
ELSEWHERE = ROOT / "tests"


def run(words: Sequence[str | Path], **environment: str) -> subprocess.CompletedProcess[str]:
    return commands.run(words, cwd=ELSEWHERE, **environment)


# ---- golden vectors ------------------------------------------------------------------------------


PROGRAMS = (
    *("golden", "golden_quantized"),
    *("test_half", "test_slopes", "test_quantized", "test_threads"),
)


def build_programs(compiler: str, folder: Path) -> Path:
    """A folder with each, and the C core in it; static, so that an emulator needs nothing else."""
    sources = [*(CSRC / "isa").glob("*.c"), *CSRC.glob("*.c")]
    folder.mkdir()

    def compile_one(source: Path) -> Path:
        compiled = folder / f"{source.stem}.o"
        done = run([*launcher, compiler, *FLAGS, "-c", source, "-o", compiled])
        if done.returncode:
            sys.exit(f"{compiler} {source.name} failed:\n{done.stdout}")
        return compiled

    launcher = ["ccache"] if shutil.which("ccache") else []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_one, sources))
    for name in PROGRAMS:
        program = [*FLAGS, ROOT / "tests" / "c" / f"{name}.c", *objects]
        done = run([compiler, *program, "-static", "-pthread", "-lm", "-o", folder / name])
        if done.returncode:
            sys.exit(f"{compiler} {name} failed:\n{done.stdout}")
    return folder


def checks(cpu: Cpu, program: Path) -> str | None:
    """Runs a program that counts checks; what is wrong."""
    began, what = time.monotonic(), program.name.removeprefix("test_")
    # QEMU flushes denormal float16 as well, as CPUs do not.
    arguments = ["1", "ieee"] if cpu.emulator and what == "half" else []
    done = run([*cpu.emulator, program, *arguments])
    passed = re.search(r"\d+ checks passed", done.stdout)
    if done.returncode or not passed:
        return f"{cpu.name}, {what}: exit status {done.returncode}: {done.stdout[-2000:]}"
    for kernels, total in re.findall(r"^(\w+): .* total (\w+)", done.stdout, re.MULTILINE):
        print(f"{cpu.name:<10}{kernels:<20}{total}", flush=True)
    print(f"{cpu.name:<10}{what:<18}{passed[0]}, {time.monotonic() - began:.1f} s", flush=True)
    return None


def golden(cpu: Cpu, program: Path, isa: str) -> str | None:
    """Runs the problems, prints the line of this instruction set, returns what is wrong."""
    began = time.monotonic()
    done = run([*cpu.emulator, program, isa])
    if done.returncode == CPU_LACKS_IT:
        return None
    last = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else "printed nothing"
    line = re.match(
        r"(\w+), (.*): (\d+) of (\d+) problems as expected, by (\d+) strategies, total (\w+)"
        r".*, of 16 bits (\d+), total (\w+)",
        last,
    )
    if not line:
        return f"{cpu.name}, {isa}: exit status {done.returncode}: {done.stdout[-2000:]}"
    seconds = time.monotonic() - began
    print(
        f"{cpu.name:<10}{line[1]:<10}{line[6]}  {line[3]} of {line[4]} by {line[5]} strategies, "
        f"of 16 bits {line[7]}: {line[8]}, {line[2]}, {seconds:.1f} s",
        flush=True,
    )
    if done.returncode:
        return f"{cpu.name}, {line[1]}: {done.stdout[-2000:]}"
    if isa == "auto" and cpu.chooses and line[1] != cpu.chooses:
        return f"{cpu.name}: expected it to choose {cpu.chooses}; it chose {line[1]}"
    return None


def all_golden(cpus: list[Cpu]) -> list[str]:
    """The golden vectors everywhere; what is wrong."""
    print(f"{'CPU':<10}{'ISA':<10}hash of all results", flush=True)
    wrong = []
    with tempfile.TemporaryDirectory() as name:
        programs: dict[str, Path] = {}
        for cpu in cpus:
            if cpu.compiler not in programs:
                programs[cpu.compiler] = build_programs(cpu.compiler, Path(name) / cpu.machine)
            folder = programs[cpu.compiler]
            isas = ["auto", "portable"] if cpu.emulator else ["portable", "neon", "avx2", "avx512"]
            if cpu.chooses == "portable":
                isas = ["auto"]
            faults = [golden(cpu, folder / "golden", isa) for isa in isas]
            faults += [checks(cpu, folder / name) for name in PROGRAMS[1:]]
            for fault in filter(None, faults):
                print(fault)
                wrong.append(fault.splitlines()[0])
    return wrong


# ---- Python --------------------------------------------------------------------------------------

CHOICE = "import dwconv; print(dwconv.isa.default())"


def files(names: list[str]) -> list[str]:
    return [str(path) for name in names for path in (ROOT / "tests").glob(f"*/{name}.py")]


def pytest(title: str, words: list[str], extra: list[str], **environment: str) -> list[str]:
    """Runs pytest; what is wrong."""
    print(f"\n== {title}", flush=True)
    command = [*words, "-m", "pytest", "-q", "-p", "no:cacheprovider", *extra]
    done = subprocess.run(
        command,
        cwd=ELSEWHERE,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        check=False,
    )
    return [f"{title}: pytest gave {done.returncode}"] if done.returncode else []


def native_python(short: bool, extra: list[str]) -> list[str]:
    """Each instruction set of this CPU as the default and as the only one that tests force."""
    done = run([sys.executable, "-c", "import dwconv; print(*dwconv.isa.available())"])
    wrong = []
    for isa in done.stdout.split():
        wrong += pytest(
            f"this CPU, DWCONV_ISA={isa}",
            [sys.executable],
            [*files(SHORT_TESTS if short else NATIVE_TESTS), *extra],
            DWCONV_ISA=isa,
            DWCONV_TEST_ISAS=isa,
        )
    return wrong


def emulated_python(cpu: Cpu, short: bool, extra: list[str]) -> list[str]:
    """What it chooses and, unless short, the selection of tests."""
    environment = {"OPENBLAS_NUM_THREADS": "1"}
    if cpu.machine == "x86_64":  # what NumPy's OpenBLAS takes an emulated CPU for may have AVX
        environment["OPENBLAS_CORETYPE"] = "Nehalem"
    if cpu.machine == platform.machine():
        words = [*cpu.emulator, sys.executable]
    elif short:
        return []
    else:
        if what := arm64.missing():
            return [f"{cpu.name}: {what}"]
        site = arm64_site()
        words = arm64.command(f"python{arm64.PYTHON}")
        environment |= {"PYTHONPATH": str(site)}
    done = run([*words, "-c", CHOICE], **environment)
    chosen = (done.stdout.split() or ["nothing"])[-1]
    print(f"{cpu.name}: dwconv.isa.default() is {chosen}", flush=True)
    if chosen != cpu.chooses:
        return [f"{cpu.name}: expected {cpu.chooses}; received {done.stdout}"]
    if short:
        return []
    title = f"{cpu.name}: Python in {cpu.emulator[0]}"
    environment |= {"DWCONV_TEST_ISAS": chosen, "DWCONV_TEST_EMULATOR": shlex.join(words[:-1])}
    return pytest(title, words, [*files(EMULATED_TESTS), *extra], **environment)


def arm64_site() -> Path:
    """A folder with a cross-compiled wheel and what the tests need."""
    import build_wheels

    wheels = list(build_wheels.WHEELHOUSE.glob(f"*cp{arm64.PYTHON.replace('.', '')}-*aarch64*.whl"))
    newest = max(path.stat().st_mtime for path in [*CSRC.rglob("*"), *ROOT.glob("dwconv/*")])
    if not wheels or wheels[0].stat().st_mtime < newest:
        tool = ROOT / "tools" / "build_wheels.py"
        options = ["--pythons", arm64.PYTHON, "--machines", "aarch64"]
        subprocess.run([sys.executable, str(tool), *options], check=True)
        wheels = list(build_wheels.WHEELHOUSE.glob("*aarch64*.whl"))
    site = ROOT / "build" / "arm64-site"
    shutil.rmtree(site, ignore_errors=True)
    arm64.install(site, f"{wheels[0]}[test]")
    return site


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--short", action="store_true", help="within minutes: see above")
    arguments, extra = parser.parse_known_args()
    wrong, cpus = [], [HERE]
    for cpu in EMULATED:
        if lacks := cpu.lacks:
            print(f"{cpu.name} is left out: {lacks}")
            if not arguments.short:
                wrong.append(f"{cpu.name}: {lacks}")
        else:
            cpus.append(cpu)
    wrong += all_golden(cpus)
    for cpu in cpus[1:]:
        wrong += emulated_python(cpu, arguments.short, extra)
    wrong += native_python(arguments.short, extra)
    print("\n" + ("\n".join(["FAILED", *wrong]) if wrong else "every instruction set as expected"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
