"""What the compilers made of the kernels: `make shape`.

    python tools/code_shape.py [--compilers gcc,clang] [--all]

Compiles the files of csrc/isa as setup.py does, disassembles them and looks at the innermost loops
that multiply, of every tile kernel. Each must

- multiply as many vectors per tile as the tile has taps, those apart that its edge skips; else a
  loop stayed rolled. That is counted on the longest way through the loop, where all rows are valid,
  and, where a compiler has made several loops for different rows in the padding, in the largest.
- store no vector to the stack; else the tile does not fit the registers;
- keep no more constants there than the two bounds of the activation.

A table tells these numbers per kernel and the exit code whether all hold, and whether the kernels
are those that the compiled core lists.

Some kernels have faults that may stay: code_shape_known.txt, of the compiler versions that it
names. What another version makes of them is printed and no failure: it spills elsewhere, and nobody
has judged it. Where no version of the list is installed nothing is compared, which fails.

Only compilers that are installed are used; NEON needs aarch64-linux-gnu-gcc (Debian:
gcc-aarch64-linux-gnu).
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from disassembly import X86, AArch64, Instruction, Machine, functions
from flow import loops

from dwconv import _core

ROOT = Path(__file__).resolve().parent.parent

#: As setup.py has them; -fPIC as for every extension module.
FLAGS = ["-std=c11", "-O3", "-g0", "-ffp-contract=off", "-fvisibility=hidden", "-fPIC"]

#: Compiler -> the files of csrc/isa that it compiles.
TARGETS = {
    "gcc": ("avx2", "avx512"),
    "clang": ("avx2", "avx512"),
    "aarch64-linux-gnu-gcc": ("neon",),
}

#: Faults that are known, with the reason why they may stay.
KNOWN = ROOT / "tools" / "code_shape_known.txt"

#: What a loop may keep on the stack: the activation's bounds, read once per tile as weights are.
CONSTANTS = 2

KERNEL = re.compile(
    r"dw_nhwc_k(?P<kh>\d+)x(?P<kw>\d+)s(?P<stride>\d+)(?P<flavour>(?:m(?P<sums>\d?))?p?e?a?d?)"
    r"_t(?P<tile_h>\d+)x(?P<tile_w>\d+)_(?P<edge>inner|left|right|both)"
    r"_(?P<dtype>[a-z]+\d+)_(?P<isa>[a-z0-9]+)"
)


@cache
def listed(isa: str) -> list[dict[str, Any]]:
    """The kernels of an instruction set, from the list of the compiled core; also of those of
    another processor.
    """
    return _core.kernels(isa, "float32")


def registers_of(isa: str) -> int:
    """Vector registers of an instruction set."""
    return int(listed(isa)[0]["registers"])


def tile_names(isa: str) -> set[str]:
    """The tile kernels of an instruction set, without its name: 'k3x3s1_t2x4'."""
    others = ("general", "wide")  # whose taps are no compile-time number
    tiles = [k for k in listed(isa) if k["family"] == "nhwc" and k["variant"] not in others]
    return {kernel["name"].removesuffix(f"_{isa}") for kernel in tiles}


def sizes_of(match: re.Match[str]) -> list[int]:
    """kh, kw, stride, tile_h, tile_w of a kernel's name."""
    return [int(match[key]) for key in ("kh", "kw", "stride", "tile_h", "tile_w")]


def taps_of(name: str) -> int | None:
    """Multiply-adds of one tile of the kernel with that name; None if it is no tile kernel.

    The edges skip the columns of SAME padding: (kw - 1) // 2 on the left at stride 1, one less for
    stride 2 (an even width), the rest on the right. A rolling kernel, tile_h 0, goes through its
    loop once per row of outputs.
    """
    match = KERNEL.fullmatch(name)
    if not match:
        return None
    kh, kw, stride, tile_h, tile_w = sizes_of(match)
    padding = max(kw - stride, 0)
    left, right = padding // 2, padding - padding // 2
    columns = (tile_w - 1) * stride + kw
    if match["flavour"] == "a":  # lanes of two columns: their windows together
        return kh * max(tile_h, 1) * tile_w * (kw + stride - 1)
    first = left if match["edge"] in ("left", "both") else 0
    end = columns - (right if match["edge"] in ("right", "both") else 0)
    pairs = sum(first <= c * stride + kj < end for c in range(tile_w) for kj in range(kw))
    blocks = 2 if match["flavour"] == "d" else int(match["sums"] or 1)
    return blocks * kh * max(tile_h, 1) * pairs


