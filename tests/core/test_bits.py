"""One order of accumulation: the same bits from every instruction set, tile, layout and batch.

`exact.py` emulates that order; here are also the emulation's own tests.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support import Case, assert_same_bits, exact, lanes, tile_cases, tiles

import dwconv
from dwconv import activations, ops, shapes
from dwconv import isa as isas
from dwconv.activations import Activation

Array = NDArray[Any]

#: Kernel sizes and strides with kernels of their own, and the general one. Small: exact.py is slow.
CASES = [
    Case((7, 9), padding="same"),
    Case((8, 10), padding="same", strides=(2, 2)),
    Case((7, 9), padding="valid"),
    Case((7, 9), padding=((1, 1), (1, 1)), strides=(2, 2)),
    Case((9, 8), padding="same", dilation_rate=(2, 3)),
    Case((5, 6), kernel_size=(2, 4), padding="same", strides=(1, 2)),
    Case(
        (5, 6), kernel_size=(4, 1), padding=((2, 3), (0, 1)), dilation_rate=(2, 1), strides=(3, 1)
    ),
    Case((4, 5), kernel_size=(5, 5), padding="same"),
    Case((5, 6), multiplier=2, padding="same"),
    Case((5, 6), multiplier=3, padding="same", kernel_size=(2, 2)),
]


def emulate(case: Case, x: Array, kernel: Array, bias: Array | None) -> Array:
    padding = shapes.explicit_padding(
        case.size, case.kernel_size, case.strides, case.padding, case.dilation_rate
    )
    return exact.depthwise_conv2d(
        x,
        kernel,
        bias,
        strides=case.strides,
        padding=padding,
        dilation_rate=case.dilation_rate,
        activation=case.activation,
    )


def special(shape: tuple[int, ...], dtype: str, seed: int) -> Array:
    """Numbers that betray another order or rounding: specials, subnormals, huge, tiny, ties."""
    info = np.finfo(dtype)
    pool = np.array(
        [
            *(0.0, -0.0, 1, -1, 1 + float(info.eps), 3, -1 / 3, float(info.max), -float(info.max)),
            *(float(info.tiny), -float(info.tiny), float(info.smallest_subnormal)),
            *(
                -float(info.smallest_subnormal),
                float(info.tiny) * (1 - float(info.eps)),
                1e-20,
                1e19,
            ),
            *(np.inf, -np.inf, np.nan),
        ],
        dtype,
    )
    rng = np.random.default_rng(seed)
    # Mostly numbers, or every sum would be a NaN.
    weights = np.where(np.isfinite(pool), 1.0, 0.02)
    drawn = rng.choice(pool, shape, p=weights / weights.sum())
    ordinary = rng.standard_normal(shape).astype(dtype)
    return np.where(rng.random(shape) < 0.5, drawn, ordinary)


@pytest.mark.slow
@pytest.mark.usefixtures("ieee")
@pytest.mark.parametrize("case", CASES, ids=repr)
@pytest.mark.parametrize("activation", [None, "relu6"])
@pytest.mark.parametrize("kind", ["normal", "special"])
def test_the_documented_order(
    case: Case, activation: str | None, kind: str, dtype: str, isa: str
) -> None:
    channels = lanes(isa, dtype) + 1  # one full vector and a tail
    case = replace(case, dtype=dtype, activation=activation, channels=channels, seed=3)
    x, kernel, bias = case.arrays()
    assert bias is not None
    if kind == "special":
        x, kernel, bias = (special(a.shape, dtype, i) for i, a in enumerate((x, kernel, bias)))
    expected = emulate(case, x, kernel, bias)
    y = dwconv.depthwise_conv2d(x, kernel, bias, isa=isa, **case.options())
    assert_same_bits(y, expected, (case, kind, isa))


def test_order_matters_in_these_cases() -> None:
    """Columns first gives other bits; else the test above would hold nothing."""
    case = CASES[0]
    x, kernel, bias = case.arrays()
    rows_first = emulate(case, x, kernel, bias)
    turned = replace(case, size=case.size[::-1])
    swap = (0, 2, 1, 3)
    columns_first = emulate(turned, x.transpose(swap), kernel.transpose(1, 0, 2, 3), bias)
    assert (rows_first != columns_first.transpose(swap)).any()


# ---- every kernel with compile-time sizes --------------------------------------------------------

TILED_ISAS = [isa for isa in isas.available() if tiles(isa)]


def test_the_kernels_are_listed() -> None:
    """Else there would be nothing to test below. That every kernel is reached is what
    tests/c/golden.c looks at.
    """
    assert (3, 3, 1, 2, 4) in tiles("avx2")
    assert (3, 3, 1, 0, 7) in tiles("avx512")
    assert (3, 3, 1, 0, 1) in tiles("neon", "folded")
    assert tiles("portable") == []


def of_one_kernel() -> list[list[Case]]:
    """The cases of tiles, those of one kernel size, stride and multiplier together: a test for each
    of hundreds of cases takes longer than what it looks at.
    """
    groups: dict[Any, list[Case]] = {}
    for case in tile_cases():
        groups.setdefault((case.kernel_size, case.strides, case.multiplier), []).append(case)
    return list(groups.values())


def kernel_of(cases: list[Case]) -> str:
    """What these cases share, as the name of a test."""
    (kernel_h, kernel_w), (stride, _) = cases[0].kernel_size, cases[0].strides
    return f"k{kernel_h}x{kernel_w}s{stride}m{cases[0].multiplier}"


@pytest.mark.parametrize("isa", TILED_ISAS)
@pytest.mark.parametrize("cases", of_one_kernel(), ids=kernel_of)
def test_tiles_and_the_general_kernel(cases: list[Case], dtype: str, isa: str) -> None:
    """Portable has no tiles."""
    for plain in cases:
        for channels in (lanes(isa, dtype), lanes(isa, dtype) + 1):
            case = replace(plain, channels=channels, dtype=dtype)
            x, kernel, bias = case.arrays()
            y = dwconv.depthwise_conv2d(x, kernel, bias, isa=isa, **case.options())
            expected = dwconv.depthwise_conv2d(x, kernel, bias, isa="portable", **case.options())
            assert_same_bits(y, expected, (case, isa))


@pytest.mark.parametrize("cases", of_one_kernel(), ids=kernel_of)
def test_tiles_have_the_documented_order(cases: list[Case], isa: str) -> None:
    for plain in cases:
        if plain.padding == "same":
            channels = max(1, lanes(isa, np.float32) // plain.multiplier + 1)
            case = replace(plain, channels=channels)
            x, kernel, bias = case.arrays()
            y = dwconv.depthwise_conv2d(x, kernel, bias, isa=isa, **case.options())
            assert_same_bits(y, emulate(case, x, kernel, bias), (case, isa))


@pytest.mark.parametrize("isa", TILED_ISAS)
@pytest.mark.parametrize(
    "case",
    [
        Case((9, 31), padding="same"),
        Case((4, 20), padding="valid"),
        Case((7, 7), padding="same"),
        Case((11, 26), kernel_size=(5, 5), padding="same"),
        Case((11, 29), kernel_size=(7, 7), padding="same"),
        Case((12, 24), padding="same", strides=(2, 2)),
        # Wide enough for blocks that begin in the column before.
        Case((4, 50), padding="same", strides=(2, 2)),
        Case((3, 128), padding="same", strides=(2, 2), activation="tanh"),
        Case((6, 30), padding="same", dilation_rate=(2, 2)),
    ],
    ids=repr,
)
def test_wherever_the_arrays_begin(case: Case, dtype: str, isa: str) -> None:
    """Blocks of channels move to the vectors' boundaries; the numbers stay."""
    itemsize = np.dtype(dtype).itemsize
    for channels in (lanes(isa, dtype), 12 * lanes(isa, dtype), 12 * lanes(isa, dtype) + 1):
        case = replace(case, channels=channels, dtype=dtype, seed=channels)
        x, kernel, bias = case.arrays()
        expected = dwconv.depthwise_conv2d(x, kernel, bias, isa="portable", **case.options())
        for x_at in (0, itemsize, 16, 32, 48):
            moved = place(x, x_at)
            for y_at in {x_at, 16}:
                y = place(np.zeros_like(expected), y_at)
                y = dwconv.depthwise_conv2d(moved, kernel, bias, isa=isa, out=y, **case.options())
                assert_same_bits(y, expected, (case, isa, x_at, y_at))


