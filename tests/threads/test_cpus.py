"""num_threads='auto': the affinity mask, and the quotas of control groups of both versions."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import run_python

import dwconv
from dwconv import DepthwiseConv2D, config
from dwconv.binding import cpus


@pytest.fixture(autouse=True)
def _many_cpus(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A machine of 16, so that quotas below are less."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    before = config.num_threads()
    yield
    config.set_num_threads(before)


def root_with(folder: Path, groups: str, **files: str) -> Path:
    """A file system with /proc/self/cgroup, and files below /sys/fs/cgroup."""
    (folder / "proc/self").mkdir(parents=True)
    (folder / "proc/self/cgroup").write_text(groups)
    for name, text in files.items():
        path = folder / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


V1 = "11:memory:/docker/ab\n4:cpu,cpuacct:/docker/ab\n1:name=systemd:/docker/ab\n"


@pytest.mark.parametrize(
    ("groups", "files", "wanted"),
    [
        ("0::/\n", {"cpu.max": "250000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),  # never none
        ("0::/\n", {"cpu.max": "max 100000\n"}, 16),
        ("0::/\n", {"cpu.max": "6400000 100000\n"}, 16),  # more than there are
        ("0::/a/b\n", {"a/b/cpu.max": "800000 100000", "a/cpu.max": "300000 100000"}, 3),
        ("0::/a/b\n", {"a/b/cpu.max": "300000 100000", "a/cpu.max": "max 100000"}, 3),
        ("0::/of/the/host\n", {"cpu.max": "400000 100000"}, 4),  # a container's own root
        (V1, {"cpu,cpuacct/docker/ab/cpu.cfs_quota_us": "500000\n",
              "cpu,cpuacct/docker/ab/cpu.cfs_period_us": "100000\n"}, 5),
        (V1, {"cpu/cpu.cfs_quota_us": "700000", "cpu/cpu.cfs_period_us": "100000"}, 7),
        (V1, {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 16),
        (V1 + "0::/\n", {"cpu/cpu.cfs_quota_us": "700000", "cpu/cpu.cfs_period_us": "100000",
                         "cpu.max": "600000 100000"}, 6),
        ("0::/../..\n", {"cpu.max": "900000 100000"}, 9),
        ("0::/\n", {"cpu.max": "many\n"}, 16),
        ("0::/\n", {"cpu.max": "0 0\n"}, 16),
        ("", {}, 16),
        ("nonsense", {}, 16),
    ],
)  # fmt: skip
def test_quotas(groups: str, files: dict[str, str], wanted: int, tmp_path: Path) -> None:
    assert cpus.available(root_with(tmp_path, groups, **files)) == wanted


def test_without_any_file(tmp_path: Path) -> None:
    assert cpus.available(tmp_path) == 16


def test_auto_is_taken_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpus, "available", lambda: 3)
    x = np.ones((1, 112, 112, 64), np.float32)
    layer = DepthwiseConv2D(3, padding="same", num_threads="auto")
    assert layer.num_threads == 3
    expected = layer(x)
    plan = layer.plan(x.shape, num_threads="auto")
    assert plan.num_threads == 3
    config.set_num_threads("auto")
    assert config.num_threads() == 3
    kernel = np.asarray(layer.kernel)
    for y in (
        layer(x, num_threads="auto"),
        plan(x, num_threads="auto"),
        plan.run(x, None, "auto"),
        dwconv.depthwise_conv2d(x, kernel, padding="same", num_threads="auto"),
    ):
        assert np.array_equal(y, expected)
    dwconv.depthwise_conv2d_kernel_grad(
        expected, x, kernel.shape, padding="same", num_threads="auto"
    )
    small = DepthwiseConv2D(3).plan((1, 5, 5, 2), num_threads="auto")
    assert small.num_threads == 1, "the work is worth no more"
    for wrong in ("Auto", "", "2", b"auto", None):
        with pytest.raises(ValueError, match=r"num_threads: expected .* 'auto'; received"):
            config.set_num_threads(wrong)


def test_the_variable() -> None:
    show = "from dwconv import config; print(config.num_threads())"
    assert int(run_python("-c", show, DWCONV_NUM_THREADS="auto").stdout) >= 1
    done = run_python("-c", show, DWCONV_NUM_THREADS="automatic")
    assert "DWCONV_NUM_THREADS: expected a positive integer or auto" in done.stderr


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux has it")
def test_the_mask() -> None:
    code = """
        import os
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        from dwconv import config
        config.set_num_threads("auto")
        assert config.num_threads() == 1
    """
    done = run_python("-c", textwrap.dedent(code))
    assert done.returncode == 0, done
