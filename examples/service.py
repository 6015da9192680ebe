"""A saved model over HTTP: arrays in, arrays out, as .npy files in the bodies.

    python service.py MODEL [--port 8000] [--threads 2] [--memory 1024]
    DWCONV_MODEL=MODEL gunicorn --preload --workers 2 service:application

    curl --data-binary @x.npy http://127.0.0.1:8000/ -o y.npy    # an array (N, H, W, C)
    curl --data '' http://127.0.0.1:8000/reload                  # the file has new weights
    curl http://127.0.0.1:8000/                                  # what is served
    curl http://127.0.0.1:8000/healthz                           # does it serve?
    curl http://127.0.0.1:8000/metrics                           # counters, for Prometheus

The first is all of the standard library (service_http.py), one process with threads, for the local
host. The second is a preforking server for production: docs/service.md tells how to run it. Its
workers share the model's pages; a reload and the metrics are those of the worker that is asked.

Answers: 200; 400 for what is no array or none that the model takes; 409 where the file cannot be
loaded, and the old model stays; 411, 413 for a body without length or too long, or a request that
would take too much memory; 503 where memory is short or the service stops.
"""

from __future__ import annotations

import argparse
import bisect
import io
import json
import math
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import service_http
from service_http import MOST, Answer, RequestError, content_length

import dwconv

NPY, JSON = "application/x-npy", "application/json"
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"

#: Bytes that one request may take as a whole: the array, its cast, the outputs of all layers and
#: the answer. 64 MB of bool would be 256 MB of float32, and more with the outputs.
MOST_MEMORY = 4 * MOST

#: Seconds that a request waits for the memory of others before it is sent away.
PATIENCE = 10.0


class Stream(Protocol):
    """A body that is still to be read."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; fewer at the end."""


# ---- memory and metrics --------------------------------------------------------------------------


class Memory:
    """The bytes that all requests together may take."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.taken = 0
        self._changed = threading.Condition()

    @contextmanager
    def of(self, wanted: int) -> Iterator[None]:
        """Waits until so much is free. RequestError if that takes too long."""
        most = min(self.total, MOST_MEMORY)
        if wanted > most:
            raise RequestError(
                413, f"expected a request of {most} bytes of memory; received {wanted}"
            )
        with self._changed:
            if not self._changed.wait_for(lambda: self.taken + wanted <= self.total, PATIENCE):
                raise RequestError(503, "too much is asked at a time; try again later")
            self.taken += wanted
        try:
            yield
        finally:
            with self._changed:
                self.taken -= wanted
                self._changed.notify_all()


#: Seconds, the upper ends of the histogram's buckets.
LIMITS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


@dataclass
class Metrics:
    """Counters in Prometheus' text format 0.0.4."""

    answers: Counter[int] = field(default_factory=Counter)  #: by status
    buckets: list[int] = field(default_factory=lambda: [0] * (len(LIMITS) + 1))
    seconds: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, status: int, seconds: float) -> None:
        """One more answer, after so long."""
        with self.lock:
            self.answers[status] += 1
            self.buckets[bisect.bisect_left(LIMITS, seconds)] += 1
            self.seconds += seconds

    def lines(self) -> Iterator[str]:
        """What has been counted."""
        with self.lock:
            answers, buckets, seconds = dict(self.answers), list(self.buckets), self.seconds
        yield "# HELP dwconv_requests_total Answers by HTTP status."
        yield "# TYPE dwconv_requests_total counter"
        for status in sorted(answers):
            yield f'dwconv_requests_total{{status="{status}"}} {answers[status]}'
        yield "# HELP dwconv_request_seconds From the head of a request to its answer."
        yield "# TYPE dwconv_request_seconds histogram"
        total = 0
        for limit, number in zip((*map(str, LIMITS), "+Inf"), buckets, strict=True):
            total += number
            yield f'dwconv_request_seconds_bucket{{le="{limit}"}} {total}'
        yield f"dwconv_request_seconds_sum {seconds!r}"
        yield f"dwconv_request_seconds_count {total}"


