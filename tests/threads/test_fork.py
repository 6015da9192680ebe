"""Processes that fork after, and while, threads of the library are at work."""

from __future__ import annotations

import http.client
import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support import ROOT, assert_same_bits, patient, run_python
from support.forking import SHAPE, layer
from support.serving import gunicorn

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

#: qemu-user starts no interpreter of another processor.
HERE = pytest.mark.skipif("DWCONV_TEST_EMULATOR" in os.environ, reason="not in an emulator")

SCRIPT = str(ROOT / "tests" / "support" / "forking.py")


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["fork"],
        ["fork_during_calls"],
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
    arrays = [np.random.default_rng(i).standard_normal(SHAPE, np.float32) for i in range(6)]
    expected = [layer(array, num_threads=1) for array in arrays]
    serving: set[str | None] = set()
    with gunicorn("support.forking:app", folder=ROOT / "tests") as port:
        limit = time.monotonic() + patient(60)
        while len(serving) < 2:  # the second worker may come late
            assert time.monotonic() < limit, "one of the workers serves nothing"
            with ThreadPoolExecutor(6) as clients:
                answers = list(clients.map(lambda i: ask(port, arrays[i % 6]), range(48)))
            for i, (answer, process) in enumerate(answers):
                assert_same_bits(answer, expected[i % 6], f"request {i}")
                serving.add(process)


def ask(port: int, array: np.ndarray) -> tuple[np.ndarray, str | None]:
    """The server's output for an array, and the process that made it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=patient(60))
    connection.request("POST", "/", array.tobytes())
    response = connection.getresponse()
    body = response.read()
    assert response.status == 200, body
    connection.close()
    return np.frombuffer(body, "f").reshape(array.shape), response.headers["X-Process"]
