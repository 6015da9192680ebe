"""tools/code_shape.py on a few lines of disassembly whose faults are known."""

from __future__ import annotations

import sys

import pytest
from support import ROOT

sys.path.insert(0, str(ROOT / "tools"))

import code_shape
from disassembly import X86, AArch64

# One row of three taps, one column; a row pointer may be NULL: then 0x60, out of line, and back.
GOOD = """
0000000000000010 <dw_nhwc_k1x3s1_t1x1_inner_f32_avx2>:
  10:\tpush   %rbp
  14:\tvmovups (%rdi),%ymm5
  20:\tvmovups (%rsi),%ymm0
  24:\ttest   %rax,%rax
  28:\tje     60 <dw_nhwc_k1x3s1_t1x1_inner_f32_avx2+0x50>
  2c:\tvmovups (%rax),%ymm1
  30:\tvfmadd231ps 0x20(%rsi),%ymm1,%ymm0
  34:\tvmovups (%rax,%r8,1),%ymm1
  38:\tvfmadd231ps 0x40(%rsi),%ymm1,%ymm0
  3c:\tvmovups 0x40(%rbp),%ymm1
  40:\tvfmadd231ps 0x60(%rsi),%ymm1,%ymm0
  44:\tvmaxps %ymm5,%ymm0,%ymm0
  48:\tvmovups %ymm0,(%rdx)
  4c:\tadd    $0x20,%rdx
  50:\tdec    %rcx
  54:\tjne    20 <dw_nhwc_k1x3s1_t1x1_inner_f32_avx2+0x10>
  58:\tvzeroupper
  5c:\tret
  60:\tvmaxps %ymm5,%ymm0,%ymm0
  64:\tvmovups %ymm0,(%rdx)
  68:\tjmp    4c <dw_nhwc_k1x3s1_t1x1_inner_f32_avx2+0x3c>
"""

ARM = """
0000000000000000 <dw_nhwc_k1x1s1_t1x2_inner_f32_neon>:
   0:\tmov\tx29, sp
   4:\tldp\tq0, q1, [x0, #16]
   8:\tfmla\tv2.4s, v0.4s, v1.4s
   c:\tfmla\tv3.4s, v1.4s, v1.4s
  10:\tstp\tq2, q3, [x1]
  14:\tsubs\tx2, x2, #0x1
  18:\tb.ne\t4 <dw_nhwc_k1x1s1_t1x2_inner_f32_neon+0x4>  // b.any
  1c:\tret
"""


def only(listing: str, arm: bool = False) -> code_shape.Shape:
    (shape,) = code_shape.shapes(listing, AArch64() if arm else X86())
    return shape


def test_counts_of_a_loop_that_is_as_it_should_be():
    shape = only(GOOD)
    assert shape.expected == 3
    assert shape.loops == [code_shape.Counts(fmas=3, loads=7, stores=1, spills=0, constants=0)]
    assert shape.faults == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("vfmadd231ps 0x60(%rsi)", "vmulps 0x60(%rsi)", "expected 3 multiply-adds; found 2"),
        ("add    $0x20,%rdx", "vfmadd231ps %ymm1,%ymm1,%ymm0", "expected 3 multiply-adds; found 4"),
        ("jne    20", "jne    58", "no loop multiplies vectors"),
        ("push   %rbp", "vfmadd231ps %ymm1,%ymm1,%ymm0", "1 multiply-adds outside of loops"),
        ("add    $0x20,%rdx", "vmovaps %ymm9,-0x20(%rsp)", "1 spills in a loop"),
        ("push   %rbp", "mov    %rsp,%rbp", None),  # 0x40(%rbp) is read, never written: a constant
    ],
)
def test_a_fault_is_found(old, new, fault):
    assert old in GOOD
    shape = only(GOOD.replace(old, new))
    assert (shape.faults[0] if fault else shape.loops[0].constants) == (fault or 1)


def test_a_store_and_the_load_of_the_same_place_are_two_spills():
    changed = GOOD.replace("add    $0x20,%rdx", "vmovaps %ymm0,0x8(%rsp)")
    changed = changed.replace("vmovups (%rax),%ymm1", "vmovups 0x8(%rsp),%ymm1")
    assert only(changed).loops[0].spills == 2


@pytest.mark.parametrize(("spills", "known"), [(2, True), (1, False)])
def test_a_known_fault_may_not_grow(spills: int, known: bool) -> None:
    changed = GOOD.replace("add    $0x20,%rdx", "vmovaps %ymm0,0x8(%rsp)")
    shape = only(changed.replace("vmovups (%rax),%ymm1", "vmovups 0x8(%rsp),%ymm1"))
    limits = {("avx2", "k1x3s1_t1x1"): (3, spills, 0)}
    assert code_shape.is_known("avx2", shape, limits) is known
    assert not code_shape.is_known("neon", shape, limits)


# One multiply-add too few: a fault.
FAULTY = GOOD.replace("vfmadd231ps 0x60(%rsi)", "vmulps 0x60(%rsi)")

KNOWN = """\
# Faults that may stay.

[clang 19.1]

[gcc 12.2]
avx2 k1x3s1_t1x1 3 0 0
avx512 k3x3s1_t0x7 63 12 0
"""


