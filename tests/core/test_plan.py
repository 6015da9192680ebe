"""What a plan says of itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from support import Case, lanes, run_python

from dwconv import config, ops


def made(case: Case, isa: str) -> Any:
    x, kernel, bias = case.arrays()
    return ops.make_plan(case.spec, x.shape, kernel, bias, isa=isa)


@pytest.mark.parametrize(
    "case",
    [
        Case((7, 9), padding="same"),
        Case((8, 6), padding="same", strides=(2, 3), multiplier=2, batch=3),
        Case((9, 9), kernel_size=(2, 5), padding=((4, 0), (1, 7)), dilation_rate=(3, 2)),
        Case((5, 5), kernel_size=(5, 5)),
    ],
    ids=repr,
)
def test_multiply_adds_are_the_valid_taps(case: Case, isa: str) -> None:
    """A convolution of ones with ones counts them."""
    x, kernel, _ = case.arrays()
    plan = made(case, isa)
    y = plan(np.ones_like(x), np.empty(plan.y_shape, x.dtype))
    kernel_of_ones = ops.make_plan(case.spec, x.shape, np.ones_like(kernel), None, isa=isa)
    y = kernel_of_ones(np.ones_like(x), y)
    assert plan.info()["multiply_adds"] == y.sum(), (case, isa)


def test_sizes(dtype: str, isa: str) -> None:
    case = Case((6, 7), 11, padding="same", dtype=dtype)
    x, _, _ = case.arrays()
    info = made(case, isa).info()
    assert info["lanes"] in {lanes(name, dtype) for name in (isa, "avx2")}
    assert info["x_bytes"] == info["y_bytes"] == x.nbytes
    vectors = info["blocks"] * (1 + 9)
    assert info["weight_bytes"] == vectors * info["lanes"] * x.dtype.itemsize


def test_merged_pixels(isa: str) -> None:
    """Three channels of floats: as many pixels as a vector has lanes fill three vectors."""
    info = made(Case((12, 64), 3, padding="same"), isa).info()
    if isa == "portable":  # no tiles, nothing to gain
        assert info["merged_pixels"] == 1
    else:
        assert info["merged_pixels"] == info["lanes"]
        assert info["blocks"] == 3


def test_a_batch_that_no_machine_holds(isa: str) -> None:
    """Sizes are counted, not multiplied out of range."""
    kernel = np.ones((3, 3, 1, 1), np.float32)
    plan = ops.make_plan(ops.ConvSpec((3, 3)), (2**55, 3, 3, 1), kernel, None, isa=isa)
    assert plan.info()["multiply_adds"] == 9 * 2**55


# ---- memory --------------------------------------------------------------------------------------


@pytest.fixture
def _limit() -> Iterator[None]:
    before = config.plan_memory_limit()
    yield
    config.set_plan_memory_limit(before)


LAYOUTS = ("channels_last", "channels_first")


@pytest.mark.parametrize("data_format", LAYOUTS)
def test_a_plan_tells_what_it_takes(data_format: str, isa: str) -> None:
    """At least its weights; and in channels first a table that grows with the width."""
    sizes = []
    for width in (16, 160, 1600):
        case = Case((4, width), 8, padding="same", data_format=data_format)
        info = made(case, isa).info()
        assert info["plan_bytes"] >= info["weight_bytes"] >= 8 * (9 + 1) * 4
        sizes.append(info["plan_bytes"])
    if data_format == "channels_first":
        least = (1600 - 160) // lanes(isa, "float32") * 24
        assert sizes[2] - sizes[1] >= least
    else:
        assert sizes[2] < sizes[0] + 100_000, "no table of columns"


@pytest.mark.usefixtures("_limit")
@pytest.mark.parametrize("data_format", LAYOUTS)
def test_a_plan_that_takes_too_much_is_refused(data_format: str, isa: str) -> None:
    case = Case((4, 3000), 8, padding="same", data_format=data_format)
    takes = made(case, isa).info()["plan_bytes"]
    config.set_plan_memory_limit(takes)
    made(case, isa)
    for limit in (takes - 1, 100, 0):
        config.set_plan_memory_limit(limit)
        with pytest.raises(MemoryError, match=rf"expected at most {limit}, see .*set_plan_memory"):
            made(case, isa)


def test_huge_tables_are_refused_before_they_are_made() -> None:
    """4 TB of x; the table of its columns alone would take gigabytes."""
    spec = ops.ConvSpec((3, 3), padding="same", data_format="channels_first")
    kernel = np.ones((3, 3, 1, 1), np.float32)
    with pytest.raises(MemoryError, match=r"a plan that takes .* bytes or more"):
        ops.make_plan(spec, (1, 1, 1, 2**40), kernel, None)
    assert ops.make_plan(spec, (0, 1, 1, 2**40), kernel, None).info()["plan_bytes"] < 10**6


@pytest.mark.usefixtures("_limit")
@pytest.mark.parametrize("wrong", [-1, 1.5, "1", None, 2**63])
def test_limits_that_are_none(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"^bytes: expected an integer from 0"):
        config.set_plan_memory_limit(wrong)


def test_the_variable_of_the_limit() -> None:
    show = "from dwconv import config; print(config.plan_memory_limit())"
    assert run_python("-c", show).stdout == f"{config.DEFAULT_PLAN_MEMORY_LIMIT}\n"
    assert run_python("-c", show, DWCONV_PLAN_MEMORY_LIMIT="1000").stdout == "1000\n"
    done = run_python("-c", show, DWCONV_PLAN_MEMORY_LIMIT="1 GB")
    assert "DWCONV_PLAN_MEMORY_LIMIT: expected an integer from 0 to" in done.stderr
