"""The C core for systems that are not here: does it compile and link, and where something can run
it, does it compute? `make zig-check`.

    python tools/zig_check.py [TARGET...]

Compiles every file of csrc/ for each target with the clang in PyPI's ziglang, which brings the C
libraries of all of them along, without a warning and without a GNU extension, and links them with
the programs in tests/c: threads, floating-point state, results. Those are run for x86-64 Windows if
there is a wine (Debian: wine, wine64), for musl on this processor, for the other's under qemu-user;
for the rest nothing is. clang is not MSVC, whose paths only a Windows machine can try
(.github/workflows/wheels.yml).
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import commands
import pythons

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"

TARGETS = (
    *("x86_64-windows-gnu", "aarch64-windows-gnu"),
    *("x86_64-macos", "aarch64-macos"),
    *("x86_64-linux-musl", "aarch64-linux-musl"),
)

#: As setup.py has them. Optimised only where it runs: Windows has rules of its own for the stack
#: and for the registers of a caller, and unoptimised code keeps to no register at all.
FLAGS = [
    "-std=c11",
    "-fno-sanitize=all",
    "-g0",
    "-ffp-contract=off",
    "-fvisibility=hidden",
    f"-I{CSRC}",
]
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wgnu", "-Wvla", "-Werror"]
STRICT += ["-Wno-unused-command-line-argument"]  # zig adds some of its own

PROGRAMS = (
    "golden",
    "golden_quantized",
    "test_api",
    "test_copies",
    "test_grad",
    "test_half",
    "test_measure",
    "test_quantized",
    "test_threads",
)
RUNS = [("golden", isa) for isa in ("portable", "neon", "avx2", "avx512", "auto")]
RUNS += [(program, "") for program in PROGRAMS[1:]]
CPU_LACKS_IT = 77  # the exit status of golden


def emulator(target: str) -> list[str] | None:
    """The words before a program of a target; None if nothing here runs it."""
    machine, system = target.split("-")[:2]
    if system == "windows" and machine == platform.machine():
        found = shutil.which("wine") or shutil.which("wine64")
        return [found] if found else None
    if system == "linux":
        if machine == platform.machine():
            return []
        found = shutil.which(f"qemu-{machine}-static")
        return [found] if found else None
    return None


def wine_settings() -> dict[str, str]:
    """Its folder is made by the first call, within some 10 s: without .NET and a browser."""
    folder = pythons.cache() / "wine"
    folder.parent.mkdir(parents=True, exist_ok=True)
    return {"WINEPREFIX": str(folder), "WINEDEBUG": "-all", "WINEDLLOVERRIDES": "mscoree,mshtml="}


def zig(target: str, *arguments: object) -> str | None:
    """What the compiler says if it fails."""
    done = commands.run([sys.executable, "-m", "ziglang", "cc", "-target", target, *arguments])
    return done.stdout or f"exit status {done.returncode}" if done.returncode else None


def run_programs(folder: Path, words: list[str]) -> list[str]:
    """Runs each, prints what it found; what is wrong."""
    faults = []
    for name, argument in RUNS:
        command = [*words, folder / f"{name}.exe", *filter(None, [argument])]
        done = commands.run(command, **wine_settings())
        if done.returncode == CPU_LACKS_IT:
            continue
        said = [line for line in done.stdout.splitlines() if re.search(r"expected, |passed", line)]
        if done.returncode or not said:
            status = f"exit status {done.returncode}"
            faults.append(f"{name} {argument}: {status}:\n{done.stdout[-3000:]}")
        else:
            print(f"  {name:<13}{said[-1]}", flush=True)
    return faults


def check(target: str, pool: ThreadPoolExecutor) -> list[str]:
    """What is wrong with a target."""
    sources = [*(CSRC / "isa").glob("*.c"), *CSRC.glob("*.c")]
    sources += [ROOT / "tests" / "c" / f"{name}.c" for name in PROGRAMS]
    words = emulator(target)
    flags = [*FLAGS, "-O0" if words is None else "-O2"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        objects = [folder / f"{source.stem}.o" for source in sources]

        def compile_one(number: int) -> str | None:
            return zig(target, *flags, *STRICT, "-c", sources[number], "-o", objects[number])

        def link(program: str) -> str | None:
            core = objects[: -len(PROGRAMS)]
            linked = [folder / f"{program}.o", *core, "-lm", "-o", folder / f"{program}.exe"]
            return zig(target, *flags, *linked)

        faults = [fault for fault in pool.map(compile_one, range(len(sources))) if fault]
        faults = faults or [fault for fault in map(link, PROGRAMS) if fault]
        if not faults:
            how = "not run" if words is None else f"run by {words[0]}" if words else "run"
            print(f"{target:<22}{len(sources)} files compiled, linked, {how}", flush=True)
            if words is not None:
                faults = run_programs(folder, words)
    return faults


def main() -> int:
    targets = sys.argv[1:] or TARGETS
    wrong = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for target in targets:
            for fault in check(target, pool):
                wrong += 1
                print(f"{target}: {fault[:4000]}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
