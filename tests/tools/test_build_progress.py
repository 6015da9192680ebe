"""tools/build_progress.py: what it shows of a build, and its exit status."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT, patient

BUILD = """
import os, sys, time
with open(os.environ["DWCONV_PROGRESS"], "a") as file:
    for i in range(4):
        print(f"{i} of 3 C files compiled", file=file, flush=True)
        time.sleep(0.3)
sys.exit(int(sys.argv[1]))
"""


@pytest.mark.parametrize("status", [0, 7])
def test_the_exit_status_is_the_build_s(status: int, tmp_path: Path) -> None:
    (tmp_path / "build.py").write_text(BUILD, encoding="utf-8")
    script = ROOT / "tools" / "build_progress.py"
    code = f"""
import runpy, sys
sys.argv = [{str(script)!r}, sys.executable, {str(tmp_path / "build.py")!r}, "{status}"]
sys.path.insert(0, {str(script.parent)!r})
import build_progress
build_progress.EVERY = 0.0
sys.exit(build_progress.main(sys.argv[1:]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=patient(60),
        check=False,
    )
    assert done.returncode == status
    lines = done.stderr.splitlines()
    assert len(lines) >= 2
    assert all(" of 3 C files compiled, " in line for line in lines)


def test_the_bar_and_the_last_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import build_progress

    assert build_progress.bar("15 of 30 C files compiled") == f"[{'#' * 15}{'-' * 15}]"
    assert build_progress.bar("") == f"[{'-' * 30}]"
    assert build_progress.last_line("1 of 3\n2 of 3\n3 o") == "2 of 3"
    assert build_progress.last_line("") == ""
