"""examples/service.py: what it answers, and a few seconds of `make soak`."""

from __future__ import annotations

import http.client
import importlib
import io
import json
import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import numpy as np
import pytest
import soak
from support import ASAN, ROOT, assert_same_bits, patient
from support.layers import draw
from support.serving import gunicorn

import dwconv

sys.path.insert(0, str(ROOT / "examples"))

import service as example
import service_http

LINUX = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux' /proc")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    layer = dwconv.DepthwiseConv2D(3, padding="same", depth_multiplier=2)
    layer.build((None, None, None, 5))
    layer.save(tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


@pytest.fixture
def connection(model: Path) -> Iterator[http.client.HTTPConnection]:
    with service_http.serve(example.Service(model), 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        client = http.client.HTTPConnection(*server.server_address[:2], timeout=patient(60))
        yield client
        client.close()
        server.shutdown()
        thread.join()


def ask(
    client: http.client.HTTPConnection, method: str, path: str, body: Any = b"", **headers: str
) -> tuple[int, bytes]:
    client.request(method, path, body, headers)
    response = client.getresponse()
    return response.status, response.read()


def test_arrays_in_arrays_out(connection: http.client.HTTPConnection, model: Path) -> None:
    layer = dwconv.load(model)
    for shape in ((1, 6, 7, 5), (3, 1, 2, 5), (0, 4, 4, 5)):
        for dtype in ("float32", "float64", "uint8"):
            x = (draw(*shape) * 9).astype(dtype)
            status, answer = ask(connection, "POST", "/", soak.as_npy(x))
            assert status == 200, answer
            assert_same_bits(np.load(io.BytesIO(answer)), layer(x), (shape, dtype))


def test_what_it_refuses(connection: http.client.HTTPConnection) -> None:
    """Each with a message, and the connection goes on."""
    good = soak.as_npy(np.ones((1, 4, 4, 5), np.float32))
    cases: list[tuple[str, str, bytes, int, str]] = [
        ("POST", "/", b"", 400, "expected a .npy file"),
        ("POST", "/", b"not an array", 400, "expected a .npy file"),
        ("POST", "/", good[:-1], 400, "expected a .npy file"),
        ("POST", "/", good.replace(b"}", b" "), 400, "expected a .npy file"),
        ("POST", "/", soak.as_npy(np.array([{}], object)), 400, "floats or integers"),
        ("POST", "/", soak.as_npy(np.ones((4, 5))), 400, "(4, 5)"),
        ("POST", "/", soak.as_npy(np.ones((1, 4, 4, 6))), 400, "channels"),
        ("POST", "/", soak.as_npy(np.full((1, 1, 1, 5), "a")), 400, "floats or integers"),
        ("POST", "/elsewhere", good, 404, "expected POST"),
        ("GET", "/reload", b"", 404, "expected POST"),
    ]
    for method, path, body, status, message in cases:
        answer = ask(connection, method, path, body)
        assert answer[0] == status, (body[:80], answer)
        assert message in answer[1].decode(), (body[:80], answer)
    assert ask(connection, "POST", "/", good)[0] == 200
    length = str(example.MOST + 1)
    assert ask(connection, "POST", "/", b"", **{"Content-Length": length})[0] == 413
    connection.putrequest("POST", "/")
    connection.endheaders()
    assert connection.getresponse().status == 411


def test_damaged_headers_are_answered(connection: http.client.HTTPConnection) -> None:
    """Whatever a byte of the header becomes, the answer is an array or a reason."""
    good = soak.as_npy(np.ones((1, 4, 4, 5), np.float32))
    seed = 7
    random = np.random.default_rng(seed)
    for _ in range(200):
        body = bytearray(good)
        body[random.integers(80)] = random.integers(256)
        status, answer = ask(connection, "POST", "/", bytes(body))
        assert status in (200, 400, 413), (seed, bytes(body[:80]), answer)


def test_reload(connection: http.client.HTTPConnection, model: Path) -> None:
    x = draw(1, 6, 7, 5)
    new = dwconv.DepthwiseConv2D(3, padding="same", depth_multiplier=2)
    new.build(x.shape)
    old_file = model.read_bytes()
    old = dwconv.load(model)(x)

    def served() -> Any:
        return np.load(io.BytesIO(ask(connection, "POST", "/", soak.as_npy(x))[1]))

    new.save(model)
    assert_same_bits(served(), old, "not reloaded yet")
    assert ask(connection, "POST", "/reload") == (200, b"reloaded\n")
    assert_same_bits(served(), new(x), "reloaded")
    model.write_bytes(old_file[:100])
    status, message = ask(connection, "POST", "/reload")
    assert status == 409
    assert model.name in message.decode()
    assert_same_bits(served(), new(x), "the one that could be loaded")
    status, text = ask(connection, "GET", "/")
    assert (status, json.loads(text)["reloads"]) == (200, 1)


def test_wsgi(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same answers under a WSGI server, for which the standard library's validator stands."""
    monkeypatch.setenv("DWCONV_MODEL", str(model))
    module = importlib.reload(example)
    x = draw(1, 4, 4, 5)

    def post(body: bytes) -> tuple[str, bytes]:
        environ = {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": "/",
            "SCRIPT_NAME": "",
            "QUERY_STRING": "",
            "CONTENT_TYPE": module.NPY,
            "CONTENT_LENGTH": str(len(body)),
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
        }
        started: list[str] = []

        def start(status: str, headers: list[tuple[str, str]], error: Any = None) -> Any:
            started.append(status)
            return lambda _: None

        parts = validator(module.application)(environ, start)
        answer = b"".join(parts)
        parts.close()
        return started[0], answer

    status, answer = post(soak.as_npy(x))
    assert status == "200 OK"
    assert_same_bits(np.load(io.BytesIO(answer)), dwconv.load(model)(x), "WSGI")
    assert post(b"nothing")[0] == "400 Bad Request"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_gunicorn_with_preload(tmp_path: Path) -> None:
    """Workers with threads, forked after the model was used with threads: right outputs, and no
    request that waits for threads that the fork has left behind.
    """
    shape = (1, 56, 56, 64)  # worth two threads and more
    layer = dwconv.DepthwiseConv2D(3, padding="same", activation="silu")
    layer.build(shape)
    layer.save(tmp_path / "model.safetensors")
    assert layer.plan(shape, num_threads=2).num_threads == 2
    (tmp_path / "x.npy").write_bytes(soak.as_npy(draw(*shape)))
    (tmp_path / "config.py").write_text(
        f"""
def when_ready(server):
    import io, os, service
    body = open({str(tmp_path / "x.npy")!r}, "rb").read()
    before = len(os.listdir("/proc/self/task"))
    assert service._service.answer("POST", "/", io.BytesIO(body), len(body)).status == 200
    assert len(os.listdir("/proc/self/task")) == before + 1
"""
        if Path("/proc/self/task").exists()
        else ""
    )
    arrays = [draw(*shape, seed=seed) for seed in range(4)]

    def post(number: int, port: int) -> Any:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=patient(60))
        status, answer = ask(client, "POST", "/", soak.as_npy(arrays[number % 4]))
        client.close()
        assert status == 200, answer
        return np.load(io.BytesIO(answer))

    with (
        gunicorn(
            *("--threads", "2", "--config", str(tmp_path / "config.py"), "service:application"),
            folder=ROOT / "examples",
            DWCONV_MODEL=str(tmp_path / "model.safetensors"),
            DWCONV_NUM_THREADS="2",
        ) as port,
        ThreadPoolExecutor(6) as clients,
    ):
        answers = list(clients.map(lambda number: post(number, port), range(48)))
    for number, answer in enumerate(answers):
        assert_same_bits(answer, layer(arrays[number % 4]), number)


@pytest.mark.slow
@LINUX
def test_soak(tmp_path: Path) -> None:
    """Two seconds at full load while the model is replaced: right outputs, flat memory."""
    soak.soak(seconds=2, clients=3, folder=tmp_path)


@LINUX
@pytest.mark.skipif(ASAN, reason="AddressSanitizer keeps what was freed")
def test_calls_keep_memory_flat() -> None:
    """300 000 calls: less than a page in ten."""
    assert soak.many_calls(300_000) < 100_000
