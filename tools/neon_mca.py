"""How many cycles the NEON loops take on ARM CPUs that are not here: `make neon-mca`.

    python tools/neon_mca.py [--compiler aarch64-linux-gnu-gcc]

Compiles csrc/isa/neon.c and bench/one_pixel.c, takes the longest way through the innermost loop of
each kernel below out of the disassembly and has llvm-mca repeat it: a static estimate, with all
loads hitting L1 and all branches predicted, from LLVM's model of each core (for apple-m1 that is
Cyclone's). Prints the table of bench/README.md: cycles per vector of outputs, ours beside one pixel
per pass as XNNPACK loops, and what the multiply-adds alone would take on that core's pipes.
Needs aarch64-linux-gnu-gcc (Debian: gcc-aarch64-linux-gnu) and llvm-mca of LLVM 18 or newer
(Debian: llvm-19).
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import code_shape
from disassembly import AArch64, Instruction, functions
from flow import loops

ROOT = Path(__file__).resolve().parent.parent
ONE_PIXEL = ROOT / "bench" / "one_pixel.c"

#: CPU of llvm-mca -> its pipes for vector multiply-adds, of 128 bits each.
CPUS = {"neoverse-n1": 2, "neoverse-v2": 4, "apple-m1": 4}

#: What is compared: a kernel of csrc/nhwc_kernels.h, and a function of bench/one_pixel.c.
PAIRS = [
    ("3x3, stride 1", r"k3x3s1_t[1-9]x\d", "one_pixel_9"),
    ("3x3, stride 2", r"k3x3s2_t[1-9]x\d", "one_pixel_9"),
    ("5x5, stride 1", r"k5x5s1_t[1-9]x\d", "one_pixel_25"),
    ("5x5, stride 2", r"k5x5s2_t[1-9]x\d", "one_pixel_25"),
]
ITERATIONS = 200


@dataclass(frozen=True)
class Body:
    """One iteration of a loop."""

    name: str
    instructions: list[Instruction]
    outputs: float  #: vectors of outputs that it finishes

    def count(self, what: str) -> float:
        """Vectors loaded, or multiply-adds, per vector of outputs."""
        machine = AArch64()
        count = machine.vectors_loaded if what == "loads" else machine.is_fma
        return sum(int(count(i)) for i in self.instructions) / self.outputs


def heaviest_loop(body: list[Instruction]) -> list[Instruction]:
    """The way through the innermost loop that multiplies most."""
    machine = AArch64()
    fmas = {i for i, instruction in enumerate(body) if machine.is_fma(instruction)}
    found = [loop for loop in loops(body, machine) if loop.instructions & fmas]
    innermost = [
        loop for loop in found if not any(o.instructions < loop.instructions for o in found)
    ]
    # Of the ways with most multiply-adds the longest: a row is finished and stored, too.
    paths = [loop.heaviest_path(lambda i: 1000 * (i in fmas) + 1) for loop in innermost]
    return [body[i] for i in max(paths, key=lambda path: len(fmas.intersection(path)))]


def as_source(body: Body) -> str:
    """What an assembler reads; where jumps lead does not matter here."""
    lines = []
    for i in body.instructions:
        operands = re.sub(r"\b[0-9a-f]+ <[^>]*>", "away", i.operands)
        lines.append(f"\t{i.mnemonic} {operands}")
    return "\n".join([*lines, "away:", ""])


def cycles(body: Body, mca: str, cpu: str) -> float:
    """Per vector of outputs, in the long run."""
    command = [mca, "-mtriple=aarch64", f"-mcpu={cpu}", f"-iterations={ITERATIONS}"]
    done = subprocess.run(
        command, input=as_source(body), capture_output=True, text=True, check=False
    )
    total = re.search(r"Total Cycles: +(\d+)", done.stdout)
    if done.returncode or not total:
        sys.exit(f"{mca} on {body.name}, {cpu}:\n{done.stderr[-2000:]}")
    return int(total[1]) / ITERATIONS / body.outputs


def find_mca() -> str:
    """The newest llvm-mca; before LLVM 18 there is no model of neoverse-v2."""
    for version in range(30, 17, -1):
        if found := shutil.which(f"llvm-mca-{version}"):
            return found
    sys.exit("no llvm-mca of LLVM 18 or newer (Debian: llvm-19)")


def kernel_bodies(listing: str) -> dict[str, Body]:
    """Of every inner float32 kernel."""
    found = {}
    bodies = dict(functions(listing))
    for name in bodies:
        match = code_shape.KERNEL.fullmatch(name)
        taps = code_shape.taps_of(name)
        if not match or not taps or match["edge"] != "inner" or match["dtype"] != "f32":
            continue
        outputs = taps / (int(match["kh"]) * int(match["kw"]))
        short = name.removeprefix("dw_nhwc_").removesuffix("_inner_f32_neon")
        body = code_shape.resolved(name, bodies)
        found[short] = Body(short, heaviest_loop(body), outputs)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--compiler", default="aarch64-linux-gnu-gcc")
    compiler = parser.parse_args().compiler
    if not shutil.which(compiler):
        sys.exit(f"no {compiler} (Debian: gcc-aarch64-linux-gnu)")
    mca = find_mca()
    ours = kernel_bodies(code_shape.disassemble(compiler, code_shape.source_of("neon")))
    # 8 channels are two vectors.
    theirs = {
        name: Body(name, heaviest_loop(body), 2)
        for name, body in functions(code_shape.disassemble(compiler, ONE_PIXEL))
    }
    columns = [f"{cpu} | one pixel | FMA" for cpu in CPUS]
    print(f"| | kernel | vectors loaded, ours | one pixel | {' | '.join(columns)} |")
    print("|---" * (4 + 3 * len(CPUS)) + "|")
    for label, pattern, other in PAIRS:
        for name, body in ours.items():  # the preferred one first, as in the list
            if not re.fullmatch(pattern, name):
                continue
            taps = round(body.count("fmas"))
            cells = [label, f"`{name}`", f"{body.count('loads'):.1f}"]
            cells.append(f"{theirs[other].count('loads'):.1f}")
            for cpu, pipes in CPUS.items():
                cells.append(f"**{cycles(body, mca, cpu):.2f}**")
                cells.append(f"{cycles(theirs[other], mca, cpu):.2f}")
                cells.append(f"{taps / pipes:.2f}")
            print(f"| {' | '.join(cells)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
