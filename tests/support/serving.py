"""gunicorn, with workers forked after the application was loaded and used."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support import patient


@contextmanager
def gunicorn(*arguments: str, folder: Path, **environment: str) -> Iterator[int]:
    """The port of a server with two preloaded workers, which ends by itself when asked to."""
    pytest.importorskip("gunicorn")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = "gunicorn --preload --workers 2 --log-level warning".split()
    server = subprocess.Popen(
        [sys.executable, "-m", *command, "--bind", f"127.0.0.1:{port}", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(port, server)
        yield port
    finally:
        server.send_signal(signal.SIGTERM)
        _, errors = server.communicate(timeout=patient(60))
    assert server.returncode == 0, errors


def wait_for(port: int, server: subprocess.Popen[str]) -> None:
    limit = time.monotonic() + patient(30)
    while time.monotonic() < limit:
        assert server.poll() is None, server.communicate()[1]
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the server does not listen")
