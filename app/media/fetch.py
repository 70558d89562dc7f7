"""One picture by URL: resolved once, checked, and fetched from the very address that was checked."""

import io
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from http.client import HTTPException, HTTPResponse
from typing import Final, TypeAlias, cast

from app import __version__
from app.core.errors import DeadlineError, InvalidParameterError, SightlineError, TooLargeError
from app.media.fetch_guard import Address, FetchParameters, Target, checked, target_of

Resolver: TypeAlias = Callable[[str, int], Sequence[str]]
"""`(host, port)` to all of the host's addresses, the best first; OSError when there are none."""

_OK: Final = 200
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_PIECE_BYTES: Final = 64 * 1024


def system_addresses(host: str, port: int) -> list[str]:
    """What this machine's resolver says."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


class Fetcher:
    """Fetches what its list allows; no proxies, cookies or credentials, and each redirect is checked anew.

    The list is the outer wall. Behind it stand the addresses: a listed host that resolves into this network, at once
    or on a second look (DNS rebinding), is not spoken to.
    """

    def __init__(
        self,
        parameters: FetchParameters,
        *,
        resolve: Resolver = system_addresses,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parameters = parameters
        self._resolve = resolve
        self._given_tls = tls
        self._clock = clock

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """Read when first needed: the authorities fill a megabyte, and most services fetch nothing."""
        return self._given_tls or ssl.create_default_context()

    def check(self, url: str) -> None:
        """Raise InvalidParameterError for a URL that would not be fetched, without touching the network."""
        target_of(url, self._parameters)

    def fetch(self, url: str, *, max_bytes: int, deadline_s: float | None = None) -> bytes:
        """The body behind `url`, blocking; `deadline_s` is on the clock and may come before the time-out.

        Raises InvalidParameterError (not allowed, or no picture came), TooLargeError over `max_bytes`, DeadlineError.
        """
        own_s = self._clock() + self._parameters.timeout_s
        deadline_s = own_s if deadline_s is None else min(deadline_s, own_s)
        target = target_of(url, self._parameters)
        try:
            for _ in range(self._parameters.max_redirects + 1):
                found = self._get(target, max_bytes=max_bytes, deadline_s=deadline_s)
                if isinstance(found, bytes):
                    return found
                target = found
        except TimeoutError:
            raise DeadlineError("url: the server did not send the image in time") from None
        except ssl.SSLCertVerificationError:
            raise _failed("the server's certificate does not hold for this host") from None
        except (OSError, HTTPException):
            raise _failed("the server cannot be reached, or broke off") from None
        raise _failed(f"more than {self._parameters.max_redirects} redirects")

    def _get(self, target: Target, *, max_bytes: int, deadline_s: float) -> bytes | Target:
        """The body at the target, or where it redirects to."""
        with self._connect(target, deadline_s=deadline_s) as connected:
            wire = _Wire(connected, lambda: _left_s(deadline_s, self._clock))
            wire.send(_request(target))
            # A response only asks its socket for `makefile`.
            with HTTPResponse(cast("socket.socket", wire), method="GET") as response:
                response.begin()
                if response.status in _REDIRECTS:
                    return target.redirected(response.getheader("location") or "", self._parameters)
                if response.status != _OK:
                    raise _failed(f"the server answered {response.status}")
                if response.getheader("content-encoding", "identity").lower() != "identity":
                    raise _failed("the server sent an encoding that was not asked for")
                return _body(response, max_bytes=max_bytes)

    def _connect(self, target: Target, *, deadline_s: float) -> socket.socket:
        """A connection to the first of the target's addresses that answers; for https the name is verified."""
        try:
            names = self._resolve(target.host, target.port)
        except (OSError, UnicodeError):
            raise _failed("this host is not known") from None
        addresses = checked(names, self._parameters)
        for index, address in enumerate(addresses):
            left_s = _left_s(deadline_s, self._clock)
            try:
                plain = _open(address, target.port, timeout_s=left_s / (len(addresses) - index))
            except OSError:
                if index == len(addresses) - 1:
                    raise
                continue
            if target.scheme == "http":
                return plain
            try:
                plain.settimeout(_left_s(deadline_s, self._clock))
                return self._tls.wrap_socket(plain, server_hostname=target.host)
            except BaseException:
                plain.close()
                raise
        raise _failed("this host is not known")


class _Wire(io.RawIOBase):
    """A connected socket whose every read and write ends by the deadline, however slowly the other side drips."""

    def __init__(self, connected: socket.socket, left_s: Callable[[], float]) -> None:
        self._socket = connected
        self._left_s = left_s

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def send(self, data: bytes) -> None:
        self._socket.settimeout(self._left_s())
        self._socket.sendall(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # what BufferedReader hands in
        self._socket.settimeout(self._left_s())
        return self._socket.recv_into(buffer)


def _open(address: Address, port: int, *, timeout_s: float) -> socket.socket:
    """A connection to this address and no other: nothing is resolved again."""
    plain = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_STREAM)  # noqa: PLR2004
    try:
        plain.settimeout(timeout_s)
        plain.connect((str(address), port))
    except BaseException:
        plain.close()
        raise
    return plain


def _request(target: Target) -> bytes:
    lines = (
        f"GET {target.path} HTTP/1.1",
        f"Host: {target.authority}",
        f"User-Agent: sightline/{__version__}",
        "Accept: image/*",
        "Accept-Encoding: identity",
        "Connection: close",
    )
    return "\r\n".join((*lines, "", "")).encode("ascii")


def _body(response: HTTPResponse, *, max_bytes: int) -> bytes:
    declared = response.length  # None for chunked, and where the end of the connection is the end
    if declared is not None and declared > max_bytes:
        raise TooLargeError(f"url: the image has {declared} bytes; at most {max_bytes} are taken")
    pieces: list[bytes] = []
    received = 0
    while piece := response.read(_PIECE_BYTES):
        received += len(piece)
        if received > max_bytes:
            raise TooLargeError(f"url: the image has more than {max_bytes} bytes")
        pieces.append(piece)
    if declared is not None and received < declared:
        raise _failed("the server broke off")
    if not pieces:
        raise _failed("the server sent nothing")
    return b"".join(pieces)


def _left_s(deadline_s: float, clock: Callable[[], float]) -> float:
    left_s = deadline_s - clock()
    if left_s <= 0:
        raise TimeoutError
    return left_s


def _failed(words: str) -> SightlineError:
    return InvalidParameterError(f"url: {words}")
