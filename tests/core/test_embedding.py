"""The C API from another Cython module, which finds the functions at run time. test_c.py builds the
core without Python.
"""

from __future__ import annotations

import importlib.util
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from support import ROOT, assert_same_bits, patient
from support.compilers import find_compilers
from support.layers import draw

import dwconv

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="commands of other systems"),
]


def test_the_header_is_where_get_include_says() -> None:
    header = Path(dwconv.get_include()) / "dwconv.h"
    assert header.read_bytes() == (ROOT / "csrc" / "dwconv.h").read_bytes()


USER = '''
from dwconv._core cimport (
    DW_ISA_AUTO, DW_OK, dw_desc, dw_plan, dw_status,
    plan_create, plan_destroy, plan_of, plan_run, plan_run_threads, status_text,
)
from libc.string cimport memset

def run(plan, const float[:, :, :, ::1] x, float[:, :, :, ::1] y):
    """What a plan of a layer computes."""
    cdef const dw_plan *at = plan_of(plan)
    with nogil:
        plan_run(at, &x[0, 0, 0, 0], &y[0, 0, 0, 0])

ctypedef const float[:, :, :, ::1] Input

def convolve(Input x, Input kernel, float[:, :, :, ::1] y, int stride):
    """Without Python objects, except those of the arguments."""
    cdef dw_desc d
    cdef dw_plan *plan
    cdef dw_status status
    memset(&d, 0, sizeof(d))
    d.batch, d.height, d.width, d.channels = x.shape[0], x.shape[1], x.shape[2], x.shape[3]
    d.kernel_h, d.kernel_w, d.multiplier = kernel.shape[0], kernel.shape[1], kernel.shape[3]
    d.stride_h = d.stride_w = stride
    d.dilation_h = d.dilation_w = 1
    with nogil:
        status = plan_create(&d, DW_ISA_AUTO, &kernel[0, 0, 0, 0], NULL, &plan)
        if status == DW_OK:
            plan_run_threads(plan, &x[0, 0, 0, 0], &y[0, 0, 0, 0], 2)
            plan_destroy(plan)
    return (<bytes>status_text(status)).decode()
'''


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """A Cython module of somebody else's."""
    pytest.importorskip("Cython")
    folder = tmp_path_factory.mktemp("cython")
    compilers = find_compilers()
    if not compilers or not Path(sysconfig.get_path("include"), "Python.h").exists():
        pytest.skip("no C compiler, or no headers of Python")
    source, made = folder / "user.pyx", folder / f"user{sysconfig.get_config_var('EXT_SUFFIX')}"
    source.write_text("# cython: language_level=3, freethreading_compatible=True\n" + USER)
    # -I: Cython does not know of the hooks by which an editable install is found.
    package = str(Path(dwconv.__file__).parents[1])
    include = [f"-I{sysconfig.get_path('include')}", f"-I{dwconv.get_include()}"]
    compiler = shlex.split(compilers[0])
    for command in (
        [sys.executable, "-m", "cython", "-I", package, "user.pyx"],
        [*compiler, "-shared", "-fPIC", "-O0", "-w", *include, "user.c", "-o", str(made)],
    ):
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=patient(300)
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    spec = importlib.util.spec_from_file_location("user", made)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_another_cython_module_runs_a_layers_plan(user: ModuleType) -> None:
    x = draw(2, 6, 7, 5)
    layer = dwconv.DepthwiseConv2D(3, padding="same", activation="relu", depth_multiplier=2)
    y = layer(x)
    out = np.empty_like(y)
    user.run(layer.plan(x.shape), x, out)
    assert_same_bits(out, y, "plan_of")
    with pytest.raises(TypeError, match=r"^plan: expected what layer.plan.*; received int"):
        user.run(1, x, out)
    more = dwconv.DepthwiseConv2D(3, padding="same", activation="softmax")
    with pytest.raises(TypeError, match=r"^plan: expected one that is the kernel alone"):
        user.run(more.plan(x.shape), x, out)


def test_another_cython_module_makes_a_plan(user: ModuleType) -> None:
    x, kernel = draw(1, 9, 8, 3), draw(3, 2, 3, 2, seed=1)
    y = dwconv.depthwise_conv2d(x, kernel, strides=2)
    out = np.empty_like(y)
    assert user.convolve(x, kernel, out, 2) == "ok"
    assert_same_bits(out, y, "plan_create")
    assert user.convolve(x, kernel, out, 0) == "strides must be at least 1"
