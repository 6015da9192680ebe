"""Does the C core compile and link for systems that are not here? `make zig-check`.

    python tools/zig_check.py [TARGET...]

Compiles every file of csrc/ for each target with the clang in PyPI's ziglang, which brings the C
libraries of all of them along, without a warning and without a GNU extension, and links them with
tests/c/golden.c. Nothing is run; clang is not MSVC, whose paths only a Windows machine can try
(.github/workflows/wheels.yml).
"""

from __future__ import annotations

import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import commands

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"

TARGETS = (
    *("x86_64-windows-gnu", "aarch64-windows-gnu"),
    *("x86_64-macos", "aarch64-macos"),
    *("x86_64-linux-musl", "aarch64-linux-musl"),
)

#: As setup.py has them, but not optimised: what is asked is whether it compiles.
FLAGS = [
    "-std=c11",
    "-O0",
    "-fno-sanitize=all",
    "-g0",
    "-ffp-contract=off",
    "-fvisibility=hidden",
    f"-I{CSRC}",
]
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wgnu", "-Wvla", "-Werror"]
STRICT += ["-Wno-unused-command-line-argument"]  # zig adds some of its own


def zig(target: str, *arguments: object) -> str | None:
    """What the compiler says if it fails."""
    done = commands.run([sys.executable, "-m", "ziglang", "cc", "-target", target, *arguments])
    return done.stdout or f"exit status {done.returncode}" if done.returncode else None


def check(target: str, pool: ThreadPoolExecutor) -> list[str]:
    """What is wrong with a target."""
    sources = [*(CSRC / "isa").glob("*.c"), *CSRC.glob("*.c")]
    with tempfile.TemporaryDirectory() as name:
        objects = [Path(name) / f"{source.stem}.o" for source in sources]

        def compile_one(number: int) -> str | None:
            return zig(target, *FLAGS, *STRICT, "-c", sources[number], "-o", objects[number])

        faults = [fault for fault in pool.map(compile_one, range(len(sources))) if fault]
        if not faults:
            program = ROOT / "tests" / "c" / "golden.c"
            linked = zig(target, *FLAGS, program, *objects, "-lm", "-o", Path(name) / "golden")
            faults = [linked] if linked else []
        if not faults:
            print(f"{target:<22}{len(sources)} files compiled and linked", flush=True)
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
