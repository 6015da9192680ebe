"""The operators of `dwconv.torch` in C++ beside those in Python. Skipped without PyTorch, a C++
compiler or ninja. What holds for both is in test_torch_adapter.py and test_torch_accelerate.py.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch")

from support import run_python  # noqa: E402
from support.locking import succeeds_in_a_child  # noqa: E402
from support.torch_operators import operators_in  # noqa: E402

from dwconv import config  # noqa: E402
from dwconv.torch import depthwise_conv2d, operators, use_compiled_operators  # noqa: E402
from dwconv.torch.compiled import _remove_old_lock  # noqa: E402

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
ACTIVATIONS = ("linear", "relu", "relu6", "leaky_relu", "hard_sigmoid", "hard_silu", "sigmoid",
               "tanh", "silu", "gelu", "gelu_tanh", "elu")  # fmt: skip
GEOMETRIES: list[dict[str, Any]] = [
    {"padding": 1},
    {"stride": 2, "padding": (2, 1)},
    {"padding": "same", "dilation": (1, 2)},
]


@pytest.fixture(scope="module", autouse=True)
def compiled() -> Iterator[None]:
    with operators_in("c++"):
        yield


@pytest.fixture
def threads() -> Iterator[Any]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def arguments(dtype: Any, memory_format: Any, channels: int = 6, size: int = 9) -> list[Any]:
    generator = torch.Generator().manual_seed(29)

    def normal(*shape: int) -> Any:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    x = normal(3, channels, size, size - 1).to(memory_format=memory_format)
    return [x, normal(2 * channels, 1, 3, 3), normal(2 * channels)]


def results(tensors: list[Any], **options: Any) -> list[Any]:
    """y and the gradients of x, weight and bias."""
    wanted = [tensor.detach().requires_grad_() for tensor in tensors]
    y = depthwise_conv2d(*wanted, **options)
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y.dtype)
    return [y.detach(), *torch.autograd.grad(y, wanted, dy)]


def in_both(work: Any) -> tuple[Any, Any]:
    in_cpp = work()
    with operators_in("python"):
        in_python = work()
    use_compiled_operators()
    return in_cpp, in_python


def assert_same(found: list[Any], expected: list[Any]) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.dtype, ours.stride()) == (theirs.dtype, theirs.stride())
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("memory_format", FORMATS.values(), ids=FORMATS)
def test_the_bits_of_python(dtype: Any, memory_format: Any) -> None:
    tensors = arguments(dtype, memory_format)

    def work() -> list[Any]:
        found = []
        for geometry in GEOMETRIES:
            for activation in ACTIVATIONS:
                found += results(tensors, activation=activation, alpha=0.3, **geometry)
        return found

    assert_same(*in_both(work))


@pytest.mark.parametrize("memory_format", FORMATS.values(), ids=FORMATS)
def test_the_bits_of_one_thread(memory_format: Any, threads: Any) -> None:
    tensors = arguments(torch.float32, memory_format, channels=48, size=40)
    for count in (1, 2, 5):
        threads(count)
        found = results(tensors, padding=1)
        if count == 1:
            expected = found
        assert_same(found, expected)


def test_empty_batches() -> None:
    tensors = arguments(torch.float32, torch.contiguous_format)
    tensors[0] = tensors[0][:0]
    assert_same(*in_both(lambda: results(tensors)))


def test_weights_that_change() -> None:
    x, weight, bias = arguments(torch.float32, torch.channels_last)
    before = depthwise_conv2d(x, weight, bias)
    weight.data.mul_(2)
    bias.data.mul_(2)
    assert torch.equal(depthwise_conv2d(x, weight, bias), 2 * before)  # exact: a power of two


def test_denormal_numbers_as_the_settings_say() -> None:
    tiny = torch.finfo(torch.float32).tiny / 4
    x, weight = torch.full((1, 1, 4, 4), tiny), torch.ones(1, 1, 1, 1)
    found = []
    for denormals in ("flush", "ieee", "flush"):
        config.set_denormals(denormals)
        found.append(float(depthwise_conv2d(x, weight).max()))
    assert found[1] == tiny
    assert found[0] == found[2]
    assert found[0] in (0.0, tiny)  # instruction sets without multiply-add do not flush


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.zeros(6, 4, 4)}, "x: expected rank 4"),
        ({"weight": torch.zeros(6, 1, 9, 9)}, "height: expected an input"),
        ({"stride": [0, 1]}, "strides"),
        ({"activation": "softmax"}, "softmax"),
        ({"x": torch.zeros(1, 6, 4, 4).int()}, "x: expected a tensor of floats"),
    ],
)
def test_errors_of_the_operator(change: dict[str, Any], message: str) -> None:
    call: dict[str, Any] = {"x": torch.zeros(1, 6, 4, 4), "weight": torch.zeros(6, 1, 3, 3)}
    call.update(bias=None, stride=[1, 1], padding=[0] * 4, dilation=[1, 1])
    with pytest.raises((ValueError, TypeError, KeyError), match=message):
        torch.ops.dwconv.depthwise_conv2d(**{**call, **change})


def test_many_callers() -> None:
    """Threads that make, find and forget plans at the same time."""
    tensors = [arguments(torch.float32, torch.channels_last, channels) for channels in range(1, 9)]
    expected = [depthwise_conv2d(*each) for each in tensors]
    wrong: list[int] = []

    def call(start: int) -> None:
        for i in range(200):
            at = (start + i) % len(tensors)
            if not torch.equal(depthwise_conv2d(*tensors[at]), expected[at]):
                wrong.append(at)
            if i % 50 == start:
                config.forget_plans()

    callers = [threading.Thread(target=call, args=(start,)) for start in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of any fork with threads
def test_a_forked_child_after_parallel_regions(threads: Any) -> None:
    """GNU's OpenMP hangs in a child of a process that has used it."""
    threads(2)
    tensors = arguments(torch.float32, torch.channels_last, channels=64, size=64)
    depthwise_conv2d(*tensors)

    def work() -> None:
        depthwise_conv2d(*tensors)
        depthwise_conv2d(*tensors, dilation=2)  # a new plan

    assert succeeds_in_a_child(work)


def test_back_to_python() -> None:
    assert operators.is_compiled()
    with operators_in("python"):
        assert not operators.is_compiled()
        results(arguments(torch.float32, torch.contiguous_format))
    use_compiled_operators()
    assert operators.is_compiled()


def test_the_lock_of_a_process_that_was_killed(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.touch()
    _remove_old_lock(lock)
    assert lock.exists()  # of one that may be at work
    os.utime(lock, (0, 0))
    _remove_old_lock(lock)
    assert not lock.exists()
    _remove_old_lock(lock)


def test_without_a_compiler() -> None:
    """A process that has none says so, and goes on in Python."""
    script = """
import torch, dwconv.torch
try:
    dwconv.torch.use_compiled_operators()
except RuntimeError as error:
    print(error)
print(tuple(dwconv.torch.depthwise_conv2d(torch.ones(1, 2, 4, 4), torch.ones(2, 1, 3, 3)).shape))
"""
    done = run_python("-c", script, CXX="no-such-compiler", DWCONV_TORCH_COMPILED="0")
    assert "expected a C++ compiler" in done.stdout, done.stderr
    assert "no-such-compiler" in done.stdout
    assert "(1, 2, 2, 2)" in done.stdout
