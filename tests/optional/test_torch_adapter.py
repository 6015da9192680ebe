"""`dwconv.torch` against PyTorch's own convolution. Skipped without PyTorch."""

from __future__ import annotations

import copy
import os
import pickle
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch")

from support.locking import held_by_another_thread, succeeds_in_a_child  # noqa: E402
from support.torch_operators import language  # noqa: E402, F401

from dwconv.torch import DepthwiseConv2d, depthwise_conv2d, operators  # noqa: E402

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
GEOMETRIES: list[dict[str, Any]] = [
    {"padding": 1},
    {"stride": 2, "padding": (2, 1)},
    {"padding": "same", "dilation": (1, 2)},
]
formats = pytest.mark.parametrize("memory_format", FORMATS.values(), ids=FORMATS)


def arguments(
    dtype: Any, memory_format: Any, multiplier: int = 2, grad: bool = False
) -> tuple[Any, Any, Any]:
    generator = torch.Generator().manual_seed(17)

    def normal(*shape: int) -> Any:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    channels = 6
    x = normal(2, channels, 9, 8).to(memory_format=memory_format)
    weight, bias = normal(channels * multiplier, 1, 3, 3), normal(channels * multiplier)
    return tuple(tensor.requires_grad_(grad) for tensor in (x, weight, bias))  # type: ignore[return-value]


def conv2d(x: Any, weight: Any, bias: Any, **geometry: Any) -> Any:
    return torch.nn.functional.conv2d(x, weight, bias, groups=x.shape[1], **geometry)


@formats
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=repr)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_forward(dtype: Any, geometry: dict[str, Any], memory_format: Any) -> None:
    tensors = arguments(dtype, memory_format)
    y = depthwise_conv2d(*tensors, **geometry)
    wide = [tensor.double() for tensor in tensors]
    expected = conv2d(*wide, **geometry)
    # 9 fused multiply-adds and, for a dtype that is only stored, one rounding of the result.
    # float64: PyTorch's own sum rounds as often again.
    size = conv2d(*(tensor.abs() for tensor in wide), **geometry)
    computed = torch.float64 if dtype == torch.float64 else torch.float32
    eps, stored = torch.finfo(computed).eps, torch.finfo(dtype).eps
    bound = size * 20 * eps + (0 if dtype == computed else expected.abs() * stored)
    if dtype == torch.float16:
        bound = bound + torch.finfo(dtype).smallest_normal * stored  # subnormal results
    assert y.dtype == dtype
    assert y.is_contiguous(memory_format=memory_format)
    assert bool(((y.double() - expected).abs() <= bound).all()), (dtype, geometry, memory_format)


@formats
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_opcheck(dtype: Any, memory_format: Any) -> None:
    tensors = arguments(dtype, memory_format, grad=True)
    sample = (*tensors, [1, 2], [1, 1, 0, 2], [2, 1])
    torch.library.opcheck(torch.ops.dwconv.depthwise_conv2d, sample)
    torch.library.opcheck(torch.ops.dwconv.depthwise_conv2d, (*sample, "silu"))


@formats
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=repr)
def test_gradients(geometry: dict[str, Any], memory_format: Any) -> None:
    tensors = arguments(torch.float64, memory_format, grad=True)
    assert torch.autograd.gradcheck(lambda *t: depthwise_conv2d(*t, **geometry), tensors)


@pytest.mark.parametrize("wanted", [0, 1, 2])
def test_one_gradient_alone(wanted: int) -> None:
    tensors = arguments(torch.float64, torch.contiguous_format)
    tensors[wanted].requires_grad_()
    ours = torch.autograd.grad(depthwise_conv2d(*tensors).sum(), tensors[wanted])[0]
    theirs = torch.autograd.grad(conv2d(*tensors).sum(), tensors[wanted])[0]
    # At most 2 * 7 * 6 terms of normal numbers, each below 6.
    assert float((ours - theirs).abs().max()) <= 84 * 84 * 6 * torch.finfo(torch.float64).eps


@formats
def test_float32_is_not_copied(memory_format: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if operators.is_compiled():
        pytest.skip("it looks into the operators in Python")
    seen: list[int] = []
    original = operators._plan_for

    class Spy:
        def __init__(self, *arguments: Any) -> None:
            self.plan = original(*arguments)

        def run(self, x: Any, *rest: Any) -> Any:
            seen.append(x.ctypes.data)
            return self.plan.run(x, *rest)  # which refuses what is not contiguous

    monkeypatch.setattr(operators, "_plan_for", Spy)
    tensors = arguments(torch.float32, memory_format)
    y = depthwise_conv2d(*tensors)
    assert seen == [tensors[0].data_ptr()]
    assert y.is_contiguous(memory_format=memory_format)


def test_a_weight_that_was_changed_in_place() -> None:
    x, weight, bias = arguments(torch.float32, torch.channels_last)
    before = depthwise_conv2d(x, weight, bias)
    weight.data.mul_(2)
    bias.data.mul_(2)
    assert torch.equal(depthwise_conv2d(x, weight, bias), 2 * before)  # exact: a power of two


def test_module() -> None:
    theirs = torch.nn.Conv2d(6, 12, 3, 2, 1, groups=6)
    ours = DepthwiseConv2d(6, 12, 3, 2, 1)
    ours.load_state_dict(theirs.state_dict())
    x, _, _ = arguments(torch.float32, torch.channels_last)
    y = ours(x)
    torch.testing.assert_close(y, theirs(x))
    assert torch.equal(ours(x[0]), y[0])
    for other in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert torch.equal(other(x), y)


def test_autocast() -> None:
    ours = DepthwiseConv2d(6)
    x, _, _ = arguments(torch.float32, torch.contiguous_format)
    with torch.autocast("cpu", torch.bfloat16):
        y = ours(x)
    half = copy.deepcopy(ours).bfloat16()
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, half(x.bfloat16()))


@formats
def test_compile_without_graph_break(memory_format: Any) -> None:
    model = torch.nn.Sequential(DepthwiseConv2d(6, padding="same"), torch.nn.ReLU())
    x, _, _ = arguments(torch.float32, memory_format)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x), model(x))
    assert torch.equal(torch.export.export(model, (x,)).module()(x), model(x))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"weight": torch.zeros(5, 1, 3, 3)}, ValueError, "weight: expected shape"),
        ({"weight": torch.zeros(6, 1, 3, 3).double()}, TypeError, "weight: expected dtype"),
        ({"bias": torch.zeros(5)}, ValueError, "bias: expected shape"),
        ({"x": torch.zeros(1, 6, 4, 4).int()}, TypeError, "x: expected a tensor of floats"),
        ({"padding": "same", "stride": 2}, ValueError, "padding: expected stride 1"),
        ({"padding": -1}, ValueError, "padding: expected 'valid'"),
    ],
)
def test_errors(change: dict[str, Any], error: type[Exception], message: str) -> None:
    call = {"x": torch.zeros(1, 6, 4, 4), "weight": torch.zeros(6, 1, 3, 3), **change}
    with pytest.raises(error, match=message):
        depthwise_conv2d(**call)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of any fork with threads
def test_a_forked_worker_works_though_another_thread_held_the_lock() -> None:
    """As of a DataLoader, while another thread of the parent keeps a new plan."""
    x, weight, _ = arguments(torch.float32, torch.contiguous_format)
    with held_by_another_thread(operators._lock), torch.inference_mode():
        assert succeeds_in_a_child(lambda: depthwise_conv2d(x, weight, dilation=2))
