"""The C core by CMake: a small library is installed, and the examples are built against it."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import dwconv

ROOT = Path(__file__).parents[2]
HEADER = ROOT / "csrc" / "dwconv.h"

#: The instruction set that the small library keeps, and what it leaves out.
KEPT = {"x86_64": "AVX2", "aarch64": "NEON"}.get(platform.machine(), "PORTABLE")
LEFT_OUT = ["F64", "I32", "HALF", "GRADIENTS", "NCHW"] + [
    name for name in ("AVX512", "AVX2", "NEON", "PORTABLE") if name != KEPT
]


def run(*command: object, **more: str) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        env=os.environ | more,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def functions_of_the_header() -> set[str]:
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(encoding="utf-8"), flags=re.S)
    return {name for name in re.findall(r"\b(dw_\w+)\(", text) if not name.endswith("_fn")}


def test_the_version_is_the_package_s() -> None:
    text = HEADER.read_text(encoding="utf-8")
    parts = [
        re.search(rf"#define DW_VERSION_{part} (\d+)", text) for part in ("MAJOR", "MINOR", "PATCH")
    ]
    assert all(parts)
    numbers = ".".join(part[1] for part in parts if part)
    assert dwconv.__version__.startswith(numbers)
    assert f'#define DW_VERSION "{dwconv.__version__}"' in text


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where a library for 3x3 in float32 is installed, for one instruction set."""
    if not sys.platform.startswith("linux"):
        pytest.skip("symbols are versioned on Linux")
    for program in ("cmake", "nm", "c++", "strip"):
        if shutil.which(program) is None or (program == "cmake" and not works(program)):
            pytest.skip(f"needs {program}")
    if KEPT == "AVX2" and "avx2" not in dwconv.isa.available():
        pytest.skip("needs AVX2")
    folder = tmp_path_factory.mktemp("cmake")
    run(
        *("cmake", "-S", ROOT, "-B", folder / "build", f"-DCMAKE_INSTALL_PREFIX={folder / 'inst'}"),
        *(f"-DDWCONV_WITHOUT={';'.join(LEFT_OUT)}", "-DDWCONV_ONLY_3X3=ON"),
        *("-DCMAKE_INSTALL_LIBDIR=lib", "-DCMAKE_C_FLAGS=-Werror"),
    )
    run("cmake", "--build", folder / "build", "--parallel", "2", "--target", "install")
    yield folder / "inst"
    shutil.rmtree(folder, ignore_errors=True)


def works(program: str) -> bool:
    """Whether it is more than a stand-in for something that is not installed."""
    return subprocess.run([program, "--version"], capture_output=True, check=False).returncode == 0


@pytest.mark.slow
def test_exports_are_those_of_the_header(prefix: Path) -> None:
    lines = run("nm", "-D", "--defined-only", prefix / "lib" / "libdwconv.so").splitlines()
    names = [line.split()[-1] for line in lines]
    version = ".".join(dwconv.__version__.split(".")[:2])
    assert f"DWCONV_{version}" in names
    exported = {name.partition("@@")[0] for name in names if name != f"DWCONV_{version}"}
    assert exported == functions_of_the_header()
    assert {name.partition("@@")[2] for name in names if "@@" in name} <= {f"DWCONV_{version}", ""}


@pytest.mark.slow
def test_a_small_library_is_small(prefix: Path, tmp_path: Path) -> None:
    library = shutil.copy(prefix / "lib" / "libdwconv.so", tmp_path / "libdwconv.so")
    run("strip", library)
    assert library.stat().st_size < 300_000


@pytest.mark.slow
def test_examples(prefix: Path, tmp_path: Path) -> None:
    examples = ("cmake", "-S", ROOT / "examples", "-B", tmp_path)
    run(*examples, f"-DCMAKE_PREFIX_PATH={prefix}", "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror")
    run("cmake", "--build", tmp_path)
    assert run(tmp_path / "embed").splitlines()[1] == "6 9 9 9 9 9 6"
    assert run(tmp_path / "threads") == "2 threads: the same bits as one\n"
    assert f"dwconv {dwconv.__version__}, {KEPT.lower()}: 4 taps" in run(tmp_path / "embed_cpp")


