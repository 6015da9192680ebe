"""What examples/service_http.py does with heads and bodies that other servers read differently,
with slow clients, with too much memory, and at its end.
"""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soak
from support import ROOT, patient

import dwconv

sys.path.insert(0, str(ROOT / "examples"))

import service as example
import service_http

NPY = soak.as_npy(np.ones((1, 4, 4, 5), np.float32))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    layer = dwconv.DepthwiseConv2D(
        3, padding="same", weights=[np.ones((3, 3, 5, 1))], use_bias=False
    )
    layer.build((None, None, None, 5))
    layer.save(tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


@pytest.fixture
def server(model: Path) -> Iterator[service_http.Server]:
    with service_http.serve(example.Service(model, memory=8 << 20), 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def exchange(server: service_http.Server, data: bytes, end: bool = True) -> bytes:
    """All that comes back until the server closes. end: the client says that it sends no more."""
    with socket.create_connection(server.server_address[:2], patient(20)) as client:
        client.sendall(data)
        if end:
            client.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := client.recv(1 << 16):
            answer += piece
    return answer


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", answer)]


RELOAD = b"POST /reload HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"])
@pytest.mark.parametrize("path", ["/", "/elsewhere"])
def test_a_body_is_no_request(server: service_http.Server, method: str, path: str) -> None:
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(RELOAD)}\r\n\r\n"
    answer = exchange(server, head.encode() + RELOAD)
    assert len(statuses(answer)) == 1, answer
    assert b"reloaded" not in answer


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (b"Content-Length: \xb2", 400),
        (b"Content-Length: +5", 400),
        (b"Content-Length: -1", 400),
        (b"Content-Length: 5_0", 400),
        (b"Content-Length: 0x5", 400),
        (b"Content-Length: 5, 5", 400),
        (b"Content-Length: 5 5", 400),
        (b"Content-Length:", 400),
        ("Content-Length: ٥".encode(), 400),
        (b"Content-Length: " + b"9" * 5000, 413),
        (b"Content-Length: 67108865", 413),
        (b"Content-Length: 5\r\nContent-Length: 0", 400),
        (b"Content-Length: 0\r\nContent-Length: 0", 400),
        (b"Content-Length : 5", 400),
        (b"Content-Length:\r\n 5", 400),
        (b"no header\r\nContent-Length: 5", 400),
        (b"Transfer-Encoding: chunked", 411),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 5", 411),
        (b"transfer-encoding: identity", 411),
        (b"Transfer-Encoding : chunked", 400),
        (b"X: y", 411),
        (b"Expect: 100-continue\r\nContent-Length: 99999999", 413),
        (b"X: " + b"y" * 70000, 431),
        (b"\r\n".join(b"X-%d: y" % i for i in range(200)), 431),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_heads_that_are_refused(server: service_http.Server, lines: bytes, status: int) -> None:
    """One answer, and the connection ends: nobody knows where the next request begins."""
    data = b"POST / HTTP/1.1\r\nHost: x\r\n" + lines + b"\r\n\r\n" + RELOAD
    answer = exchange(server, data)
    assert statuses(answer) == [status], answer
    assert b"Connection: close" in answer
    assert b"reloaded" not in answer


def test_a_good_body_is_read_and_the_next_request_answered(server: service_http.Server) -> None:
    post = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0%d\r\n\r\n" % len(NPY)
    junk = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nnot numpy"
    answer = exchange(server, post + NPY + junk + RELOAD)
    assert statuses(answer) == [200, 400, 200], answer
    assert answer.endswith(b"reloaded\n")
    long = b"POST /reload HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n" + b"x" * 99999
    assert len(statuses(exchange(server, long + RELOAD))) == 1  # not worth reading: closed


