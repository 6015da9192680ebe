"""HTTP by the standard library around examples/service.py: a thread per connection.

It is for the local host and for tests. It reads bodies of every method or closes the connection,
ends slow clients, bounds connections, and stops without losing a request. A server for production
(docs/service.md) does more.
"""

from __future__ import annotations

import re
import signal
import socket
import sys
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from service import Service

TEXT = "text/plain; charset=utf-8"

#: Bytes of a body at most.
MOST = 64 << 20

IDLE = 60.0  # seconds that a connection may wait for its next request, head included
SLOW = 30.0  # seconds for a body or an answer, and beyond that:
RATE = 100_000  # bytes in a second at least
FRESH = 2.0  # seconds that a new connection has for its request after SIGTERM
GRACE = 30.0  # seconds that requests have to end after SIGTERM
CONNECTIONS = 256  # at a time
UNREAD = 64 << 10  # bytes of a body that nobody wants: read; for more the connection is closed


# ---- what any server needs -----------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What goes back: an HTTP status, a content type, a body in parts."""

    status: int
    kind: str
    parts: tuple[bytes, ...]

    @classmethod
    def text(cls, status: int, message: object) -> Answer:
        """One line for people."""
        return cls(status, TEXT, (f"{message}\n".encode(),))

    @property
    def length(self) -> int:
        """Bytes of the body."""
        return sum(map(len, self.parts))


class RequestError(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def content_length(lengths: list[str], transfer_encoding: bool) -> int | None:
    """The length of a body as the head of its request says it; None if it does not say it.

    Raises RequestError for whatever a proxy and this server could read differently: request
    smuggling (RFC 9112, 6.3) begins there. Only ASCII digits are a number; str.isdigit() takes
    others, too.
    """
    if transfer_encoding:
        raise RequestError(411, "expected a Content-Length; received a Transfer-Encoding")
    if not lengths:
        return None
    if len(lengths) > 1 or not re.fullmatch("[0-9]+", lengths[0]):
        raise RequestError(400, "Content-Length: expected digits, once")
    digits = lengths[0].lstrip("0") or "0"
    if len(digits) > 15 or int(digits) > MOST:
        raise RequestError(413, f"expected a Content-Length of {MOST} bytes at most")
    return int(digits)


# ---- the standard library's ----------------------------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    """One connection, in a thread of its own, for as many requests as the client likes."""

    protocol_version = "HTTP/1.1"  # connections stay open
    disable_nagle_algorithm = True
    server: Server
    served = False  # a request on this connection

    def handle_one_request(self) -> None:
        """Waits for a request and answers it."""
        state = "idle" if self.served else "fresh"
        self.server.limit(self.connection, IDLE, state)
        self.served = True
        try:
            super().handle_one_request()
        except OSError:  # the client is gone, or was too slow
            self.close_connection = True

    def parse_request(self) -> bool:
        """Also refuses heads that another server could read as something else."""
        if not super().parse_request():
            return False
        self.server.limit(self.connection, SLOW)
        # A line that is no header ends the headers for the standard library, not for others.
        if self.request_version != "HTTP/0.9" and (
            self.headers.defects or self.headers.get_payload()
        ):
            self._refuse(400, "expected headers of the form 'Name: value'")
            return False
        return True

    def handle_expect_100(self) -> bool:
        """A body that will be refused is not asked for."""
        return self._length() is not None and super().handle_expect_100()

    def _respond(self) -> None:
        length = self._length()
        if length is None:
            return
        if length == 0 and self.command == "POST" and "Content-Length" not in self.headers:
            self._refuse(411, "expected a Content-Length")
            return
        body = Body(self.rfile, length)
        self.server.limit(self.connection, SLOW + length / RATE)
        try:
            answer = self.server.service.answer(self.command, self.path, body, length)
            if self.command == "POST" and body.left <= UNREAD:
                body.read(body.left)
        except OSError:
            raise
        except Exception:
            traceback.print_exc()
            self._refuse(500, "internal error")
            return
        self._send(answer, unread=body.left > 0)

    do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = do_OPTIONS = do_PATCH = _respond  # noqa: N815 (as they are called)

    def _length(self) -> int | None:
        """Of the body; None if the request has been refused."""
        lengths = self.headers.get_all("Content-Length", [])
        try:
            return content_length(lengths, "Transfer-Encoding" in self.headers) or 0
        except RequestError as error:
            self._refuse(error.status, str(error))
            return None

    def _refuse(self, status: int, message: str) -> None:
        """Without reading the body: nobody knows where it ends."""
        self._send(self.server.service.refuse(RequestError(status, message)), unread=True)

    def _send(self, answer: Answer, unread: bool) -> None:
        self.close_connection |= unread or self.server.service.stopping
        self.server.limit(self.connection, SLOW + answer.length / RATE)
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(answer.length))
        if answer.status == 503:
            self.send_header("Retry-After", "1")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            for part in answer.parts:
                self.wfile.write(part)
        if unread:
            self._linger()

    def _linger(self) -> None:
        """Drops what still comes, for a moment: closing at once would reset the connection, and the
        client would lose the answer (RFC 9112, 9.6).
        """
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(0.5)
            end = time.monotonic() + 2
            while time.monotonic() < end and self.connection.recv(1 << 16):
                pass

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (its name there)
        """Nothing: a line per request would be most of the work."""