@pytest.mark.parametrize("isa", TILED_ISAS)
@pytest.mark.parametrize("strides", [(1, 1), (2, 2)], ids=repr)
def test_pairs_of_blocks(strides: tuple[int, int], dtype: str, isa: str) -> None:
    """Pixels a multiple of 4096 bytes apart; of blocks a whole number of pairs, and one more."""
    channels = 4096 // np.dtype(dtype).itemsize
    case = Case((6, 21), channels, padding="same", strides=strides, dtype=dtype, activation="elu")
    x, kernel, bias = case.arrays()
    expected = dwconv.depthwise_conv2d(x, kernel, bias, isa="portable", **case.options())
    for at in (0, 16):
        moved, y = place(x, at), place(np.zeros_like(expected), at)
        y = dwconv.depthwise_conv2d(moved, kernel, bias, isa=isa, out=y, **case.options())
        assert_same_bits(y, expected, (case, isa, at))


def place(array: Any, offset: int) -> Any:
    """A copy that begins `offset` bytes beyond a multiple of 64."""
    memory = np.empty(array.nbytes + 128, np.uint8)
    begin = -memory.ctypes.data % 64 + offset
    copy = memory[begin : begin + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


# ---- all instruction sets, all lengths -----------------------------------------------------------


@pytest.mark.parametrize("kind", ["normal", "special"])
@pytest.mark.parametrize(
    "case",
    [
        *(Case((h, w), padding="same") for h, w in ((1, 1), (2, 3), (5, 4), (8, 9))),
        *(Case((h, w), padding="same", strides=(2, 2)) for h, w in ((2, 2), (5, 4), (8, 9))),
        Case((8, 7), padding="same", dilation_rate=(2, 2)),
        Case((6, 7), kernel_size=(2, 5), multiplier=2, strides=(2, 1)),
        Case((6, 5), multiplier=3, padding=((1, 2), (3, 0))),
    ],
    ids=repr,
)
def test_isas_agree(case: Case, kind: str, dtype: str, isa: str) -> None:
    """With portable, for every number of channels up to two vectors and one."""
    for channels in range(1, 2 * lanes(isa, dtype) + 2):
        case = replace(case, dtype=dtype, channels=channels, seed=channels)
        x, kernel, bias = case.arrays()
        assert bias is not None
        if kind == "special":
            x, kernel, bias = (special(a.shape, dtype, i) for i, a in enumerate((x, kernel, bias)))
        expected = dwconv.depthwise_conv2d(x, kernel, bias, isa="portable", **case.options())
        y = dwconv.depthwise_conv2d(x, kernel, bias, isa=isa, **case.options())
        assert_same_bits(y, expected, (case, kind, isa))


@pytest.mark.parametrize("kernel_size", [(3, 3), (5, 5), (7, 7)], ids=repr)
@pytest.mark.parametrize(
    "options",
    [
        {"padding": "same"},
        {"padding": "valid"},
        {"padding": ((0, 1), (3, 0))},
        {"padding": "same", "dilation_rate": (1, 2)},
        {"padding": "same", "dilation_rate": (2, 3)},
    ],
    ids=repr,
)
def test_folded_pixels(
    options: dict[str, Any], kernel_size: tuple[int, int], dtype: str, isa: str
) -> None:
    """Few channels in wide rows: several pixels share a vector, in every phase of its lanes."""
    for channels in sorted({1, 2, 3, 4, 5, 6, 12, 24, lanes(isa, dtype) + 2}):
        case = Case((15, 43), channels, kernel_size, dtype=dtype, seed=channels, **options)
        x, kernel, bias = case.arrays()
        y = dwconv.depthwise_conv2d(x, kernel, bias, isa=isa, **case.options())
        expected = dwconv.depthwise_conv2d(x, kernel, bias, isa="portable", **case.options())
        assert_same_bits(y, expected, (case, isa))


# ---- the whole and its pieces --------------------------------------------------------------------


@pytest.fixture(params=[1, 2], ids=["stride1", "stride2"])
def stride(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def whole(stride: int, dtype: str) -> Case:
    """Large enough for every tile, with a tail of columns, rows and channels."""
    return Case((17, 19), 21, padding="valid", strides=(stride, stride), batch=3, dtype=dtype)


def test_crops(whole: Case, stride: int, isa: str) -> None:
    """A window of the input gives the window of the output, wherever its tiles begin."""
    x, kernel, bias = whole.arrays()
    y = dwconv.depthwise_conv2d(x, kernel, bias, isa=isa, **whole.options())
    for top, left, rows, columns in ((0, 0, 1, 1), (1, 2, 2, 5), (3, 1, 4, 3), (0, 3, 7, 2)):
        window = x[
            :,
            top * stride : (top + rows - 1) * stride + 3,
            left * stride : (left + columns - 1) * stride + 3,
        ]
        piece = dwconv.depthwise_conv2d(window, kernel, bias, isa=isa, **whole.options())
        part = y[:, top : top + rows, left : left + columns]
        assert_same_bits(piece, part, (whole, isa, top, left, rows, columns))


def test_halves_with_their_own_padding(whole: Case, isa: str) -> None:
    """SAME at stride 1, once whole and once in two halves of the height and of the width."""
    case = replace(whole, strides=(1, 1), padding="same")
    x, kernel, bias = case.arrays()
    y = dwconv.depthwise_conv2d(x, kernel, bias, padding="same", isa=isa)
    for at in (1, 8, 15):
        upper = dwconv.depthwise_conv2d(
            x[:, : at + 1], kernel, bias, padding=((1, 0), (1, 1)), isa=isa
        )
        lower = dwconv.depthwise_conv2d(
            x[:, at - 1 :], kernel, bias, padding=((0, 1), (1, 1)), isa=isa
        )
        assert_same_bits(np.concatenate([upper, lower], axis=1), y, (case, isa, at))
        left = dwconv.depthwise_conv2d(
            x[:, :, : at + 1], kernel, bias, padding=((1, 1), (1, 0)), isa=isa
        )
        right = dwconv.depthwise_conv2d(
            x[:, :, at - 1 :], kernel, bias, padding=((1, 1), (0, 1)), isa=isa
        )
        assert_same_bits(np.concatenate([left, right], axis=2), y, (case, isa, at))


def test_batch_and_channels(whole: Case, isa: str) -> None:
    """Image by image, and some of the channels alone: other blocks, other tails."""
    case = replace(whole, padding="same")
    x, kernel, bias = case.arrays()
    assert bias is not None
    options = {**case.options(), "isa": isa}
    y = dwconv.depthwise_conv2d(x, kernel, bias, **options)
    for n in range(3):
        one = dwconv.depthwise_conv2d(x[n : n + 1], kernel, bias, **options)
        assert_same_bits(one, y[n : n + 1], (case, isa, n))
    for first, last in ((0, 1), (3, 21), (5, 9), (20, 21), (2, 19)):
        part = slice(first, last)
        some = dwconv.depthwise_conv2d(x[..., part], kernel[:, :, part], bias[part], **options)
        assert_same_bits(some, y[..., part], (case, isa, part))


def test_multiplier_is_convolutions_side_by_side(whole: Case, isa: str) -> None:
    case = replace(whole, padding="same", multiplier=3)
    x, kernel, bias = case.arrays()
    assert bias is not None
    options = {**case.options(), "isa": isa}
    y = dwconv.depthwise_conv2d(x, kernel, bias, **options)
    for m in range(3):
        alone = dwconv.depthwise_conv2d(x, kernel[..., m : m + 1], bias[m::3], **options)
        assert_same_bits(y[..., m::3], alone, (case, isa, m))


def test_layouts(whole: Case, isa: str) -> None:
    case = replace(whole, padding="same", multiplier=2)
    x, kernel, bias = case.arrays()
    options = {**case.options(), "isa": isa}
    last = dwconv.depthwise_conv2d(x, kernel, bias, **options)
    options["data_format"] = "channels_first"
    first = dwconv.depthwise_conv2d(x.transpose(0, 3, 1, 2), kernel, bias, **options)
    assert_same_bits(first.transpose(0, 2, 3, 1), last, (case, isa))


def test_tiles_and_general_kernel(whole: Case, stride: int, isa: str) -> None:
    """3x3 in its own kernel, and as a 3x4 with a column of zeros that only a -0 could show."""
    x, kernel, bias = whole.arrays()
    y = dwconv.depthwise_conv2d(x, kernel, bias, isa=isa, **whole.options())
    wider = np.concatenate([kernel, np.zeros_like(kernel[:, :1])], axis=1)
    options = {**whole.options(), "padding": ((0, 0), (0, 1))}
    assert_same_bits(
        dwconv.depthwise_conv2d(x, wider, bias, isa=isa, **options), y, (whole, stride, isa)
    )


# ---- special numbers -----------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [np.nan, np.inf, -np.inf])
def test_padded_taps_are_skipped(weight: float, dtype: str, isa: str) -> None:
    """A NaN or infinite weight that only meets padding leaves no trace, in tiles and tails."""
    for channels in (1, lanes(isa, dtype), 2 * lanes(isa, dtype) + 1):
        x = np.ones((1, 6, 7, channels), dtype)
        kernel = np.ones((3, 3, channels, 1), dtype)
        kernel[0] = kernel[:, 0] = weight
        y = dwconv.depthwise_conv2d(x, kernel, padding="same", isa=isa)
        assert (y[:, 0, 0] == 4).all(), (weight, channels, dtype, isa)
        assert not np.isfinite(np.delete(y.reshape(42, channels), 0, axis=0)).any()


def test_signs_of_zero(dtype: str, isa: str) -> None:
    """No bias starts from +0; a -0 bias with no valid tap stays -0, also through relu and relu6."""
    for channels in (1, lanes(isa, dtype), 2 * lanes(isa, dtype) + 1):
        x = np.full((1, 4, 5, channels), -0.0, dtype)
        kernel = np.ones((1, 1, channels, 1), dtype)
        plus = dwconv.depthwise_conv2d(x, kernel, isa=isa)
        assert not np.signbit(plus).any()
        bias = np.full(channels, -0.0, dtype)
        for activation in ("linear", "relu", "relu6"):
            minus = dwconv.depthwise_conv2d(
                x, kernel, bias, padding=((1, 1), (1, 1)), activation=activation, isa=isa
            )
            assert (minus == 0).all()
            assert np.signbit(minus).all(), (activation, channels, dtype, isa)


def test_fused_activations_keep_nan(dtype: str, isa: str) -> None:
    values = np.array([np.nan, -np.inf, -1, -0.0, 0, 0.5, 6, 7, np.inf], dtype)
    kernel = np.ones((1, 1, 1, 1), dtype)
    for activation, expected in (
        ("relu", [np.nan, 0, 0, 0, 0, 0.5, 6, 7, np.inf]),
        ("relu6", [np.nan, 0, 0, 0, 0, 0.5, 6, 6, 6]),
    ):
        y = dwconv.depthwise_conv2d(
            values.reshape(1, 1, -1, 1), kernel, activation=activation, isa=isa
        )
        assert np.array_equal(y.ravel(), np.array(expected, dtype), equal_nan=True)


FUSED = [
    *(activations.get(name) for name in ops.FUSED_ACTIVATIONS if name != "gelu_tanh"),
    activations.gelu.with_parameters(approximate=True),
    activations.leaky_relu.with_parameters(negative_slope=-1.5),
    activations.elu.with_parameters(alpha=0.7),
]


@pytest.mark.usefixtures("ieee")
@pytest.mark.parametrize("activation", FUSED, ids=repr)
def test_fused_is_the_function(activation: Activation, dtype: str, isa: str) -> None:
    """A plan gives what the activation makes of the convolution, for any number: to the bit."""
    values = special((3, 5, 4, 2 * lanes(isa, dtype) + 3), dtype, seed=5)
    values.flat[:6] = np.array([np.nan, -np.inf, np.inf, -0.0, 0, np.finfo(dtype).tiny / 2])
    kernel = np.ones((1, 1, values.shape[3], 1), dtype)
    bias = np.full(values.shape[3], -0.0, dtype)  # keeps the sign of zero
    y = dwconv.depthwise_conv2d(values, kernel, bias, activation=activation, isa=isa)
    assert_same_bits(y, activation(values), f"{activation} {isa}")


def test_activated_once(dtype: str, isa: str) -> None:
    """Where tiles, blocks of channels or strips overlap, the sums are activated, not results."""
    activation = activations.tanh  # tanh(tanh(x)) differs from tanh(x)
    merged = [Case((5, 70), channels=channels, padding="same") for channels in (3, 24)]
    for plain in [*tile_cases(), *CASES, *merged]:
        for channels in (plain.channels, 2 * lanes(isa, dtype) + 1):
            case = replace(plain, dtype=dtype, channels=channels)
            arrays, options = case.arrays(), case.options()
            sums = dwconv.depthwise_conv2d(*arrays, **options, isa=isa)
            y = dwconv.depthwise_conv2d(*arrays, **(options | {"activation": "tanh"}), isa=isa)
            assert_same_bits(y, activation(sums), f"{case} {isa}")


# ---- the emulation -------------------------------------------------------------------------------


def test_fma32_is_the_exact_one() -> None:
    """Rounding to odd against rational arithmetic: sums that cancel, tie, underflow, overflow."""
    a, b, c = (special((3000,), "float32", seed) for seed in (11, 12, 13))
    with np.errstate(over="ignore", invalid="ignore"):
        c[::3] = -(a[::3] * b[::3])  # cancellation: what is left is the rounding error
    dtype = np.dtype(np.float32)
    expected = [
        exact.fma(float(p), float(q), float(r), dtype) for p, q, r in zip(a, b, c, strict=True)
    ]
    assert_same_bits(exact.fma32(a, b, c), np.array(expected, np.float32), "fma32")


@pytest.mark.parametrize(
    ("dtype", "function", "number"),
    [("float32", "fmaf", ctypes.c_float), ("float64", "fma", ctypes.c_double)],
)
def test_the_exact_one_is_the_c_librarys(dtype: str, function: str, number: Any) -> None:
    library = ctypes.util.find_library("m")
    if library is None:
        pytest.skip("no C mathematics library to load")
    fma = getattr(ctypes.CDLL(library), function)
    fma.restype, fma.argtypes = number, [number] * 3
    a, b, c = (special((3000,), dtype, seed) for seed in (21, 22, 23))
    with np.errstate(over="ignore", invalid="ignore"):
        c[::3] = -(a[::3] * b[::3])
    triples = list(zip(a.tolist(), b.tolist(), c.tolist(), strict=True))
    ours = [exact.fma(*triple, np.dtype(dtype)) for triple in triples]
    theirs = [fma(*triple) for triple in triples]
    assert_same_bits(np.array(ours, dtype), np.array(theirs, dtype), function)
