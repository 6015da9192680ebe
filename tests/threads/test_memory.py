"""The memory of outputs: aligned, recycled, bounded, never shared; threads and forks."""

from __future__ import annotations

import gc
import os
import random
import sys
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support import assert_same_bits, run_python
from support.layers import draw

import dwconv
from dwconv import DepthwiseConv2D, _core, config
from dwconv import isa as isas

LINE = 64


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """Nothing idle, and the limit put back."""
    limit = config.memory_limit()
    gc.collect()
    dwconv.trim_memory()
    yield
    config.set_memory_limit(limit)


def address(array: NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])


def output(size: int) -> NDArray[Any]:
    """An array of so many bytes."""
    return _core.empty((size,), np.dtype(np.uint8))


# ---- what an output is ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int32"])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_outputs_are_ordinary_aligned_arrays(dtype: str, data_format: str) -> None:
    for channels in (1, 5, 16):
        x = np.ones((1, 3, 5, channels), dtype)
        if data_format == "channels_first":
            x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
        arguments: dict[str, Any] = {"dtype": dtype, "data_format": data_format}
        layer = DepthwiseConv2D(3, padding="same", depthwise_initializer="ones", **arguments)
        kernel = np.ones((3, 3, channels, 1), dtype)
        for y in (
            layer(x),
            layer(x),
            layer.plan(x.shape)(x),
            dwconv.depthwise_conv2d(x, kernel, padding="same", data_format=data_format),
        ):
            assert type(y) is np.ndarray
            assert y.dtype == dtype
            assert address(y) % LINE == 0
            assert y.flags.c_contiguous
            assert y.flags.writeable
            assert y.flags.aligned


@pytest.mark.parametrize("isa", isas.available())
def test_large_outputs_begin_where_the_kernel_wants_them(isa: str) -> None:
    """1280 bytes on from x in a page, wherever x lies; at a cache line if x is off 16 bytes."""
    kernel = np.ones((3, 3, 512, 1), np.float32)
    memory = np.zeros(14 * 14 * 512 + 1024, np.float32)
    for at in range(0, 40, 3):
        x = memory[at : at + 14 * 14 * 512].reshape(1, 14, 14, 512)
        y = dwconv.depthwise_conv2d(x, kernel, padding="same", isa=isa)
        distance = (address(y) - address(x) - 1280) % 4096
        assert distance == 0 or (distance >= 4096 - LINE and address(y) % LINE == 0), (at, isa)
        if isa == "avx512" and address(x) % 16 == 0:
            assert distance == 0, at


def test_the_next_output_has_the_memory_of_one_that_is_gone() -> None:
    """And every element is written anew."""
    layer = DepthwiseConv2D(3, padding="same", depthwise_initializer="ones")
    x = draw(1, 9, 11, 19)
    expected = layer(x).copy()
    for _ in range(3):
        y = layer(x)
        assert_same_bits(y, expected, "recycled")
        y.fill(np.nan)
        before = address(y)
        del y
        y = layer(x)
        assert address(y) == before
        del y


def test_a_view_keeps_the_memory() -> None:
    layer = DepthwiseConv2D(3, padding="same", depthwise_initializer="ones")
    x = draw(1, 9, 11, 19)
    y = layer(x)
    expected = y.copy()
    views = [y[0, 1:3], y.T, y.reshape(-1)[5:], memoryview(y), y.view(np.uint8)]
    del y
    others = [layer(x * i) for i in range(8)]
    assert_same_bits(views[0], expected[0, 1:3], "view")
    for view in views:
        assert not any(np.shares_memory(np.asarray(view), other) for other in others)
    del others, view
    idle = config.idle_memory()
    views.clear()
    assert config.idle_memory() == idle + _core.memory_class(expected.nbytes)[1]


