"""Soak: the example service at full load, and many calls of one layer; no error, flat memory.

    python tests/threads/soak.py [--seconds 60] [--clients 4] [--calls 10000000]

Clients in threads post arrays of several shapes to examples/service.py, in a process of its own,
while the model file is replaced and reloaded again and again. The weights of version v are all v,
and so is the bias: every element of an output must be 10 v of one version, not older than when the
request was sent. `make soak` runs it; test_service.py runs a few seconds.
"""

from __future__ import annotations

import argparse
import http.client
import io
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

import dwconv

SERVICE = Path(__file__).resolve().parents[2] / "examples" / "service.py"

#: Seconds after which something hangs, on however busy a machine.
PATIENCE = 600

#: What there is to judge: requests, versions of the model, measurements of memory. On a busy
#: machine it takes longer than the seconds that were asked for.
ENOUGH = (20, 3, 20)

#: Of the inputs: (N, H, W, C). The last is too small for releasing the GIL.
SHAPES = [(1, 30, 30, 64), (2, 17, 16, 64), (1, 5, 5, 64)]

#: Bytes by which the service's resident memory may change between the second and the last quarter:
#: one output of the largest shape is 200 KB, so a leak of one in a thousand is far more.
FLAT = 4 << 20


def resident(pid: int) -> int:
    """Bytes of memory that a process has."""
    pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGESIZE")


def save(path: Path, version: int) -> None:
    """A layer, 3 x 3, with weights and bias all `version`, in the place of what is there."""
    kernel = np.full((3, 3, 64, 1), version, np.float32)
    layer = dwconv.DepthwiseConv2D(3, weights=[kernel, np.full(64, version, np.float32)])
    layer.build((None, None, None, 64))
    layer.save(path)


def as_npy(array: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@dataclass
class Soak:
    """What has been seen so far."""

    address: str
    path: Path
    pid: int
    version: int = 1  #: that the service has at least
    newest: int = 1  #: that it has at most
    seconds: list[float] = field(default_factory=list)  #: of each request
    memory: list[int] = field(default_factory=list)  #: bytes, in steps of time
    errors: list[str] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    def client(self, number: int) -> None:
        """Requests on one connection, one after the other."""
        connection = http.client.HTTPConnection(self.address, timeout=PATIENCE)
        bodies = [(shape, as_npy(np.ones(shape, np.float32))) for shape in SHAPES]
        turn = number
        while not self.done.is_set():
            shape, body = bodies[turn % len(bodies)]
            turn += 1
            oldest, start = self.version, time.perf_counter()
            connection.request("POST", "/", body)
            response = connection.getresponse()
            answer = response.read()
            self.seconds.append(time.perf_counter() - start)
            if response.status != 200:
                raise AssertionError(f"{response.status}: {answer!r}")
            y = np.load(io.BytesIO(answer))
            wanted = (shape[0], shape[1] - 2, shape[2] - 2, 64)
            found = np.unique(y).tolist()
            if (
                y.shape != wanted
                or len(found) != 1
                or not 10 * oldest <= found[0] <= 10 * self.newest
            ):
                raise AssertionError(f"{y.shape}, {found}; versions {oldest} to {self.newest}")
        connection.close()

    def reloader(self) -> None:
        """Replaces the file and says so, twenty times a second."""
        connection = http.client.HTTPConnection(self.address, timeout=PATIENCE)
        while not self.done.wait(0.05):
            self.newest += 1
            save(self.path, self.newest)
            connection.request("POST", "/reload", b"")
            response = connection.getresponse()
            if response.status != 200:
                raise AssertionError(f"reload: {response.status}: {response.read()!r}")
            response.read()
            self.version = self.newest
        connection.close()

    def meter(self) -> None:
        while not self.done.wait(0.05):
            self.memory.append(resident(self.pid))

    def run(self, seconds: float, clients: int) -> None:
        """Raises AssertionError, which says what went wrong."""

        def watched(work: Callable[..., None], *arguments: Any) -> None:
            try:
                work(*arguments)
            except Exception as error:
                self.errors.append(f"{type(error).__name__}: {error}")
                self.done.set()

        works = [(self.client, i) for i in range(clients)] + [(self.reloader,), (self.meter,)]
        threads = [threading.Thread(target=watched, args=work, daemon=True) for work in works]
        for thread in threads:
            thread.start()
        self.done.wait(seconds)
        limit = time.monotonic() + PATIENCE
        while not self.enough() and time.monotonic() < limit and not self.done.wait(0.05):
            pass
        self.done.set()
        for thread in threads:
            thread.join(PATIENCE)
        assert not self.errors, self.errors
        assert not any(thread.is_alive() for thread in threads), "a client hangs"
        assert self.enough(), f"expected more than {ENOUGH}; received {self.counts()}"

    def counts(self) -> tuple[int, int, int]:
        """As ENOUGH has them."""
        return len(self.seconds), self.version, len(self.memory)

    def enough(self) -> bool:
        return all(found > least for found, least in zip(self.counts(), ENOUGH, strict=True))

    def growth(self) -> int:
        """Bytes from the median of the second quarter to that of the last."""
        quarter = len(self.memory) // 4
        before, after = self.memory[quarter : 2 * quarter], self.memory[-quarter:]
        return int(np.median(after) - np.median(before))


def soak(seconds: float, clients: int, folder: Path) -> Soak:
    """The service under load. AssertionError for whatever is wrong."""
    path = folder / "model.safetensors"
    save(path, 1)
    command = [sys.executable, str(SERVICE), str(path), "--port", "0"]
    environment = dict(os.environ)
    if "ASAN_OPTIONS" in environment:  # it would keep 256 MB of what was freed
        environment["ASAN_OPTIONS"] += ":quarantine_size_mb=1"
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as service:
        try:
            assert service.stdout
            url = service.stdout.readline()
            assert url, service.communicate()[1]
            load = Soak(urlsplit(url.strip()).netloc, path, service.pid)
            load.run(seconds, clients)
            assert service.poll() is None, "the service has ended"
        finally:
            service.terminate()
            _, complaints = service.communicate(timeout=PATIENCE)
    assert complaints == "", complaints
    assert abs(load.growth()) <= FLAT, (
        f"grew by {load.growth()} bytes: {load.memory[:: len(load.memory) // 20]}"
    )
    return load


def many_calls(calls: int) -> int:
    """Bytes by which this process grows during so many calls of a layer, after a tenth as many."""
    layer = dwconv.DepthwiseConv2D(3, padding="same")
    x = np.ones((1, 4, 4, 8), np.float32)
    for _ in range(calls // 10):
        layer(x)
    before = resident(os.getpid())
    for _ in range(calls):
        layer(x)
    return resident(os.getpid()) - before


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--calls", type=int, default=10_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        load = soak(arguments.seconds, arguments.clients, Path(folder))
    p50, p99 = np.percentile(load.seconds, [50, 99]) * 1e3
    print(
        f"{len(load.seconds)} requests by {arguments.clients} clients in {arguments.seconds:g} s, "
        f"p50 {p50:.2f} ms, p99 {p99:.2f} ms; {load.version - 1} reloads; "
        f"memory {load.memory[-1] / 1e6:.1f} MB, {load.growth() / 1e3:+.0f} KB in its second half"
    )
    grown = many_calls(arguments.calls)
    print(f"{arguments.calls} calls of a layer: memory {grown / 1e3:+.0f} KB")
    assert grown < 1 << 20, grown
    return 0


if __name__ == "__main__":
    sys.exit(main())
