"""Processes that fork after, and while, threads of the library are at work."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from forking import SHAPE, layer
from support import ROOT, assert_same_bits, run_python

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

#: qemu-user starts no interpreter of another processor, and forks badly while threads are at work.
HERE = pytest.mark.skipif("DWCONV_TEST_EMULATOR" in os.environ, reason="not in an emulator")

SCRIPT = str(ROOT / "tests" / "forking.py")


@pytest.mark.parametrize(
    "arguments",
    [
        ["fork"],
        pytest.param(["fork_during_calls"], marks=HERE),
        ["pool", "fork"],
        *(pytest.param(["pool", method], marks=HERE) for method in ("spawn", "forkserver")),
    ],
    ids=" ".join,
)
def test_a_child_works_at_once_and_with_threads(arguments: list[str]) -> None:
    # Python warns of any fork with threads; that this one is safe is what is tested.
    done = run_python("-W", "ignore::DeprecationWarning", SCRIPT, *arguments)
    assert (done.returncode, done.stdout) == (0, "done\n"), done


@HERE
def test_gunicorn_with_preload() -> None:
    """Two workers, forked after the layer was used with threads, serve concurrent requests."""
    pytest.importorskip("gunicorn")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = "gunicorn --preload --workers 2 --log-level warning forking:app".split()
    server = subprocess.Popen(
        [sys.executable, "-m", *command, "--bind", f"127.0.0.1:{port}"],
        cwd=ROOT / "tests",
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        arrays = [np.random.default_rng(i).standard_normal(SHAPE, np.float32) for i in range(6)]
        expected = [layer(array, num_threads=1) for array in arrays]
        wait_for(port, server)
        with ThreadPoolExecutor(6) as clients:
            answers = list(clients.map(lambda i: ask(port, arrays[i % 6]), range(48)))
        for i, (answer, _) in enumerate(answers):
            assert_same_bits(answer, expected[i % 6], f"request {i}")
        assert len({process for _, process in answers}) == 2, "one of the workers serves nothing"
    finally:
        server.send_signal(signal.SIGTERM)
        _, errors = server.communicate(timeout=60)
    assert server.returncode == 0, errors


def wait_for(port: int, server: subprocess.Popen[str]) -> None:
    for _ in range(600):
        assert server.poll() is None, server.communicate()[1]
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the server does not listen after 30 s")


def ask(port: int, array: np.ndarray) -> tuple[np.ndarray, str | None]:
    """The server's output for an array, and the process that made it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/", array.tobytes())
    response = connection.getresponse()
    body = response.read()
    assert response.status == 200, body
    connection.close()
    return np.frombuffer(body, "f").reshape(array.shape), response.headers["X-Process"]