LEFT_OUT_PROGRAM = r"""
#include <stdio.h>
#include "dwconv.h"
static float kernel[5 * 5 * 8];
static void try_plan(const char *name, dw_desc d, dw_isa isa) {
    dw_plan *plan = NULL;
    dw_plan_info info = {0};
    const dw_status status = dw_plan_create(&d, isa, kernel, NULL, &plan);
    if (plan) dw_plan_describe(plan, &info);
    const int left_out = status == DW_ERR_BUILD ? 1 : status == DW_ERR_ISA ? 2 : 3;
    const int result = status == DW_OK ? 0 : left_out;
    printf("%s %d %s\n", name, result, plan ? info.kernel : "-");
    dw_plan_destroy(plan);
}
int main(void) {
    dw_desc d = {0};
    d.batch = d.multiplier = 1, d.height = d.width = d.channels = 8, d.kernel_h = d.kernel_w = 3;
    d.stride_h = d.stride_w = d.dilation_h = d.dilation_w = 1;
    try_plan("3x3", d, DW_ISA_AUTO);
    d.kernel_h = d.kernel_w = 5;
    try_plan("5x5", d, DW_ISA_AUTO);
    d.dtype = DW_F64;
    try_plan("f64", d, DW_ISA_AUTO);
    d.dtype = DW_I32;
    try_plan("i32", d, DW_ISA_AUTO);
    d.dtype = DW_F16;
    try_plan("f16", d, DW_ISA_AUTO);
    d.dtype = DW_F32, d.layout = DW_NCHW;
    try_plan("nchw", d, DW_ISA_AUTO);
    d.layout = DW_NHWC;
    try_plan("avx512", d, DW_ISA_AVX512);
    dw_grad *grad;
    printf("grad %d\n", dw_grad_create(&d, DW_ISA_AUTO, kernel, &grad) == DW_ERR_BUILD);
    dw_kernel_info kernel_info;
    for (int i = 0; dw_kernel_at(dw_isa_best(), DW_F32, i, &kernel_info); i++)
        if (kernel_info.kernel_h > 3) printf("wrong: %s\n", kernel_info.name);
    printf("f64 kernels %d\n", dw_kernel_at(dw_isa_best(), DW_F64, 0, &kernel_info));
    return 0;
}
"""


@pytest.mark.slow
def test_what_is_left_out_is_refused(prefix: Path, tmp_path: Path) -> None:
    """Built by pkg-config's flags where it is installed."""
    source = tmp_path / "left_out.c"
    source.write_text(LEFT_OUT_PROGRAM, encoding="utf-8")
    flags = ["-I", prefix / "include", "-L", prefix / "lib", "-ldwconv"]
    if shutil.which("pkg-config"):
        path = str(prefix / "lib" / "pkgconfig")
        flags = [*run("pkg-config", "--cflags", "--libs", "dwconv", PKG_CONFIG_PATH=path).split()]
        version = run("pkg-config", "--modversion", "dwconv", PKG_CONFIG_PATH=path)
        assert version.strip() == dwconv.__version__
    program = tmp_path / "left_out"
    run("cc", source, *flags, f"-Wl,-rpath,{prefix / 'lib'}", "-o", program)
    lines = run(program).splitlines()
    assert re.fullmatch(rf"3x3 0 (k3x3\w+|general)_{KEPT.lower()}", lines[0])
    assert lines[1:] == [
        f"5x5 0 general_{KEPT.lower()}",
        "f64 1 -",
        "i32 1 -",
        "f16 1 -",
        "nchw 1 -",
        "avx512 2 -",
        "grad 1",
        "f64 kernels 0",
    ]