# ---- what is answered ----------------------------------------------------------------------------


class Service:
    """What is answered, whatever server there is around it. Any number of threads may ask at once.

    threads: how many compute at a time. More than cores would not be faster, only hold memory.
    memory: bytes that all requests together may take.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        threads: int = os.cpu_count() or 1,
        memory: int = 1 << 30,
    ) -> None:
        self._path = Path(path)
        self._turns = threading.BoundedSemaphore(threads)
        self._memory = Memory(memory)
        self._model = dwconv.load(self._path)
        self._reloads = 0
        self._metrics = Metrics()
        self.stopping = False

    def answer(self, method: str, path: str, body: Stream, length: int) -> Answer:
        """To a request whose body has `length` bytes. It need not have been read to its end."""
        began = time.perf_counter()
        try:
            answer = self._answer(method, path, body, length)
        except RequestError as error:
            answer = Answer.text(error.status, error)
        self._metrics.count(answer.status, time.perf_counter() - began)
        return answer

    def refuse(self, error: RequestError) -> Answer:
        """The answer to a request whose head is already wrong."""
        self._metrics.count(error.status, 0.0)
        return Answer.text(error.status, error)

    def _answer(self, method: str, path: str, body: Stream, length: int) -> Answer:
        if (method, path) == ("POST", "/"):
            return self._compute(body, length)
        if (method, path) == ("POST", "/reload"):
            return self._reload()
        if method == "GET" and path in self._GET:
            return self._GET[path](self)
        raise RequestError(
            404, "expected POST /, POST /reload, GET /, GET /healthz or GET /metrics"
        )

    def _compute(self, body: Stream, length: int) -> Answer:
        model = self._model  # one model for the whole request, whoever reloads meanwhile
        try:
            shape, dtype, fortran_order, rest = read_head(body, length)
            with self._memory.of(memory_of(model, shape, dtype)):
                x = read_data(body, rest, shape, dtype, fortran_order)
                with self._turns:
                    y = model(x)
                head = io.BytesIO()
                np.lib.format.write_array_header_1_0(
                    head, np.lib.format.header_data_from_array_1_0(y)
                )
                return Answer(200, NPY, (head.getvalue(), y.tobytes()))
        except (ValueError, TypeError) as error:
            raise RequestError(400, str(error)) from error
        except MemoryError as error:
            raise RequestError(413, str(error)) from error

    def _reload(self) -> Answer:
        try:
            self._model = dwconv.load(self._path)
        except (ValueError, OSError) as error:
            raise RequestError(409, str(error)) from error
        self._reloads += 1
        return Answer.text(200, "reloaded")

    def _about(self) -> Answer:
        what = {"model": self._path.name, "reloads": self._reloads, "dwconv": dwconv.__version__}
        return Answer(200, JSON, (json.dumps(what).encode(),))

    def _health(self) -> Answer:
        if self.stopping:
            raise RequestError(503, "stopping")
        return Answer.text(200, "ok")

    def _measured(self) -> Answer:
        lines = [
            *self._metrics.lines(),
            "# HELP dwconv_reloads_total Times that the model file was loaded again.",
            "# TYPE dwconv_reloads_total counter",
            f"dwconv_reloads_total {self._reloads}",
            "# HELP dwconv_request_memory_bytes Memory that requests take now.",
            "# TYPE dwconv_request_memory_bytes gauge",
            f"dwconv_request_memory_bytes {self._memory.taken}",
        ]
        return Answer(200, PROMETHEUS, ("".join(f"{line}\n" for line in lines).encode(),))

    _GET = {"/": _about, "/healthz": _health, "/metrics": _measured}  # noqa: RUF012 (not changed)


Header = tuple[tuple[int, ...], np.dtype[Any], bool, int]


def read_head(body: Stream, length: int) -> Header:
    """Shape, dtype, Fortran order and bytes of data of a .npy file. ValueError if it is none.

    Only the head has been read then: what the request needs is known before memory is taken.
    """
    limited = _Limited(body, length)
    try:
        version = np.lib.format.read_magic(limited)  # type: ignore[arg-type]
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran_order, dtype = read(limited)  # type: ignore[arg-type]
    except TimeoutError:
        raise
    except Exception as error:  # of the many kinds that a damaged header can raise
        raise ValueError(f"expected a .npy file; received {error}") from error
    if dtype.kind not in "biuf":
        raise ValueError(f"expected an array of floats or integers; received one of {dtype}")
    wanted = math.prod(shape) * dtype.itemsize
    if wanted != limited.left:
        raise ValueError(
            f"expected a .npy file with {wanted} bytes of data after its header; "
            f"received {limited.left}"
        )
    return shape, dtype, fortran_order, wanted


def memory_of(model: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Bytes that an array takes on its way through a model, its answer included.

    Raises what the model raises for a shape that it does not take.
    """

    def layers(model: Any) -> Iterator[Any]:
        for layer in getattr(model, "layers", [model]):
            yield from layers(layer) if hasattr(layer, "layers") else [layer]

    total = math.prod(shape) * dtype.itemsize
    for layer in layers(model):
        size = max(4, np.dtype(getattr(layer, "compute_dtype", dtype)).itemsize)
        total += math.prod(shape) * size  # the cast
        shape = tuple(layer.compute_output_shape(shape))
        total += math.prod(shape) * size
    return int(total + math.prod(shape) * size)  # the answer's bytes


