"""The door that FFmpeg's RTSP goes through: it speaks to loopback, and we to the one address that was checked.

So FFmpeg resolves no name, dials nobody whom a server names, and TLS is ours. On the way we read what it keeps to
itself: redirects, which are not followed, and the reconnect interval in the SDP.
"""

import contextlib
import re
import select
import socket
import ssl
import threading
from typing import Final

from app.media.pull.messages import Reason
from app.media.pull.source_url import SourceUrl

_PIECE_BYTES: Final = 65_536
_MAX_HEAD_BYTES: Final = 65_536
_MAX_SDP_BYTES: Final = 65_536
_STATUS: Final = re.compile(rb"RTSP/\d\.\d (\d{3})")
_LENGTH: Final = re.compile(rb"\ncontent-length:[ \t]*(\d{1,9})", re.IGNORECASE)
_INTERVAL: Final = re.compile(rb"^a=x-reconnect-interval:(\d{1,6}(?:\.\d{1,6})?)\s*$", re.MULTILINE)
_REFUSALS: Final = {401: Reason.UNAUTHORIZED, 403: Reason.UNAUTHORIZED, 404: Reason.NOT_FOUND}
_DOLLAR: Final = 0x24
_FRAME_HEAD_BYTES: Final = 4


class RtspWatch:
    """Follows what a server sends, piece by piece: interleaved frames are counted off, answers are read.

    `announced_s` is the interval of the last SDP, `refusal` what a bad status means. Source: RFC 7826 section 14.
    """

    def __init__(self) -> None:
        self.announced_s: float | None = None
        self.refusal: Reason | None = None
        self._head = bytearray()
        self._body: bytearray | None = None
        self._left = 0

    def feed(self, data: bytes) -> bool:
        """Whether the server may go on; not when it redirects, or sends no RTSP."""
        at = 0
        while at < len(data):
            if self._left:
                piece = data[at : at + self._left]
                at += len(piece)
                self._left -= len(piece)
                if self._body is not None and len(self._body) < _MAX_SDP_BYTES:
                    self._body += piece
                self._read_body()
                continue
            if not self._head and data[at] in b"\r\n":  # between answers, allowed as it is in HTTP
                at += 1
                continue
            at = self._feed_head(data, at)
            if self.refusal is Reason.REDIRECTED or len(self._head) > _MAX_HEAD_BYTES:
                return False
        return True

    def _feed_head(self, data: bytes, at: int) -> int:
        """Where the data goes on once a head is complete, or all of it was taken."""
        first = self._head[0] if self._head else data[at]
        if first == _DOLLAR:
            wanted = _FRAME_HEAD_BYTES - len(self._head)
            self._head += data[at : at + wanted]
            if len(self._head) == _FRAME_HEAD_BYTES:
                self._left = int.from_bytes(self._head[2:], "big")
                self._head.clear()
            return at + wanted
        searched = max(0, len(self._head) - 3)
        before = len(self._head)
        self._head += data[at:]
        end = self._head.find(b"\r\n\r\n", searched)
        if end < 0:
            return len(data)
        head = bytes(self._head[: end + 4])
        self._head.clear()
        self._answer(head)
        return at + len(head) - before

    def _answer(self, head: bytes) -> None:
        status = _STATUS.match(head.lstrip())
        code = int(status[1]) if status else 200
        self.refusal = None
        if 300 <= code < 400:  # noqa: PLR2004  the class of redirects
            self.refusal = Reason.REDIRECTED
        elif code >= 400:  # noqa: PLR2004  the class of refusals
            self.refusal = _REFUSALS.get(code, Reason.UNREACHABLE)
        length = _LENGTH.search(head)
        self._left = int(length[1]) if length else 0
        self._body = bytearray() if b"application/sdp" in head.lower() else None

    def _read_body(self) -> None:
        if self._left or self._body is None:
            return
        found = _INTERVAL.search(bytes(self._body))
        self.announced_s = float(found[1]) if found else None
        self._body = None


class RtspDoor:
    """A thread between FFmpeg and the server; the first connection is served, a second is not taken."""

    def __init__(self, server: socket.socket, *, connect_s: float) -> None:
        self.watch = RtspWatch()
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1)
        self._listener.settimeout(connect_s)
        self._client: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def url(self, source: SourceUrl) -> str:
        """What FFmpeg is to open."""
        login = f"{source.user}:{source.password}@" if source.user else ""
        return f"rtsp://{login}127.0.0.1:{self._listener.getsockname()[1]}{source.path}"

    def close(self) -> None:
        """End both connections and wait for the thread."""
        self._hang_up()
        self._thread.join()
        for end in self._ends():
            end.close()

    def _ends(self) -> list[socket.socket]:
        return [end for end in (self._listener, self._client, self._server) if end is not None]

    def _hang_up(self) -> None:
        for end in self._ends():
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # whatever breaks, both sides are told by the end of it
            self._client, _ = self._listener.accept()
            self._listener.close()
            while self._is_carried(self._client, self._server):
                pass
        self._hang_up()

    def _is_carried(self, client: socket.socket, server: socket.socket) -> bool:
        """Whether the connection goes on once what has come is handed over.

        One thread for both directions: OpenSSL lets no two threads at one connection.
        """
        pending = isinstance(server, ssl.SSLSocket) and server.pending() > 0
        ready, _, _ = select.select([client, server], [], [], 0 if pending else None)
        if client in ready:
            asked = client.recv(_PIECE_BYTES)
            if not asked:
                return False
            server.settimeout(None)
            server.sendall(asked)
        if server in ready or pending:
            server.settimeout(0)
            try:
                said = server.recv(_PIECE_BYTES)
            except (BlockingIOError, ssl.SSLWantReadError):  # part of a TLS record, or one that carries no bytes
                return True
            if not said or not self.watch.feed(said):
                return False
            client.sendall(said)
        return True
