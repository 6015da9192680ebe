"""Runs a build and shows how far the C files of it are: `make build`.

    python tools/build_progress.py COMMAND ...

pip keeps what a build prints until it ends, and the kernels take minutes. So setup.py writes a line
for each file it has compiled into the file that DWCONV_PROGRESS names, and this shows the last one:
as a bar on a terminal, elsewhere a line now and then. The exit status is the command's.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EVERY = 15.0  # seconds between lines where there is no terminal


def main(command: list[str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "progress"
        path.touch()
        began = told = time.monotonic()
        terminal = sys.stderr.isatty()
        process = subprocess.Popen(command, env=os.environ | {"DWCONV_PROGRESS": str(path)})
        shown = ""
        while process.poll() is None:
            time.sleep(0.2)
            now = time.monotonic()
            line = last_line(path.read_text(encoding="utf-8"))
            if terminal:
                text = f"{bar(line)} {line}, {now - began:.0f} s" if line else ""
                print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
            elif line != shown and now - told > EVERY:
                print(f"    {line}, {now - began:.0f} s", file=sys.stderr, flush=True)
                shown, told = line, now
        if terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        return process.returncode


def last_line(text: str) -> str:
    """The last whole line: '12 of 35 files compiled'."""
    return text.rpartition("\n")[0].rpartition("\n")[2]


def bar(line: str) -> str:
    """Of 30 characters, for 'I of N ...'."""
    words = line.split()
    done, total = (int(words[0]), int(words[2])) if len(words) > 2 else (0, 1)
    filled = 30 * done // total
    return f"[{'#' * filled}{'-' * (30 - filled)}]"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
