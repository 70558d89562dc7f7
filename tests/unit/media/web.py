"""A small web server on loopback, with every fault that a fetch must survive; over TLS too."""

import datetime as dt
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

IMAGE = b"\xff\xd8 as far as a fetch cares"


class _Pages(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stop: ClassVar[threading.Event]
    asked: ClassVar[list[tuple[str, dict[str, str]]]]

    def log_message(self, *_: object) -> None:
        """Nothing: the tests look at `asked`."""

    def handle(self) -> None:
        """Serve until the other side has had enough, which is no fault here."""
        try:
            super().handle()
        except OSError:
            self.close_connection = True

    def do_GET(self) -> None:
        self.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        name, _, argument = self.path[1:].partition("/")
        getattr(self, f"_{name}", self._missing)(argument)

    def _head(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def _image(self, _: str) -> None:
        self._head(200, content_length=str(len(IMAGE)))
        self.wfile.write(IMAGE)

    def _chunked(self, size: str) -> None:
        self._head(200, transfer_encoding="chunked")
        for _ in range(int(size) // 10):
            self.wfile.write(b"a\r\n0123456789\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def _declared(self, size: str) -> None:
        """A body of `size` bytes that never comes: who waits for it has not looked at the header."""
        self._head(200, content_length=size)
        self.stop.wait(5)

    def _endless(self, _: str) -> None:
        self._head(200, connection="close")
        while not self.stop.is_set():
            self.wfile.write(bytes(1000))

    def _cut(self, _: str) -> None:
        self._head(200, content_length="1000", connection="close")
        self.wfile.write(b"not all of it")
        self.close_connection = True

    def _drip(self, where: str) -> None:
        """A byte now and then, forever: each read alone is quick enough."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\n" + (b"\r\n" if where == "body" else b"X-Slow: "))
        while not self.stop.wait(0.02):
            self.wfile.write(b"x")

    def _to(self, location: str) -> None:
        self._head(302, location=location.replace("~", ":"), content_length="0")

    def _loop(self, _: str) -> None:
        self._head(302, location="/loop", content_length="0")

    def _nowhere(self, _: str) -> None:
        self._head(302, content_length="0")

    def _zip(self, _: str) -> None:
        self._head(200, content_encoding="gzip", content_length="3")
        self.wfile.write(b"abc")

    def _empty(self, _: str) -> None:
        self._head(200, content_length="0")

    def _nonsense(self, _: str) -> None:
        self.wfile.write(b"220 smtp.example.com ESMTP\r\n")
        self.close_connection = True

    def _missing(self, _: str) -> None:
        self._head(404, content_length="0")


class Web:
    """One server; `asked` is the path and the headers of every request."""

    def __init__(self, server: ThreadingHTTPServer, pages: type[_Pages], scheme: str) -> None:
        self.port = server.server_address[1]
        self.asked = pages.asked
        self.scheme = scheme

    def url(self, page: str, *, host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}/{page}"


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[Web]:
    """A server on a free port of 127.0.0.1."""
    pages = type("Pages", (_Pages,), {"stop": threading.Event(), "asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), pages) as server:
        server.daemon_threads = True
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield Web(server, pages, "https" if tls else "http")
        finally:
            pages.stop.set()
            server.shutdown()
            thread.join()


def certificate(host: str, folder: Path) -> Path:
    """A self-signed certificate for `host` with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    file = folder / "certificate.pem"
    file.write_bytes(pem + signed.public_bytes(serialization.Encoding.PEM))
    return file
