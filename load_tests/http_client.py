"""A closed-loop HTTP client that costs next to nothing: prebuilt request bytes over keep-alive connections."""

import asyncio
import contextlib
import itertools
import re
import selectors
import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Turn:
    """One stretch of load: answers by status, the latency of each in seconds, elapsed and client CPU seconds."""

    statuses: Counter[int]
    latencies_s: list[float]
    elapsed_s: float
    client_cpu_s: float
    ends: list[int] = field(default_factory=list)
    """The status of each, in the order of the latencies."""

    @property
    def rate_hz(self) -> float:
        """Successful answers per second."""
        return self.statuses[200] / self.elapsed_s


def request_bytes(path: str, body: bytes, *, host: str, content_type: str = "image/jpeg") -> bytes:
    """One POST, ready to be written."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class _Caller:
    """One keep-alive connection with one request on the way: the socket is read and written as it allows."""

    def __init__(self, selector: selectors.BaseSelector, address: tuple[str, int]) -> None:
        self._selector = selector
        self._socket = socket.create_connection(address)
        self._socket.setblocking(False)
        selector.register(self._socket, selectors.EVENT_READ, self)
        self._left = memoryview(b"")
        self._answer = b""
        self.begun_s = 0.0

    def begin(self, request: bytes | None) -> bool:
        """Send a request, as much of it at once as goes; False when there is none."""
        if request is None:
            return False
        self.begun_s = time.perf_counter()
        self._left = memoryview(request)
        self._answer = b""
        self._write()
        return True

    def _write(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._left = self._left[self._socket.send(self._left) :]
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._left else 0)
        self._selector.modify(self._socket, wanted, self)

    def go_on(self, events: int) -> int | None:
        """The status, once the whole answer is there."""
        if events & selectors.EVENT_WRITE and self._left:
            self._write()
        if not events & selectors.EVENT_READ:
            return None
        received = self._socket.recv(1 << 16)
        if not received:
            raise ConnectionError("the service closed a connection")
        self._answer += received
        head, end, body = self._answer.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: *(\d+)", head) if end else None
        if length is None or len(body) < int(length[1]):
            return None
        return int(head.split(b" ", 2)[1])

    def close(self) -> None:
        """Hang up."""
        self._selector.unregister(self._socket)
        self._socket.close()


def saturate(host: str, port: int, requests: Sequence[bytes], *, connections: int, seconds: float) -> Turn:
    """Keep `connections` requests in flight for `seconds`; every request that was begun is waited for."""
    end_s = time.perf_counter() + seconds
    following = itertools.takewhile(lambda _request: time.perf_counter() < end_s, itertools.cycle(requests))
    return _drive(host, port, following, connections=connections)


def send(host: str, port: int, requests: Sequence[bytes], *, connections: int, count: int) -> Counter[int]:
    """Send `count` requests over `connections`, each as soon as the one before is answered; the answers by status."""
    return _drive(host, port, itertools.islice(itertools.cycle(requests), count), connections=connections).statuses


def _drive(host: str, port: int, requests: Iterator[bytes], *, connections: int) -> Turn:
    """Send what comes out of `requests`, one after the other on each connection."""
    statuses: Counter[int] = Counter()
    latencies_s: list[float] = []
    ends: list[int] = []
    start_s, cpu_start_s = time.perf_counter(), time.process_time()
    with selectors.DefaultSelector() as selector:
        callers = [_Caller(selector, (host, port)) for _ in range(connections)]
        busy = sum(caller.begin(next(requests, None)) for caller in callers)
        while busy:
            for key, events in selector.select():
                caller: _Caller = key.data
                if (status := caller.go_on(events)) is None:
                    continue
                statuses[status] += 1
                ends.append(status)
                latencies_s.append(time.perf_counter() - caller.begun_s)
                busy -= not caller.begin(next(requests, None))
        for caller in callers:
            caller.close()
    return Turn(statuses, latencies_s, time.perf_counter() - start_s, time.process_time() - cpu_start_s, ends)


def upload(host: str, port: int, path: str, body: bytes, *, content_type: str = "video/mp4") -> tuple[bytes, float]:
    """Send a file and read the streamed answer at the same time: its body and the seconds it took.

    RuntimeError with the answer's words when it is not a 200.
    """

    async def run() -> tuple[bytes, float]:
        start_s = time.perf_counter()
        reader, writer = await asyncio.open_connection(host, port)
        sending = asyncio.create_task(_send_file(writer, path, body, host=host, content_type=content_type))
        head = await reader.readuntil(b"\r\n\r\n")
        answer = await (_chunks(reader) if b"transfer-encoding: chunked" in head.lower() else reader.read())
        elapsed_s = time.perf_counter() - start_s
        sending.cancel()
        writer.close()
        if b" 200 " not in head.split(b"\r\n")[0]:
            raise RuntimeError(answer.decode(errors="replace"))
        return answer, elapsed_s

    return asyncio.run(run())


async def _send_file(writer: asyncio.StreamWriter, path: str, body: bytes, *, host: str, content_type: str) -> None:
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: {content_type}\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    writer.write(head.encode())
    for start in range(0, len(body), 1 << 18):
        writer.write(body[start : start + (1 << 18)])
        await writer.drain()


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    """A chunked body put together."""
    parts: list[bytes] = []
    while size := int(await reader.readline(), 16):
        parts.append(await reader.readexactly(size))
        await reader.readline()
    return b"".join(parts)
