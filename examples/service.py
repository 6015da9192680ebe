"""A saved model over HTTP: arrays in, arrays out, as .npy files in the bodies.

    python examples/service.py MODEL [--port 8000] [--threads 2]
    DWCONV_MODEL=MODEL gunicorn --preload --workers 2 --chdir examples service:application

    curl --data-binary @x.npy http://127.0.0.1:8000/ -o y.npy    # an array (N, H, W, C)
    curl --data '' http://127.0.0.1:8000/reload                  # the file has new weights
    curl http://127.0.0.1:8000/                                  # what is served

The first is all of the standard library, one process with threads, for the local host. The second
is a preforking server: its workers share the model's pages, a reload reaches the one that got it.

Answers: 200; 400 for what is no array or none that the model takes; 411, 413 for a body without
length or too long; 409 where the file cannot be loaded, and the old model stays.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import threading
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

import dwconv

NPY, TEXT, JSON = "application/x-npy", "text/plain; charset=utf-8", "application/json"

#: Bytes of a body at most: what one request may make the server allocate.
MOST = 64 << 20

Answer = tuple[int, str, bytes]


class Service:
    """What is answered, whatever server there is around it. Any number of threads may ask at once.

    threads: how many compute at a time. More than cores would not be faster, only hold memory.
    """

    def __init__(self, path: str | os.PathLike[str], threads: int = os.cpu_count() or 1) -> None:
        self._path = Path(path)
        self._turns = threading.BoundedSemaphore(threads)
        self._model = dwconv.load(self._path)
        self._reloads = 0

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        """(status, content type, body)."""
        if (method, path) == ("POST", "/"):
            return self._compute(body)
        if (method, path) == ("POST", "/reload"):
            return self._reload()
        if (method, path) == ("GET", "/"):
            what = {
                "model": self._path.name,
                "reloads": self._reloads,
                "dwconv": dwconv.__version__,
            }
            return 200, JSON, json.dumps(what).encode()
        return 404, TEXT, b"expected POST /, POST /reload or GET /\n"

    def _compute(self, body: bytes) -> Answer:
        model = self._model  # one model for the whole request, whoever reloads meanwhile
        with self._turns:
            try:
                y = model(read(body))
            except (ValueError, TypeError) as error:
                return 400, TEXT, f"{error}\n".encode()
            except MemoryError as error:
                return 413, TEXT, f"{error}\n".encode()
            out = io.BytesIO()
            np.save(out, y, allow_pickle=False)
        return 200, NPY, out.getvalue()

    def _reload(self) -> Answer:
        try:
            self._model = dwconv.load(self._path)
        except (ValueError, OSError) as error:
            return 409, TEXT, f"{error}\n".encode()
        self._reloads += 1
        return 200, TEXT, b"reloaded\n"


def read(body: bytes) -> np.ndarray[Any, Any]:
    """The array in a .npy file. ValueError if it is none, MemoryError."""
    try:
        return np.lib.format.read_array(io.BytesIO(body), allow_pickle=False)
    except MemoryError:
        raise
    except Exception as error:  # of the many kinds that a damaged header can raise
        raise ValueError(f"expected a .npy file; received {error}") from error


# ---- the standard library's server ---------------------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    """One connection, in a thread of its own, for as many requests as the client likes."""

    protocol_version = "HTTP/1.1"  # connections stay open
    disable_nagle_algorithm = True
    timeout = 60  # seconds that an idle connection may hold its thread
    service: Service  # of the class that `serve` makes

    def do_GET(self) -> None:
        """Answers, as do_POST does."""
        self._send(*self.service.answer("GET", self.path, b""))

    def do_POST(self) -> None:
        """Reads the whole body, and answers."""
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > MOST:
            self.close_connection = True  # the body is still to come, and nobody wants it
            wanted = f"expected a Content-Length of {MOST} bytes at most\n"
            self._send(413 if length.isdigit() else 411, TEXT, wanted.encode())
            return
        body = self.rfile.read(int(length))
        self._send(*self.service.answer("POST", self.path, body))

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing: a line per request would be most of the work."""


class Server(ThreadingHTTPServer):
    """A thread per connection."""

    daemon_threads = True
    request_queue_size = 128


def serve(service: Service, port: int) -> Server:
    """A server on the local host, not running yet; port 0: any that is free."""
    handler = type("ServiceHandler", (Handler,), {"service": service})
    return Server(("127.0.0.1", port), handler)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help="a file that dwconv.load reads")
    parser.add_argument("--port", type=int, default=8000, help="0: any")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="that compute")
    arguments = parser.parse_args()
    with serve(Service(arguments.model, arguments.threads), arguments.port) as server:
        print(f"http://127.0.0.1:{server.server_address[1]}/", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0


# ---- WSGI: gunicorn and others -------------------------------------------------------------------

_service: Service | None = None


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The WSGI application (PEP 3333) of the model that the variable DWCONV_MODEL names."""
    global _service
    if _service is None:
        _service = Service(os.environ["DWCONV_MODEL"])
    length = environ.get("CONTENT_LENGTH") or "0"
    if int(length) > MOST:
        status, kind, body = 413, TEXT, f"expected {MOST} bytes at most\n".encode()
    else:
        sent = environ["wsgi.input"].read(int(length))
        status, kind, body = _service.answer(environ["REQUEST_METHOD"], environ["PATH_INFO"], sent)
    headers = [("Content-Type", kind), ("Content-Length", str(len(body)))]
    start_response(f"{status} {'OK' if status == 200 else 'error'}", headers)
    return [body]


if "DWCONV_MODEL" in os.environ:  # before a server forks: its workers share the model
    _service = Service(os.environ["DWCONV_MODEL"])

if __name__ == "__main__":
    sys.exit(main())