def spills_expected(name: str) -> int:
    """Most spills of one tile: 0 if its sums, the inputs of a row, a weight and what the flavour
    needs fit the registers. Each vector for which there is no room may be stored once per input row
    and loaded twice. Such kernels are in the lists because they are faster than narrower ones, and
    than the same without spills, which load inputs again: 7x7x1024 3x3 takes 11.9 us with its
    spills, 18.7 without on Zen 4.
    """
    match = KERNEL.fullmatch(name)
    if not match:
        return 0
    kh, kw, stride, tile_h, tile_w = sizes_of(match)
    flavour = match["flavour"]
    window = kw + stride - 1 if "a" in flavour else kw
    inputs = tile_w * kw if "p" in flavour else (tile_w - 1) * stride + window
    per_input = int(match["sums"] or 1)
    permuted = "m" in flavour and per_input == 1
    sums = tile_w * (tile_h or -(-kh // stride)) * (2 if "d" in flavour else per_input)
    if per_input > 1:  # an input is loaded for the sums of its column
        inputs = 1
    rows = (tile_h - 1) * stride + kh if tile_h else stride
    masks = 0
    if match["isa"] == "avx2":  # AVX-512 has registers of their own for masks
        masks = 2 * ("a" in flavour) + kw * (1 + permuted) * ("e" in flavour)
        masks += permuted
    needed = sums + inputs + 1 + permuted + masks
    return 3 * rows * max(0, needed - registers_of(match["isa"]))


@dataclass(frozen=True)
class Counts:
    """What an innermost loop does with vectors."""

    fmas: int  #: per tile
    loads: int  #: per tile, from memory operands, too
    stores: int
    spills: int  #: stores to and loads from places on the stack to which the loop stores
    constants: int  #: places on the stack that it only reads


@dataclass
class Shape:
    """The code of one kernel."""

    name: str
    expected: int | None  #: multiply-adds per tile; None for the general kernel
    loops: list[Counts] = field(default_factory=list)
    fmas_outside: int = 0

    @property
    def largest(self) -> Counts:
        """The loop with the most multiply-adds."""
        return max(self.loops, key=lambda loop: loop.fmas, default=Counts(0, 0, 0, 0, 0))

    @property
    def spills(self) -> int:
        """At most in a loop."""
        return max((loop.spills for loop in self.loops), default=0)

    @property
    def constants(self) -> int:
        """At most in a loop."""
        return max((loop.constants for loop in self.loops), default=0)

    @property
    def faults(self) -> list[str]:
        found = []
        if not self.loops:
            found.append("no loop multiplies vectors")
        if self.fmas_outside and self.expected is not None and "_t0x" not in self.name:
            # Of rolling kernels, compilers take the first and the last rows out of the loop.
            found.append(f"{self.fmas_outside} multiply-adds outside of loops")
        if self.expected is not None and self.loops and self.largest.fmas != self.expected:
            found.append(f"expected {self.expected} multiply-adds; found {self.largest.fmas}")
        if self.spills > spills_expected(self.name):
            found.append(f"{self.spills} spills in a loop")
        if self.constants > CONSTANTS + spills_expected(self.name):
            found.append(f"{self.constants} constants on the stack")
        return found


def shape_of(name: str, body: list[Instruction], machine: Machine) -> Shape:
    """Counts along the way through each innermost loop that multiplies most: all rows are valid."""
    shape = Shape(name, taps_of(name))
    fmas = {i for i, instruction in enumerate(body) if machine.is_fma(instruction)}
    multiplying = [loop for loop in loops(body, machine) if loop.instructions & fmas]
    innermost = [
        loop
        for loop in multiplying
        if not any(other.instructions < loop.instructions for other in multiplying)
    ]
    frame = machine.frame_register(body)
    for loop in innermost:
        path = loop.heaviest_path(lambda i: i in fmas)
        loaded, stored = list[str](), list[str]()  # slots of the stack
        for i in loop.instructions:
            slots = machine.stack_slots(body[i], frame)
            loaded += slots if machine.vectors_loaded(body[i]) else ()
            stored += slots if machine.vectors_stored(body[i]) else ()
        spilled = [slot for slot in loaded if slot in stored]
        counts = Counts(
            fmas=len(fmas.intersection(path)),
            loads=sum(machine.vectors_loaded(body[i]) for i in path),
            stores=sum(machine.vectors_stored(body[i]) for i in path),
            spills=len(stored) + len(spilled),
            constants=len(set(loaded) - set(stored)),
        )
        shape.loops.append(counts)
    shape.fmas_outside = len(fmas.difference(*(loop.instructions for loop in innermost)))
    return shape


def shapes(listing: str, machine: Machine) -> list[Shape]:
    """The kernels that multiply floating-point vectors in a listing."""
    bodies = dict(functions(listing))
    found = []
    for name in bodies:
        general = re.fullmatch(r"dw_nhwc_(general|wide_t\d+x\d+)_f\d+_\w+", name)
        if general or KERNEL.fullmatch(name):
            found.append(shape_of(name, resolved(name, bodies), machine))
    return found


def resolved(name: str, bodies: dict[str, list[Instruction]]) -> list[Instruction]:
    """A function's code; where it only jumps to another one with the same code, that one's."""
    body = bodies[name]
    while len(body) and body[0].mnemonic in ("jmp", "b"):
        target = re.search(r"<([^>+]+)>", body[0].operands)
        if not target or target[1] not in bodies:
            break
        body = bodies[target[1]]
    return body


def command_of(compiler: str) -> str:
    """The newest clang that is installed: clang 14 keeps the sums of many rolling kernels in
    memory, clang 16 and later keep them in registers.
    """
    versions = [f"clang-{version}" for version in range(30, 15, -1)] if compiler == "clang" else []
    return next(filter(shutil.which, versions), compiler)


def source_of(isa: str) -> Path:
    """The file that makes the kernels of an instruction set."""
    return ROOT / "csrc" / "isa" / f"{isa}.c"


def disassemble(compiler: str, source: Path) -> str:
    """The listing of what a compiler, or the newest of its name, makes of a C file."""
    compiler = command_of(compiler)
    prefix = compiler.rpartition("gcc")[0] if compiler.endswith("gcc") else ""
    with tempfile.TemporaryDirectory() as folder:
        compiled = Path(folder) / "kernels.o"
        subprocess.run([compiler, *FLAGS, "-c", str(source), "-o", str(compiled)], check=True)
        command = [f"{prefix}objdump", "--disassemble", "--no-show-raw-insn", str(compiled)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout


def version_of(compiler: str) -> str:
    """'gcc 12.2': what code_shape_known.txt calls a compiler, or the newest of its name."""
    command = [command_of(compiler), "--version"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"\b(\d+\.\d+)\.\d+", text)
    return f"{compiler} {found[1] if found else 'of unknown version'}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    installed = [compiler for compiler in TARGETS if shutil.which(command_of(compiler))]
    parser.add_argument("--compilers", default=",".join(installed), help=", ".join(TARGETS))
    parser.add_argument(
        "--write-known",
        action="store_true",
        help=f"all faults of these compilers to {KNOWN.name}, in place of what it has of them",
    )
    parser.add_argument("--all", action="store_true", help="a row per edge, not only of faults")
    arguments = parser.parse_args()
    compilers = [name for name in arguments.compilers.split(",") if name]
    if unknown := set(compilers) - set(installed):
        parser.error(f"expected compilers among {installed}; received {sorted(unknown)}")
    for compiler in set(TARGETS) - set(compilers):
        print(f"not looked at: {', '.join(TARGETS[compiler])} of {compiler}")
    jobs = [(compiler, isa) for compiler in compilers for isa in TARGETS[compiler]]
    versions = {compiler: version_of(compiler) for compiler in compilers}
    known = read_known(KNOWN.read_text(encoding="utf-8"))
    found: Known = {version: {} for version in versions.values()}
    wrong = dict.fromkeys(versions.values(), 0)
    with ThreadPoolExecutor(2) as pool:
        listings = pool.map(lambda job: disassemble(job[0], source_of(job[1])), jobs)
        for (compiler, isa), listing in zip(jobs, listings, strict=True):
            version = versions[compiler]
            limits = known.get(version, {})
            wrong[version] += report(version, isa, listing, arguments.all, limits, found[version])
    if arguments.write_known:
        KNOWN.write_text(written_known(KNOWN.read_text(encoding="utf-8"), found), encoding="utf-8")
        return 0
    passed, text = verdict(wrong, known)
    print(text)
    return 0 if passed else 1


Limits = dict[tuple[str, str], tuple[int, int, int]]  #: (isa, kernel) -> at most
Known = dict[str, Limits]  #: version of a compiler -> its limits; none: it has no faults


def verdict(wrong: dict[str, int], known: Known) -> tuple[bool, str]:
    """Whether all is well, and what to say: of versions -> how many kernels have unknown faults."""
    compared = {version: count for version, count in wrong.items() if version in known}
    if not compared:
        return False, (
            f"nothing was compared: expected one of {', '.join(sorted(known))}; "
            f"received {', '.join(sorted(wrong)) or 'no compiler'}"
        )
    others = [
        f"not compared, because {KNOWN.name} does not name it: {version}, "
        f"{count} kernels with faults"
        for version, count in wrong.items()
        if version not in known
    ]
    lines = [
        f"{version}: {count} kernels with unknown faults" for version, count in compared.items()
    ]
    if not any(compared.values()):
        lines = [f"all kernels as expected: {', '.join(compared)}"]
    return not any(compared.values()), "\n".join(others + lines)


def kernel_of(name: str) -> str:
    """Without edge, dtype and instruction set."""
    return re.sub(r"_(inner|left|right|both)_.*", "", name.removeprefix("dw_nhwc_"))


def read_known(text: str) -> Known:
    """Of KNOWN's text: multiply-adds, spills, constants at most, by compiler version and kernel."""
    known: Known = {}
    limits: Limits = {}
    for line in text.splitlines():
        if line.startswith("["):
            limits = known.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            isa, kernel, *numbers = line.split()
            fmas, spills, constants = map(int, numbers)
            limits[isa, kernel] = fmas, spills, constants
    return known


def written_known(text: str, found: Known) -> str:
    """KNOWN's text with the faults of some versions in place of what it has of these."""
    lines = [line for line in text.splitlines() if line.startswith("#")]
    for version, limits in sorted((read_known(text) | found).items()):
        lines += ["", f"[{version}]"]
        lines += [" ".join(map(str, (*key, *limits[key]))) for key in sorted(limits)]
    return "\n".join(lines) + "\n"


def numbers_of(shape: Shape) -> tuple[int, int, int]:
    """Multiply-adds, spills and constants at most in a loop."""
    return shape.largest.fmas, shape.spills, shape.constants


def is_known(isa: str, shape: Shape, known: Limits) -> bool:
    limits = known.get((isa, kernel_of(shape.name)))
    if not limits or not shape.loops or any("outside" in fault for fault in shape.faults):
        return False
    return all(a <= b for a, b in zip(numbers_of(shape), limits, strict=True))


def report(
    version: str, isa: str, listing: str, everything: bool, known: Limits, found_faults: Limits
) -> int:
    """Prints the table of one object file; returns how many kernels have faults that are not known.
    All that have one go to `found_faults`.
    """
    found = shapes(listing, AArch64() if isa == "neon" else X86())
    wrong = 0
    print(f"\n{version}, {isa}: vectors per tile")
    print(f"{'kernel':<40}{'fmas':>6}{'loads':>7}{'stores':>8}{'spills':>8}{'constants':>11}")
    for shape in found:
        edge = re.search("_(left|right|both)_", shape.name)
        if edge and not shape.faults and not everything:
            continue
        loop = shape.largest
        numbers = (
            f"{loop.fmas:>6}{loop.loads:>7}{loop.stores:>8}{loop.spills:>8}{loop.constants:>11}"
        )
        faults = "; ".join(shape.faults)
        if faults:
            key = isa, kernel_of(shape.name)
            pairs = zip(found_faults.get(key, (0, 0, 0)), numbers_of(shape), strict=True)
            fmas, spills, constants = (max(pair) for pair in pairs)
            found_faults[key] = fmas, spills, constants
            if is_known(isa, shape, known):
                faults = f"known: {faults}"
            else:
                wrong += 1
        print(f"{shape.name.removeprefix('dw_nhwc_'):<40}{numbers}  {faults}".rstrip())
    names = {kernel_of(shape.name) for shape in found if shape.expected is not None}
    for name in sorted(names ^ tile_names(isa)):
        print(f"{name}: {'not in the list of kernels' if name in names else 'no code was found'}")
        wrong += 1
    return wrong


if __name__ == "__main__":
    sys.exit(main())
