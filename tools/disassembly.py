"""What objdump prints, as functions of instructions, and what these mean on x86-64 and AArch64."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Instruction:
    address: int
    mnemonic: str
    operands: str


_FUNCTION = re.compile(r"^[0-9a-f]+ <(?P<name>[^>]+)>:$")
_INSTRUCTION = re.compile(r"^\s*(?P<address>[0-9a-f]+):\t(?P<mnemonic>\S+)\s*(?P<operands>.*)")
_COMMENT = re.compile(r"\s*(# |//).*")  # of x86 and of AArch64, where #16 is a number


def functions(listing: str) -> Iterator[tuple[str, list[Instruction]]]:
    """(name, instructions) of each function in what `objdump -d --no-show-raw-insn` prints."""
    name, body = "", list[Instruction]()
    for line in listing.splitlines():
        if head := _FUNCTION.match(line):
            if name:
                yield name, body
            name, body = head["name"], []
        elif found := _INSTRUCTION.match(line):
            mnemonic, operands = found["mnemonic"], _COMMENT.sub("", found["operands"])
            if mnemonic in ("bnd", "notrack", "rep", "lock"):  # a prefix
                mnemonic, _, operands = operands.partition(" ")
            body.append(Instruction(int(found["address"], 16), mnemonic, operands.strip()))
    if name:
        yield name, body


class X86:
    """What to look for in the AT&T syntax of x86-64."""

    _fma = re.compile(r"vfn?m(add|sub)\d+p[sdh]")
    _vector = re.compile(r"%[xyz]mm\d+")
    _memory = re.compile(r"[-\w]*\((?P<base>%\w+)?[^)]*\)")
    _scalar = re.compile(r"v?mov[dq]")  # a general register that is kept in a vector register

    def jump(self, i: Instruction) -> tuple[int | None, bool] | None:
        """(where to, whether it may fall through) of a jump; None for all others."""
        if i.mnemonic.startswith("ret") or i.mnemonic in ("ud2", "hlt"):
            return None, False
        if i.mnemonic.startswith("j"):
            return _address(i.operands), not i.mnemonic.startswith("jmp")
        return None

    def is_fma(self, i: Instruction) -> bool:
        return bool(self._fma.fullmatch(i.mnemonic))

    def vectors_loaded(self, i: Instruction) -> int:
        return int(self._uses_memory(i) and not self._stores(i))

    def vectors_stored(self, i: Instruction) -> int:
        return int(self._uses_memory(i) and self._stores(i))

    def frame_register(self, body: Iterable[Instruction]) -> str | None:
        """%rbp (or %r10) where it holds the frame's address and not just any."""
        for i in body:
            if i.mnemonic == "mov" and i.operands == "%rsp,%rbp":
                return "%rbp"
        return None

    def stack_slots(self, i: Instruction, frame: str | None) -> set[str]:
        """Where on the stack its memory operand is, such as {'0x40(%rsp)'}; empty: elsewhere."""
        memory = self._memory.search(i.operands)
        return {memory[0]} if memory and memory["base"] in ("%rsp", frame or "%rsp") else set()

    def _uses_memory(self, i: Instruction) -> bool:
        vector = self._vector.search(i.operands) and not self._scalar.fullmatch(i.mnemonic)
        return bool(vector and self._memory.search(i.operands))

    def _stores(self, i: Instruction) -> bool:
        """Memory is the last operand, except for a mask behind it: `%zmm0,(%rax){%k1}`."""
        return bool(re.search(r"\)(\{%k\d\})?$", i.operands))


class AArch64:
    """What to look for in the syntax of AArch64."""

    _fma = re.compile(r"v\d+\.(4s|2d),.*")
    _vector = re.compile(r"\bq\d+|\{?v\d+\.\d+[bhsd]")
    _branches = re.compile(r"b\.\w+|cbn?z|tbn?z")

    def jump(self, i: Instruction) -> tuple[int | None, bool] | None:
        if i.mnemonic in ("ret", "br", "brk", "udf"):
            return None, False
        if i.mnemonic == "b":
            return _address(i.operands), False
        if self._branches.fullmatch(i.mnemonic):
            return _address(i.operands.rpartition(",")[2]), True
        return None

    def is_fma(self, i: Instruction) -> bool:
        return i.mnemonic in ("fmla", "fmls") and bool(self._fma.match(i.operands))

    def vectors_loaded(self, i: Instruction) -> int:
        return self._moved(i, "ld")

    def vectors_stored(self, i: Instruction) -> int:
        return self._moved(i, "st")

    def frame_register(self, body: Iterable[Instruction]) -> str | None:
        for i in body:
            if re.fullmatch(r"x29, sp(, .*)?", i.operands) and i.mnemonic in ("mov", "add"):
                return "x29"
        return None

    def stack_slots(self, i: Instruction, frame: str | None) -> set[str]:
        memory = re.search(r"\[(\w+)(?:, #(-?\d+))?\]", i.operands)
        if not memory or memory[1] not in ("sp", frame or "sp"):
            return set()
        first = int(memory[2] or 0)
        count = max(self.vectors_loaded(i), self.vectors_stored(i))  # two for ldp and stp
        return {f"{memory[1]}+{first + 16 * k}" for k in range(count)}

    def _moved(self, i: Instruction, what: str) -> int:
        if not i.mnemonic.startswith(what) or not self._vector.search(i.operands):
            return 0
        return len(self._vector.findall(i.operands.partition("[")[0]))


Machine = X86 | AArch64


def _address(operands: str) -> int | None:
    """The target of `4f0 <name+0x10>`; None if it is computed or outside, as after a relocation."""
    found = re.match(r"\s*(?:0x)?([0-9a-f]+)\b", operands)
    return int(found[1], 16) if found else None
