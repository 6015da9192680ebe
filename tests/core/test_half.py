"""float16 and bfloat16 as the core reads and writes them: the bits of float32 between casts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray
from support import ROOT, Case, assert_same_bits, lanes, run_python, slow

import dwconv
from dwconv import DepthwiseConv2D, _core

HALVES = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}


@pytest.fixture(params=HALVES)
def half(request: pytest.FixtureRequest) -> np.dtype[Any]:
    return HALVES[request.param]


def arrays(case: Case, half: np.dtype[Any]) -> tuple[NDArray[Any], ...]:
    """x, of 16 bits, with numbers of every size; kernel and bias, of 16 bits."""
    x, kernel, bias = (np.asarray(array) for array in case.arrays())
    sizes = np.random.default_rng(case.seed).integers(-30, 12, x.shape)
    return np.ldexp(x, sizes).astype(half), kernel.astype(half), bias.astype(half)


def between_casts(x: NDArray[Any], kernel: NDArray[Any], bias: NDArray[Any], **options: Any) -> Any:
    """The float32 result, rounded by NumPy or ml_dtypes."""
    wide = (array.astype(np.float32) for array in (x, kernel, bias))
    return dwconv.depthwise_conv2d(*wide, **options).astype(x.dtype)


SHAPES = [
    Case((9, 12), kernel_size=(k, k), strides=(s, s), padding="same", activation=activation)
    for k in (2, 3, 4, 5, 7)
    for s, activation in ((1, None), (1, "relu6"), (2, "relu"))
]
SHAPES += [
    Case((6, 9), kernel_size=(k, k), strides=(s, s), padding="same", multiplier=m, batch=2)
    for k, s, m in ((3, 1, 2), (3, 2, 3), (5, 1, 8), (4, 1, 2))
]


@pytest.mark.parametrize("shape", [*SHAPES[:3], *slow(*SHAPES[3:])])
def test_same_bits_as_float32_between_casts(shape: Case, half: np.dtype[Any], isa: str) -> None:
    """Through the function, a layer's plan, its parts, and the layer."""
    vector = lanes(isa, "float32")
    for channels in (1, vector - 1, vector, vector + 1, 2 * vector):  # every kind of tail
        case = replace(shape, channels=channels, seed=channels)
        x, kernel, bias = arrays(case, half)
        context = (case, half, isa)
        expected = between_casts(x, kernel, bias, isa=isa, **case.options())
        y = dwconv.depthwise_conv2d(x, kernel, bias, isa=isa, **case.options())
        assert y.dtype == half
        assert_same_bits(y, expected, context)
        layer = DepthwiseConv2D(
            case.kernel_size,
            strides=case.strides,
            padding="same",
            depth_multiplier=case.multiplier,
            activation=case.activation,
            dtype=half.name,
            weights=[kernel, bias],
        )
        plan = layer.plan(x.shape, isa=isa)
        assert plan.is_kernel_only, context
        out = np.zeros_like(expected)
        assert plan(x, out) is out
        assert_same_bits(out, expected, context)
        out[...] = 0
        for part in range(3):
            plan.run_part(x, out, part, 3)
        assert_same_bits(out, expected, context)
        assert_same_bits(plan(x, num_threads=2), expected, context)


def test_nothing_is_cast(half: np.dtype[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """x and y go to the core as they are: by the layer, its plan and the function."""
    x, kernel, bias = arrays(Case((8, 8), 16, padding="same"), half)
    layer = DepthwiseConv2D(3, padding="same", dtype=half.name, weights=[kernel, bias])
    layer(x)
    kept = dwconv.depthwise_conv2d(x, kernel, bias)

    def refuse(*_: Any) -> Any:
        raise AssertionError("a cast of x or y")

    monkeypatch.setattr(dwconv.casts, "copy", refuse)
    monkeypatch.setattr(dwconv.casts, "cast", refuse)
    monkeypatch.setattr(_core, "empty", refuse)
    layer(x)
    layer.plan(x.shape)(x)
    assert layer.plan(x.shape).kernel.numpy_dtype == half
    assert kept.dtype == half


@pytest.mark.parametrize(
    "options",
    [
        {"activation": "silu"},
        {"activation": lambda y: y * 2},
        {"data_format": "channels_first"},
    ],
    ids=["activation", "function", "layout"],
)
def test_what_the_core_has_no_kernels_for(options: dict[str, Any], half: np.dtype[Any]) -> None:
    """Rounded once, after the activation, too."""
    x, kernel, bias = arrays(Case((8, 8), 8, padding="same"), half)
    expected = between_casts(x, kernel, bias, padding="same", **options)
    assert_same_bits(
        dwconv.depthwise_conv2d(x, kernel, bias, padding="same", **options), expected, options
    )


def test_integers_are_not_rounded_first(half: np.dtype[Any]) -> None:
    """x of another dtype than the result's is computed with as it is: 2049 is no float16."""
    x = np.full((1, 1, 1, 16), 2049, np.int32)
    kernel = np.full((1, 1, 16, 1), 1, half)
    bias = np.full(16, -2048, half)
    assert (dwconv.depthwise_conv2d(x, kernel, bias) == 1).all()


def test_weights_are_float32(half: np.dtype[Any]) -> None:
    """The core's plan says what it takes."""
    spec = Case((4, 4), 2).spec
    wrong = np.ones((3, 3, 2, 1))
    with pytest.raises(TypeError, match=r"kernel: expected dtype float32 .* received float64"):
        _core.Plan(spec, (1, 4, 4, 2), wrong, None, "linear", "portable", dtype=half)
    plan = _core.Plan(
        spec, (1, 4, 4, 2), wrong.astype("f4"), None, "linear", "portable", dtype=half
    )
    with pytest.raises(TypeError, match="x: expected dtype"):
        plan.run(np.ones((1, 4, 4, 2), np.float32))


@pytest.mark.slow
def test_nothing_outside_is_touched(isa: str) -> None:
    """Guard pages around x and y of float16."""
    done = run_python(str(ROOT / "tests" / "support" / "guard_pages.py"), isa, "float16")
    assert done.returncode == 0, done.stdout[-300:] + done.stderr
    assert "at the end" in done.stdout