def read_data(
    body: Stream, length: int, shape: tuple[int, ...], dtype: np.dtype[Any], fortran_order: bool
) -> np.ndarray[Any, Any]:
    """The array whose data comes next, without a second copy. ValueError if it ends too early."""
    x = np.empty(shape[::-1] if fortran_order else shape, dtype)
    view, done = x.reshape(-1).view(np.uint8), 0
    while done < length:
        piece = body.read(min(length - done, 1 << 20))
        if not piece:
            raise ValueError(f"expected {length} bytes of data; received {done}")
        view[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
        done += len(piece)
    return x.T if fortran_order else x


class _Limited:
    """The first bytes of a stream; it ends after them."""

    def __init__(self, stream: Stream, left: int) -> None:
        self._stream = stream
        self.left = left

    def read(self, size: int) -> bytes:
        piece = self._stream.read(min(size, self.left))
        self.left -= len(piece)
        return piece


# ---- the standard library's server ---------------------------------------------------------------


def main() -> int:
    """The command line. SIGTERM and SIGINT end it after the requests that have come."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help="a file that dwconv.load reads")
    parser.add_argument("--port", type=int, default=8000, help="0: any")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="that compute")
    parser.add_argument("--memory", type=int, default=1024, help="megabytes for all requests")
    arguments = parser.parse_args()
    service = Service(arguments.model, arguments.threads, arguments.memory << 20)
    return service_http.run(service, arguments.port)


# ---- WSGI: gunicorn and others -------------------------------------------------------------------

_service: Service | None = None


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The WSGI application (PEP 3333) of the model that the variable DWCONV_MODEL names."""
    global _service
    if _service is None:
        _service = Service(os.environ["DWCONV_MODEL"])
    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
    sent = environ.get("CONTENT_LENGTH")
    try:
        length = content_length([sent] if sent else [], "HTTP_TRANSFER_ENCODING" in environ)
    except RequestError as error:
        answer = _service.refuse(error)
    else:
        answer = _service.answer(method, path, environ["wsgi.input"], length or 0)
    headers = [("Content-Type", answer.kind), ("Content-Length", str(answer.length))]
    start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", headers)
    return answer.parts


if "DWCONV_MODEL" in os.environ:  # before a server forks: its workers share the model
    _service = Service(os.environ["DWCONV_MODEL"])

if __name__ == "__main__":
    sys.exit(main())
