"""Which instruction set is chosen, and how it is forced."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from support import LANES, ROOT, run_python

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
        "avx2": ["avx2", "fma"],
        "avx512": ["avx2", "fma", "avx512f", "avx512vl", "avx512bw", "avx512dq"],
        "neon": ["neon"],
    }
    for name, needed in needs.items():
        usable = name in isas.compiled() and all(features[feature] for feature in needed)
        assert (name in isas.available()) == usable
    assert isas.compiler()


def test_lanes_of_the_tests() -> None:
    """The table that the tests of tails count by is that of the vector headers."""
    for name, expected in LANES.items():
        source = (ROOT / "csrc" / "isa" / f"vec_{name}.h").read_text(encoding="utf-8")
        found = [int(lanes) for lanes in re.findall(r"enum \{ LANES = (\d+) \};", source)]
        int32, float32, float64 = found if len(found) == 3 else 3 * found
        assert (float32, float64) == expected, name
        assert int32 == float32, name
    assert set(LANES) == set(_core.ISA_NAMES)


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
