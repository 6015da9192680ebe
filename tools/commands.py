"""Other programs, run for what they print."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

#: Whatever takes longer hangs: the slowest, a compiler of kernels on a busy machine, takes minutes.
MOST_SECONDS = 1800


def run(
    words: Sequence[object], cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs a command, with further environment variables: its exit status, and in stdout all that
    it printed. subprocess.TimeoutExpired for one that hangs.
    """
    return subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        check=False,
        timeout=MOST_SECONDS,
    )
