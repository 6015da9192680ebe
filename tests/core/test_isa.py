"""Which instruction set is chosen, and how it is forced."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support import LANES, run_python

import dwconv
from dwconv import _core, ops
from dwconv import isa as isas

SHOW = "import dwconv; print(dwconv.isa.default())"


def test_available() -> None:
    assert isas.available()[0] == "portable"  # works everywhere
    assert set(isas.available()) <= set(isas.compiled()) <= set(_core.ISA_NAMES)
    assert isas.default() in isas.available()
    assert isas.resolve(None) == isas.default()
    assert [isas.resolve(name) for name in isas.available()] == list(isas.available())


def test_features_agree() -> None:
    """An instruction set is offered exactly where the CPU has what its kernels use."""
    features = isas.cpu_features()
    needs = {
        "avx2": ["avx2", "fma", "f16c"],
        "avx512": ["avx2", "fma", "f16c", "avx512f", "avx512vl", "avx512bw", "avx512dq"],
        "neon": ["neon"],
    }
    for name, needed in needs.items():
        usable = name in isas.compiled() and all(features[feature] for feature in needed)
        assert (name in isas.available()) == usable
    assert isas.compiler()


def test_lanes_of_the_tests() -> None:
    """The table that the tests of tails count by is that of the compiled kernels."""
    assert set(LANES) == set(_core.ISA_NAMES)
    for name in isas.compiled():
        found = {
            dtype: {
                kernel["lanes"]
                for kernel in _core.kernels(name, dtype)
                if kernel["name"].endswith(f"_{name}")  # not those of vectors half as wide
            }
            for dtype in ("float32", "float64", "int32")
        }
        f32, f64 = LANES[name]
        assert found == {"float32": {f32}, "float64": {f64}, "int32": {f32}}, name


@pytest.mark.parametrize("isa_name", _core.ISA_NAMES)
def test_kernels_are_listed(isa_name: str) -> None:
    """Each once, with its sizes in its name; also those of other processors, without lanes."""
    for dtype in ("float32", "float64", "int32", "float16", "bfloat16"):
        listed = _core.kernels(isa_name, dtype)
        names = [kernel["name"] for kernel in listed]
        assert len(set(names)) == len(names)
        assert names[0] == f"general_{isa_name}"
        for kernel in listed:
            assert (kernel["lanes"] > 0) == (isa_name in isas.compiled()), kernel
            if kernel["variant"] == "general":
                assert kernel["kernel_w"] == kernel["tile_w"] == 0, kernel
            elif kernel["variant"] == "wide":
                assert f"_t{kernel['tile_h']}x{kernel['tile_w']}_" in kernel["name"], kernel
            elif kernel["family"] in ("nhwc", "nchw"):
                sizes = f"k{kernel['kernel_h']}x{kernel['kernel_w']}s{kernel['stride']}"
                assert sizes in kernel["name"], kernel
                width = kernel["lanes"] if kernel["family"] == "nchw" else kernel["tile_w"]
                assert kernel["tile_w"] == width, kernel
                assert width > 0 or not kernel["lanes"], kernel
        specialised = {k["family"] for k in listed if k["variant"] != "general"}
        everything = {"nhwc", "nchw", "grad_input", "grad_kernel"}
        without = isa_name == "portable" or dtype == "int32"
        if dtype in ("float16", "bfloat16"):
            everything = {"nhwc"}
        assert specialised == (set() if without else everything), (isa_name, dtype)


def test_kernels_of_unknown_names() -> None:
    with pytest.raises(ValueError, match="not in"):
        _core.kernels("sse9", "float32")
    with pytest.raises(KeyError):
        _core.kernels("portable", "float8")


@pytest.mark.parametrize("wrong", ["sse9", "AVX2", "", " portable", 2, b"portable"], ids=repr)
def test_unknown(wrong: Any) -> None:
    x, kernel = np.zeros((1, 3, 3, 1)), np.zeros((2, 2, 1, 1))
    with pytest.raises(ValueError, match=r"^isa: expected one of 'portable'.*; received") as caught:
        dwconv.depthwise_conv2d(x, kernel, isa=wrong)
    assert str(caught.value).endswith(repr(wrong))


def test_of_another_cpu() -> None:
    missing = set(_core.ISA_NAMES) - set(isas.available())
    assert missing  # no CPU has both NEON and AVX2
    for name in missing:
        with pytest.raises(ValueError, match=f"received '{name}'"):
            isas.resolve(name)


def test_plan_uses_it(isa: str) -> None:
    kernel = np.ones((3, 3, 32, 1), np.float32)
    plan = ops.make_plan(ops.ConvSpec((3, 3), padding="same"), (1, 8, 8, 32), kernel, None, isa=isa)
    assert plan.isa == isa
    assert plan.kernel_name.endswith(f"_{isa}")


def test_variable(isa: str) -> None:
    done = run_python("-c", SHOW, DWCONV_ISA=isa)
    assert (done.stdout.strip(), done.stderr) == (isa, "")


def test_variable_is_read_once() -> None:
    code = "import os, dwconv; os.environ['DWCONV_ISA'] = 'none'; print(dwconv.isa.resolve(None))"
    assert run_python("-c", code).stdout.strip() == _core.best_isa()


@pytest.mark.parametrize("environment", [{}, {"DWCONV_ISA": ""}], ids=["unset", "empty"])
def test_variable_left_out(environment: dict[str, str]) -> None:
    assert run_python("-c", SHOW, **environment).stdout.strip() == _core.best_isa()


def test_variable_unknown() -> None:
    done = run_python("-c", SHOW, DWCONV_ISA="sse9")
    assert done.returncode != 0
    wanted = ", ".join(map(repr, isas.available()))
    assert f"ValueError: DWCONV_ISA: expected one of {wanted}; received 'sse9'" in done.stderr


def test_variable_of_another_cpu() -> None:
    missing = next(name for name in _core.ISA_NAMES if name not in isas.available())
    done = run_python("-c", SHOW, DWCONV_ISA=missing)
    assert done.returncode != 0
    assert f"received '{missing}'" in done.stderr