def test_live_outputs_never_share() -> None:
    """Outputs of many sizes come and go at random; each keeps the value that it was filled with."""
    seed = 3
    rng = random.Random(seed)
    config.set_memory_limit(200_000)
    live: list[tuple[NDArray[Any], int]] = []
    for step in range(3000):
        if live and rng.random() < 0.5:
            array, value = live.pop(rng.randrange(len(live)))
            assert (array == value).all(), (seed, step)
        array = output(rng.choice([0, 1, 64, 65, 100, 1000, 1025, 5000, 40_000]))
        value = step % 251
        array.fill(value)
        live.append((array, value))
        assert config.idle_memory() <= 200_000
        del array
    assert all((array == value).all() for array, value in live)


# ---- the bound -----------------------------------------------------------------------------------


def test_size_classes() -> None:
    """Each holds what it is for, wastes at most a ninth (or less than a line), and is its own."""
    sizes = [*range(5000), *(2**n + d for n in range(12, 62) for d in (-1, 0, 1, 2 ** (n - 1)))]
    sizes = sorted(size for size in sizes if size <= sys.maxsize // 2)
    before = 0, LINE
    for size in sizes:
        index, holds = _core.memory_class(size)
        assert size <= holds <= max(size + size // 8 + LINE, LINE), size
        assert holds % LINE == 0
        assert before == (index, holds) or (before[0] < index and before[1] < holds), size
        assert _core.memory_class(holds) == (index, holds)
        before = index, holds
    assert _core.memory_class(sys.maxsize // 2 + 1)[0] == -1


def test_the_oldest_idle_block_goes_first() -> None:
    config.set_memory_limit(3 * 1024)
    arrays = [output(1024 - 64 * i) for i in range(5)]
    while arrays:
        arrays.pop(0)  # 1024, 960, 896, 832, 768: the last three fit
        assert config.idle_memory() <= 3 * 1024
    assert config.idle_memory() == 896 + 832 + 768
    config.set_memory_limit(1600)
    assert config.idle_memory() == 832 + 768
    config.set_memory_limit(1599)
    assert config.idle_memory() == 768
    assert dwconv.trim_memory() == 768
    assert config.idle_memory() == dwconv.trim_memory() == 0


def test_what_is_taken_again_does_not_lie_idle() -> None:
    first, second = output(1000), output(1000)
    addresses = address(first), address(second)
    del first
    del second
    assert config.idle_memory() == 2 * 1024
    again = output(1024)
    assert address(again) == addresses[1]  # the last one, which is in cache
    assert config.idle_memory() == 1024
    other = output(1025)
    assert address(other) not in addresses


def test_a_block_beyond_the_limit_is_not_kept() -> None:
    config.set_memory_limit(10_000)
    small = output(1000)
    del small
    large = output(20_000)
    del large
    assert config.idle_memory() == 1024
    config.set_memory_limit(0)
    assert config.idle_memory() == 0
    y = output(64)
    del y
    assert config.idle_memory() == 0


@pytest.mark.parametrize("wrong", [-1, 1.5, None, "1", True, 2**63, float("nan")])
def test_limits_that_are_none(wrong: Any) -> None:
    before = config.memory_limit()
    with pytest.raises(ValueError, match=r"^bytes: expected an integer from 0 to \d+; received"):
        config.set_memory_limit(wrong)
    assert config.memory_limit() == before


@pytest.mark.slow
def test_the_variable_sets_the_limit() -> None:
    show = "import dwconv; print(dwconv.config.memory_limit())"
    assert run_python("-c", show).stdout.strip() == str(config.DEFAULT_MEMORY_LIMIT)
    assert run_python("-c", show, DWCONV_MEMORY_LIMIT="").stdout.strip() == str(256 << 20)
    assert run_python("-c", show, DWCONV_MEMORY_LIMIT="12345").stdout.strip() == "12345"
    code = (
        "import dwconv, numpy as np; x = np.ones((1, 8, 8, 16), 'f4')\n"
        "layer = dwconv.DepthwiseConv2D(1); y = layer(x); del y; y = layer(x); del y\n"
        "print(dwconv.config.idle_memory())"
    )
    assert run_python("-c", code, DWCONV_MEMORY_LIMIT="4095").stdout.strip() == "0"
    assert run_python("-c", code, DWCONV_MEMORY_LIMIT="4096").stdout.strip() == "4096"


@pytest.mark.slow
@pytest.mark.parametrize("wrong", ["lots", "-1", "1e6", str(2**63)])
def test_a_variable_that_is_no_limit(wrong: str) -> None:
    """An error where the first plan is made, and one line of the command line."""
    message = f"DWCONV_MEMORY_LIMIT: expected an integer from 0 to {2**63 - 1}; received {wrong!r}"
    code = "import dwconv; dwconv.depthwise_conv2d([[[[1.0]]]], [[[[1.0]]]])"
    done = run_python("-c", code, DWCONV_MEMORY_LIMIT=wrong)
    assert done.stderr.strip().endswith(f"ValueError: {message}")
    done = run_python("-m", "dwconv", "info", DWCONV_MEMORY_LIMIT=wrong)
    assert (done.returncode, done.stderr) == (2, f"dwconv info: {message}\n")
    code = "import dwconv; dwconv.config.set_memory_limit(5); print(dwconv.config.memory_limit())"
    assert run_python("-c", code, DWCONV_MEMORY_LIMIT=wrong).stdout.strip() == "5"


MARKS = """
import ctypes, re
import numpy as np
from dwconv import _core, trim_memory

def marked(at):
    "Whether the page at an address asks for huge pages, or is said to have none (nh)."
    inside = False
    for line in open("/proc/self/smaps"):
        if found := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            inside = int(found[1], 16) <= at < int(found[2], 16)
        elif inside and line.startswith("VmFlags:"):
            return bool({"hg", "nh"} & set(line.split()))
    raise AssertionError(f"no mapping at {at:#x}")

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
libc.free(libc.malloc(30 << 20))  # raises the size from which malloc makes mappings
arrays = [_core.empty((6 << 20,), np.dtype(np.uint8)) for _ in range(6)]
addresses = [array.__array_interface__["data"][0] for array in arrays]
marks = [marked(address) for address in addresses]
assert all(marks) or not any(marks), marks  # a kernel may have no huge pages
assert all(address % (2 << 20) == 0 for address in addresses)
del arrays
trim_memory()
others = [libc.malloc(size << 20) for size in (3, 6, 3, 6, 3, 6)]
assert not any(map(marked, others)), (others, addresses)
"""


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="Linux says so in /proc")
def test_the_mark_for_huge_pages_goes_with_the_memory() -> None:
    """What the C library hands out later is not marked, from its heap or not."""
    done = run_python("-c", MARKS, NUMPY_MADVISE_HUGEPAGE="0")  # NumPy's own marks stay
    assert done.returncode == 0, done


def test_tracemalloc_sees_outputs_while_they_live() -> None:
    tracemalloc.start()
    try:
        for size in (1 << 10, 1 << 20, 5 << 20):
            for _ in range(2):  # new, then recycled
                before = tracemalloc.get_traced_memory()[0]
                array = output(size)
                grown = tracemalloc.get_traced_memory()[0] - before
                assert size <= grown <= size * 9 // 8 + 4096, size
                traces = [
                    trace for trace in tracemalloc.take_snapshot().traces if trace.size >= size
                ]
                assert any(Path(__file__).name in str(trace.traceback) for trace in traces)
                del array, traces
                assert tracemalloc.get_traced_memory()[0] - before < size
    finally:
        tracemalloc.stop()


def test_empty_refuses_what_it_cannot_hold() -> None:
    with pytest.raises(ValueError, match="dtype without objects"):
        _core.empty((2,), np.dtype(object))
    with pytest.raises(ValueError, match="up to 8 sizes"):
        _core.empty((1,) * 9, np.dtype(np.float32))
    with pytest.raises(MemoryError):
        _core.empty((2**61,), np.dtype(np.float32))
    with pytest.raises(MemoryError, match=r"an output of \d+ bytes"):
        _core.empty((2**57,), np.dtype(np.uint8))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux' /proc")
def test_the_process_does_not_grow() -> None:
    """A thousand outputs of 1.5 MB, up to three alive: nothing more than those three and the limit.

    In a process of its own, whose allocator no other test has used.
    """
    code = """
import os, numpy as np, dwconv
dwconv.config.set_memory_limit(8 << 20)
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGESIZE")
layers = [dwconv.DepthwiseConv2D(3, padding="same", depth_multiplier=m) for m in (1, 2)]
x = np.ones((1, 56, 56, 112), "f4")
live = []
for i in range(1000):
    live.append(layers[i % 2](x))
    if len(live) > 2:
        live.pop(0)
    if i == 20:
        start = resident()
    assert dwconv.config.idle_memory() <= 8 << 20
print(resident() - start)
"""
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr
    # Less than half of one output in 980: noise of the interpreter.
    assert int(done.stdout) < 750_000, done.stdout


# ---- threads, processes --------------------------------------------------------------------------


def test_threads() -> None:
    """Outputs are made in some threads and die in others; none is overwritten meanwhile."""
    config.set_memory_limit(100_000)
    layer = DepthwiseConv2D(3, padding="same", depthwise_initializer="ones")
    inputs = [np.full((1, h, 7, 5), h, np.float32) for h in (3, 16, 40)]
    expected = [layer(x).copy() for x in inputs]
    shelf: list[tuple[int, NDArray[Any]]] = []
    wrong: list[int] = []

    def work(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(400):
            i = rng.randrange(3)
            shelf.append((i, layer(inputs[i])))
            if len(shelf) > 10:
                try:
                    j, y = shelf.pop(rng.randrange(8))
                except IndexError:  # another thread was faster
                    continue
                if not np.array_equal(y, expected[j]):
                    wrong.append(seed)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert not wrong
    assert config.idle_memory() <= 100_000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork() -> None:
    """While other threads compute; the child computes, frees what it inherited, and ends."""
    code = """
import os, threading, warnings, numpy as np, dwconv
warnings.simplefilter("ignore")  # that threads and fork do not mix is what is tested here
layer = dwconv.DepthwiseConv2D(3, depthwise_initializer="ones")
x = np.ones((1, 16, 16, 8), "f4")
held = layer(x)
stop = threading.Event()
def work():
    while not stop.is_set():
        assert layer(x).sum() == 14 * 14 * 8 * 9
threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads: thread.start()
for _ in range(20):
    pid = os.fork()
    if pid == 0:
        ok = held.sum() == layer(x).sum() == 14 * 14 * 8 * 9
        del held
        ok = ok and layer(x).sum() == 14 * 14 * 8 * 9 and dwconv.trim_memory() >= 0
        os._exit(0 if ok else 1)
    assert os.waitpid(pid, 0)[1] == 0
stop.set()
for thread in threads: thread.join()
print("done")
"""
    done = run_python("-c", code)
    assert done.stdout.strip() == "done", done.stderr


def test_arrays_that_outlive_everything() -> None:
    """At exit, arrays die after modules."""
    code = "import dwconv, numpy as np, builtins\n"
    code += "builtins.kept = [dwconv.DepthwiseConv2D(1)(np.ones((1, 2, 2, 1)))]; del dwconv, np\n"
    done = run_python("-c", code)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_array_dies_with_its_cycle() -> None:
    idle = config.idle_memory()
    cycle: list[Any] = [output(1000)]
    cycle.append(cycle)
    del cycle
    gc.collect()
    assert config.idle_memory() == idle + 1024
