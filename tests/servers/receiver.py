"""A webhook receiver: checks the signature, remembers every line, and answers what it is told to."""

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from app.delivery.signature import HEADER, verify


@dataclass
class Receiver:
    """What came, in its order.

    `answer` gives the status and more headers for a body, once its signature has been checked; `tail` follows them.
    """

    keys: Sequence[bytes]
    port: int = 0
    lines: list[bytes] = field(default_factory=list)
    posts: list[dict[str, str]] = field(default_factory=list)
    answer: Callable[[bytes], tuple[int, dict[str, str]]] = lambda _body: (204, {})
    tail: bytes = b""

    def take(self, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str]]:
        """The answer to one POST."""
        self.posts.append(headers)
        if not verify(headers.get(HEADER.lower(), ""), body, keys=self.keys, now_s=time.time()):
            return 401, {}
        status, more = self.answer(body)
        if status < 300:
            self.lines += body.splitlines()
        return status, more


class _Posts(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    receiver: ClassVar[Receiver]

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            self.close_connection = True

    def do_POST(self) -> None:
        length = int(self.headers["content-length"])
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True
            return
        status, more = self.receiver.take(body, {name.lower(): value for name, value in self.headers.items()})
        self.send_response(status)
        for name, value in ({"content-length": "0"} | more).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(self.receiver.tail)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: connections that break are what these tests are about."""


@contextmanager
def receiving(keys: Sequence[bytes], *, certificate: Path | None = None) -> Iterator[Receiver]:
    """A receiver on a free port; with a certificate it speaks TLS."""
    receiver = Receiver(keys)
    server = _Server(("127.0.0.1", 0), type("_Bound", (_Posts,), {"receiver": receiver}))
    if certificate is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def event_id_of(line: bytes) -> str:
    """The id in an event's JSON."""
    return str(json.loads(line)["event_id"])