def test_slow_clients_are_cut_off(
    server: service_http.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte now and then keeps no thread: in a head, in a body, before a request."""
    monkeypatch.setattr(service_http, "IDLE", 0.3)
    monkeypatch.setattr(service_http, "SLOW", 0.3)
    monkeypatch.setattr(service_http, "RATE", 1 << 30)
    body = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\n"
    for start, drip in ((b"", b""), (b"GET / HTTP/1.1\r\nX: ", b"y"), (body, b"y")):
        with socket.create_connection(server.server_address[:2], patient(20)) as client:
            client.settimeout(0.05)
            client.sendall(start)
            limit, ended = time.monotonic() + patient(20), False
            while not ended:
                assert time.monotonic() < limit, (start, "is still served")
                try:
                    client.sendall(drip)
                    ended = client.recv(99) == b""
                except TimeoutError:
                    pass
                except OSError:
                    ended = True
    for limited in ("IDLE", "SLOW"):  # this client is in time, but may have to wait for a CPU
        monkeypatch.setattr(service_http, limited, patient(20))
    assert statuses(exchange(server, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")) == [200]


def test_connections_are_bounded(
    server: service_http.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_http, "CONNECTIONS", 2)
    held = [socket.create_connection(server.server_address[:2], patient(20)) for _ in range(2)]
    limit = time.monotonic() + patient(20)
    while len(server._open) < 2:
        assert time.monotonic() < limit
        time.sleep(0.01)
    assert statuses(exchange(server, b"", end=False)) == [503]
    for client in held:
        client.close()


def ask(service: example.Service, method: str, path: str, body: bytes = b"") -> service_http.Answer:
    return service.answer(method, path, io.BytesIO(body), len(body))


def test_memory_is_accounted_as_a_whole(model: Path) -> None:
    """1 MB of bool is 4 MB of float32, 4 of outputs and 4 of the answer; nothing is taken first."""
    x = np.ones((1, 400, 524, 5), bool)
    body = soak.as_npy(x)
    wanted = x.nbytes + 3 * 4 * x.size
    enough, little = (
        example.Service(model, memory=wanted),
        example.Service(model, memory=wanted - 1),
    )
    answer = ask(enough, "POST", "/", body)
    assert answer.status == 200
    assert np.load(io.BytesIO(b"".join(answer.parts))).shape == x.shape
    refused = ask(little, "POST", "/", body)
    assert refused.status == 413
    assert f"received {wanted}" in refused.parts[0].decode()
    assert enough._memory.taken == little._memory.taken == 0

    class NeverRead(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            assert self.tell() < 200, "the data was read"
            return super().read(size)

    assert little.answer("POST", "/", NeverRead(body), len(body)).status == 413


def test_requests_wait_for_memory(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = example.Service(model, memory=5000)
    monkeypatch.setattr(example, "PATIENCE", 0.05)
    with service._memory.of(4000):
        assert ask(service, "POST", "/", NPY).status == 503
    monkeypatch.setattr(example, "PATIENCE", patient(20))
    answers: list[int] = []
    with service._memory.of(4000):
        thread = threading.Thread(
            target=lambda: answers.append(ask(service, "POST", "/", NPY).status)
        )
        thread.start()
        thread.join(0.1)
        assert not answers
    thread.join()
    assert answers == [200]


def test_arrays_in_fortran_order_and_versions_of_the_format(model: Path) -> None:
    service, x = example.Service(model), np.random.default_rng(0).random((2, 3, 4, 5))
    for version in ((1, 0), (2, 0)):
        file = io.BytesIO()
        np.lib.format.write_array(file, np.asfortranarray(x), version)
        answer = ask(service, "POST", "/", file.getvalue())
        assert answer.status == 200
        y = np.load(io.BytesIO(b"".join(answer.parts)))
        np.testing.assert_array_equal(y, dwconv.load(model)(x))


def test_health_and_metrics(model: Path) -> None:
    """Prometheus' text format 0.0.4, line by line; a histogram that adds up."""
    service = example.Service(model)
    for body in (NPY, NPY, b"nothing"):
        ask(service, "POST", "/", body)
    ask(service, "POST", "/reload")
    answer = ask(service, "GET", "/metrics")
    assert answer.kind == "text/plain; version=0.0.4; charset=utf-8"
    text = answer.parts[0].decode()
    assert text.endswith("\n")
    values = {}
    for line in text.splitlines():
        if line.startswith("# "):
            assert re.fullmatch(r"# (HELP \w+ .+|TYPE \w+ (counter|gauge|histogram))", line), line
            continue
        name, value = re.fullmatch(r'(\w+(?:\{\w+="[^"]*"\})?) (\S+)', line).groups()  # type: ignore[union-attr]
        values[name] = float(value)
    assert values['dwconv_requests_total{status="200"}'] == 3
    assert values['dwconv_requests_total{status="400"}'] == 1
    assert values["dwconv_reloads_total"] == 1
    buckets = [v for name, v in values.items() if "_bucket" in name]
    assert buckets == sorted(buckets)
    assert buckets[-1] == values["dwconv_request_seconds_count"] == 4
    assert values["dwconv_request_seconds_sum"] > 0
    assert ask(service, "GET", "/healthz").status == 200
    service.stopping = True
    assert ask(service, "GET", "/healthz").status == 503
    assert json.loads(ask(service, "GET", "/").parts[0])["model"] == model.name


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGTERM")
@pytest.mark.slow
def test_sigterm_under_load(model: Path) -> None:
    """Whoever has sent a request gets its answer; then connections are refused; status 0."""
    command = [sys.executable, str(ROOT / "examples" / "service.py"), str(model), "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    ) as process:
        assert process.stdout
        port = int(process.stdout.readline().rsplit(":", 1)[1].strip("/\n"))
        body = soak.as_npy(np.ones((1, 64, 64, 5), np.float32))
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
        answered, faults, stopping = [0], [], threading.Event()

        def client(keep: bool) -> None:
            """Requests, on one connection or one each, until the server is gone."""
            connection: Any = None
            while True:
                fresh = connection is None
                try:
                    if fresh:
                        connection = socket.create_connection(("127.0.0.1", port), patient(60))
                    connection.sendall(head + body)
                    answer = connection.recv(1 << 16)
                    while answer and b"\r\n\r\n" not in answer:
                        answer += connection.recv(1 << 16)
                except ConnectionRefusedError:
                    return
                except OSError as error:
                    # Between two requests a connection may end (RFC 9112, 9.3.1), not a new one.
                    # But what the system accepts just before the port is closed, it resets.
                    if fresh and not (
                        stopping.is_set() and isinstance(error, ConnectionResetError)
                    ):
                        faults.append(repr(error))
                        return
                    connection = None
                    continue
                if not answer:
                    if fresh:
                        faults.append("no answer")
                        return
                    connection = None
                    continue
                begin, _, data = answer.partition(b"\r\n\r\n")
                if b" 200 " not in begin:
                    faults.append(answer[:100])
                    return
                length = int(re.search(rb"Content-Length: (\d+)", begin)[1])  # type: ignore[index]
                while len(data) < length:
                    piece = connection.recv(1 << 16)
                    if not piece:
                        faults.append("half an answer")
                        return
                    data += piece
                answered[0] += 1
                if not keep or b"Connection: close" in begin:
                    connection.close()
                    connection = None

        clients = [threading.Thread(target=client, args=(i % 2 == 0,)) for i in range(8)]
        for thread in clients:
            thread.start()
        limit = time.monotonic() + patient(60)
        while answered[0] < 50:
            assert time.monotonic() < limit
            assert not faults
            time.sleep(0.01)
        stopping.set()
        process.send_signal(signal.SIGTERM)
        for thread in clients:
            thread.join(patient(60))
        assert not any(thread.is_alive() for thread in clients)
        _, complaints = process.communicate(timeout=patient(60))
    assert process.returncode == 0
    assert complaints == ""
    assert faults == []
