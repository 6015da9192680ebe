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
    limits = {("gcc", "avx2", "k1x3s1_t1x1"): (3, spills, 0)}
    assert code_shape.is_known("gcc", "avx2", shape, limits) is known
    assert not code_shape.is_known("clang", "avx2", shape, limits)


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