class Body:
    """What a client sends after the head of a request, and how much of it is still to come."""

    def __init__(self, file: Any, left: int) -> None:
        self._file = file
        self.left = left

    def read(self, size: int) -> bytes:
        """At most `size` bytes of it; fewer if the client goes."""
        piece: bytes = self._file.read(min(size, self.left))
        self.left -= len(piece)
        return piece


class Server(ThreadingHTTPServer):
    """A thread per connection; those that are too slow are cut off."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], service: Service) -> None:
        super().__init__(address, Handler)
        self.service = service
        self._lock = threading.Lock()
        #: Until when a connection may go on, and whether it is 'fresh', 'busy' or 'idle'.
        self._open: dict[socket.socket, tuple[float, str]] = {}

    def limit(self, client: socket.socket, seconds: float, state: str = "busy") -> None:
        """After so long the connection is cut off, whatever it waits for."""
        with self._lock:
            self._open[client] = time.monotonic() + seconds, state
            if self.service.stopping:
                self._hurry(client)

    def _hurry(self, client: socket.socket) -> None:
        """The service stops. What an idle client has sent can still be read; then comes the end. A
        request on a new connection may still be under way.
        """
        until, state = self._open[client]
        if state == "idle":
            with suppress(OSError):
                client.shutdown(socket.SHUT_RD)
        elif state == "fresh":
            self._open[client] = min(until, time.monotonic() + FRESH), state

    def service_actions(self) -> None:
        """Called twice a second: cuts off who is too slow."""
        now = time.monotonic()
        with self._lock:
            for client, (until, _) in self._open.items():
                if until < now:
                    with suppress(OSError):
                        client.shutdown(socket.SHUT_RDWR)

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread for a new connection, unless there are too many."""
        with self._lock:
            full = len(self._open) >= CONNECTIONS
            if not full:
                self._open[request] = time.monotonic() + IDLE, "fresh"
        if full:
            with suppress(OSError):
                request.send(
                    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n"
                    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
                )
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """A connection is over."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is gone is no error of the server."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    def stop(self) -> None:
        """After `serve_forever`: answers what has come, and waits GRACE seconds for it at most."""
        self.service.stopping = True
        self.socket.setblocking(False)
        # Connections that the system has accepted. None is answered before the port is closed: its
        # client could come again, and under load that has no end.
        accepted: list[Any] = []
        while len(accepted) <= self.request_queue_size:
            try:
                accepted.append(self.get_request())
            except OSError:
                break
        self.socket.close()
        for request, address in accepted:
            request.setblocking(True)
            self.process_request(request, address)
        with self._lock:
            for client in self._open:
                self._hurry(client)
        end = time.monotonic() + GRACE
        while self._open and time.monotonic() < end:
            self.service_actions()
            time.sleep(0.01)


def serve(service: Service, port: int) -> Server:
    """A server on the local host, not running yet; port 0: any that is free."""
    return Server(("127.0.0.1", port), service)


def run(service: Service, port: int) -> int:
    """Serves until SIGTERM or SIGINT, then ends what has come; an exit status."""
    with serve(service, port) as server:

        def end(*_: Any) -> None:
            threading.Thread(target=server.shutdown).start()  # it waits for serve_forever

        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)
        print(f"http://127.0.0.1:{server.server_address[1]}/", flush=True)
        server.serve_forever()
        server.stop()
    return 0