def judge(
    monkeypatch, tmp_path, listings: dict[str, str], *arguments: str, known: str = KNOWN
) -> int:
    """What main() returns where compilers of these versions are installed and print this."""
    compilers = {version.split()[0]: version for version in listings}
    path = tmp_path / "known.txt"
    path.write_text(known, encoding="utf-8")
    monkeypatch.setattr(code_shape, "KNOWN", path)
    monkeypatch.setattr(code_shape, "TARGETS", {"gcc": ("avx2",), "clang": ("avx2",)})
    monkeypatch.setattr(code_shape, "command_of", lambda compiler: compiler)
    monkeypatch.setattr(code_shape.shutil, "which", lambda compiler: compilers.get(compiler))
    monkeypatch.setattr(code_shape, "version_of", lambda compiler: compilers[compiler])
    monkeypatch.setattr(
        code_shape, "disassemble", lambda compiler, _: listings[compilers[compiler]]
    )
    monkeypatch.setattr(code_shape, "tile_names", lambda _: {"k1x3s1_t1x1"})
    monkeypatch.setattr(sys, "argv", ["code_shape.py", *arguments])
    return code_shape.main()


@pytest.mark.parametrize(
    ("listings", "status", "says"),
    [
        ({"gcc 12.2": FAULTY}, 0, "all kernels as expected: gcc 12.2"),
        ({"gcc 12.2": FAULTY, "clang 19.1": GOOD}, 0, "all kernels as expected: gcc 12.2, clang"),
        ({"gcc 12.2": FAULTY, "clang 19.1": FAULTY}, 1, "clang 19.1: 1 kernels with unknown"),
        ({"gcc 12.2": GOOD, "clang 20.1": FAULTY}, 0, "does not name it: clang 20.1, 1 kernels"),
        ({"gcc 13.2": GOOD}, 1, "expected one of clang 19.1, gcc 12.2; received gcc 13.2"),
        ({}, 1, "nothing was compared: expected one of clang 19.1, gcc 12.2; received no compiler"),
    ],
)
def test_only_versions_that_the_list_names_can_fail(
    monkeypatch, tmp_path, capsys, listings, status, says
):
    assert judge(monkeypatch, tmp_path, listings) == status
    assert says in capsys.readouterr().out


def test_the_list_is_written_for_the_versions_at_hand_and_keeps_the_others(monkeypatch, tmp_path):
    listings = {"gcc 12.2": GOOD, "clang 20.1": FAULTY}
    assert judge(monkeypatch, tmp_path, listings, "--write-known") == 0
    text = (tmp_path / "known.txt").read_text(encoding="utf-8")
    assert text.splitlines()[0] == KNOWN.splitlines()[0]
    assert code_shape.read_known(text) == {
        "clang 19.1": {},
        "clang 20.1": {("avx2", "k1x3s1_t1x1"): (2, 0, 0)},
        "gcc 12.2": {},
    }
    assert judge(monkeypatch, tmp_path, listings, known=text) == 0


def test_the_list_names_a_version_of_each_compiler():
    known = code_shape.read_known(code_shape.KNOWN.read_text(encoding="utf-8"))
    assert {version.rpartition(" ")[0] for version in known} == set(code_shape.TARGETS)
    for limits in known.values():
        for isa, kernel in limits:
            assert kernel in code_shape.tile_names(isa)


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("gcc (Debian 12.2.0-14+deb12u1) 12.2.0", "gcc 12.2"),
        ("Debian clang version 19.1.7 (3~deb12u1)", "gcc 19.1"),
        ("a compiler", "gcc of unknown version"),
    ],
)
def test_versions_as_compilers_print_them(monkeypatch, line, version):
    done = code_shape.subprocess.CompletedProcess([], 0, stdout=line + "\n")
    monkeypatch.setattr(code_shape.subprocess, "run", lambda *_, **__: done)
    assert code_shape.version_of("gcc") == version


def test_a_general_register_kept_in_a_vector_register_is_no_spill():
    changed = GOOD.replace("add    $0x20,%rdx", "vmovq  %xmm9,-0x20(%rsp)")
    assert only(changed).faults == []


def test_a_function_that_only_jumps_to_its_twin_has_the_code_of_that():
    twin = "dw_nhwc_k1x3s1_t1x1_both_f32_avx2"
    jump = f"\n0000000000000080 <{twin}>:\n  80:\tjmp    10 <dw_nhwc_k1x3s1_t1x1_inner_f32_avx2>\n"
    first, second = code_shape.shapes(GOOD + jump, X86())
    assert second.loops == first.loops
    assert second.faults == ["expected 1 multiply-adds; found 3"]


def test_aarch64_counts_both_registers_of_a_pair():
    shape = only(ARM, arm=True)
    assert shape.loops == [code_shape.Counts(fmas=2, loads=2, stores=2, spills=0, constants=0)]
    assert shape.faults == []
    spilled = ARM.replace("[x1]", "[x29, #32]").replace("[x0, #16]", "[sp, #48]")
    assert only(spilled, arm=True).loops[0].spills == 2  # x29 and sp: not known to be one place
    assert (
        only(ARM.replace("[x1]", "[sp, #32]").replace("[x0, #16]", "[sp, #48]"), arm=True)
        .loops[0]
        .spills
        == 3
    )  # two stored; one of these loaded


@pytest.mark.parametrize(
    ("name", "taps"),
    [
        ("dw_nhwc_k3x3s1_t4x2_inner_f32_avx512", 72),
        ("dw_nhwc_k3x3s1_t4x2_left_f32_avx512", 60),  # 4 rows x 3 taps fewer
        ("dw_nhwc_k3x3s2_t2x2_left_f64_avx2", 36),  # SAME pads an even width on the right alone
        ("dw_nhwc_k5x5s2m_t2x4_both_f32_neon", 170),  # 3 of 20 pairs of column and tap are skipped
        ("dw_nhwc_k3x3s2_t0x4_right_f32_avx2", 33),  # rolling: one row of four, a column skipped
        ("dw_nhwc_k3x3s1mp_t0x4_inner_f32_neon", 36),
        ("dw_nhwc_general_f32_avx2", None),
    ],
)
def test_taps_follow_from_the_name(name, taps):
    assert code_shape.taps_of(name) == taps
