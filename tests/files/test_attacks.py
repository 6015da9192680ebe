"""Small files that ask for much work: tests/data/attacks, written by tests/data/attacks.py.

What one may cost follows from the limits of the readers: at most 200,000 steps of some 5 us, eight
megabytes of JSON, a thousand layers of half a millisecond, all of them a second in the worst case,
and nanoseconds for each byte of the file. CPU time is measured, which other processes do not
change; a slow CPU has twice that.
"""

from __future__ import annotations

import gzip
import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from support import ASAN, ASAN_SLOWER, ROOT, slow
from support.layers import isolate

import dwconv
import dwconv.saving
from dwconv import DepthwiseConv2D, FormatError
from dwconv.cli import inspect
from dwconv.layers import summary

resource = pytest.importorskip("resource", reason="limits and SIGPROF are POSIX")

ATTACKS = sorted((ROOT / "tests" / "data" / "attacks").glob("*.gz"))
#: Those that cost most of their kind.
LONG = {
    "a-long-path-beside-many-layers.json.gz",
    "attributes-of-a-shared-group.h5.gz",
    "long-class-names.keras.gz",
    "long-numbers.json.gz",
    "models-that-share-names.h5.gz",
}
SECONDS = 2.0 * ASAN_SLOWER
SECONDS_PER_BYTE = 100e-9 * ASAN_SLOWER
MEGABYTES = 100


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


class Slow(BaseException):
    """Not an Exception: nothing may catch it."""


@pytest.fixture
def bounded() -> Iterator[Callable[[float], None]]:
    """Calls `start(seconds)`: no more CPU time than that, nor more memory than the process has then
    and MEGABYTES.
    """

    def late(*_: Any) -> None:
        raise Slow

    memory = resource.getrlimit(resource.RLIMIT_AS)
    old = signal.signal(signal.SIGPROF, late)

    def start(seconds: float) -> None:
        statm = Path("/proc/self/statm")
        if statm.exists() and not ASAN:
            pages = int(statm.read_text(encoding="ascii").split()[0])
            most = pages * resource.getpagesize() + (MEGABYTES << 20)
            resource.setrlimit(resource.RLIMIT_AS, (most, memory[1]))
        signal.setitimer(signal.ITIMER_PROF, seconds)

    try:
        yield start
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, old)
        resource.setrlimit(resource.RLIMIT_AS, memory)


def ways(path: Path) -> dict[str, Callable[[], Any]]:
    """All ways in. `dwconv convert` is the first, then the second."""
    target = DepthwiseConv2D((1, 2), name="dw")
    target.build((None, 4, 4, 2))
    return {
        "load_layers": lambda: dwconv.load_layers(path, fold=True, on_error="skip"),
        "load": lambda: dwconv.load(path),
        "image_sizes": lambda: dwconv.saving.image_sizes(path, None, (64, 48)),
        "load_weights": lambda: target.load_weights(path),
        "inspect": lambda: inspect.run(path, None),
    }


@pytest.mark.parametrize(
    "packed",
    [each for path in ATTACKS for each in (slow(path) if path.name in LONG else [path])],
    ids=lambda path: path.name.removesuffix(".gz"),
)
def test_attacks(packed: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    path = tmp_path / packed.name.removesuffix(".gz")
    if path.suffix == ".onnx":
        pytest.importorskip("onnx")
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    size = path.stat().st_size
    most = SECONDS + SECONDS_PER_BYTE * size
    start = request.getfixturevalue("bounded")
    for name, read in ways(path).items():
        begin = time.process_time()
        start(2 * most)  # a hang ends here, and says how far it came
        try:
            with suppress(FormatError, dwconv.cli.CommandError):
                read()
        except (Slow, MemoryError) as error:
            raise AssertionError(f"{name}, {size} bytes: {error!r}") from error
        used = time.process_time() - begin
        assert used <= most, f"{name}: {used:.2f} s of CPU time for {size} bytes"


def test_there_are_attacks_on_every_format() -> None:
    names = {path.name.removesuffix(".gz") for path in ATTACKS}
    for suffix in (".safetensors", ".npz", ".keras", ".h5", ".weights.h5", ".json", ".onnx"):
        assert any(name.endswith(suffix) for name in names), suffix


def test_a_folder_has_the_budget_of_its_files(tmp_path: Path) -> None:
    """What Keras 3 has not zipped: 600 MB of paths in two megabytes of config."""
    packed = ROOT / "tests" / "data" / "attacks" / "long-paths.json.gz"
    (tmp_path / "config.json").write_bytes(gzip.decompress(packed.read_bytes()))
    for read in (dwconv.load_layers, dwconv.load):
        with pytest.raises(FormatError, match="expected paths of at most"):
            read(tmp_path)


def test_wide_cells_make_no_wide_table() -> None:
    """A long path stands in its own row alone, and whole."""
    rows = [("x" * 30_000, "1"), *((str(i), "2") for i in range(1000))]
    lines = summary.render(("path", "number"), rows)
    assert any("x" * 30_000 in line for line in lines)
    assert sum(map(len, lines)) < 1_000_000


@pytest.mark.parametrize(
    "pool_size", [[3], [], "ab", {"a": 1}, 10**4000, -1, 1e308, [[2, 2], [2, 2]], None, True]
)
def test_sizes_that_are_none_leave_what_comes_after_unknown(
    pool_size: object, tmp_path: Path
) -> None:
    def item(kind: str, **config: object) -> dict[str, object]:
        return {"class_name": kind, "config": config}

    pooled = [
        item("MaxPooling2D", name="a", pool_size=pool_size),
        item("ZeroPadding2D", name="b", padding=pool_size),
        item("UpSampling2D", name="c", size=pool_size),
    ]
    for each in pooled:
        layer = item("DepthwiseConv2D", name="dw", kernel_size=3)
        model = item("Sequential", name="m", layers=[each, layer])
        (tmp_path / "model.json").write_text(json.dumps(model), encoding="utf-8")
        found = dwconv.saving.image_sizes(tmp_path / "model.json", None, (64, 48))
        assert found.get("dw", (64, 48)) in (
            *((32, 24), (64, 48), (66, 50), (68, 52), (128, 96)),
        ), found
