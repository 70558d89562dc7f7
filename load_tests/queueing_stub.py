"""A server whose service times are given: one request at a time over real connections, to measure the measurer with."""

import contextlib
import multiprocessing
import select
import socket
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Final

import numpy as np

from load_tests.open_loop_arrivals import Floats
from load_tests.open_loop_clock import WakeUp, go_first, spin_until

_ANSWER: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
_EARLY_S: Final = 0.0003
"""Awake so long before an answer is due: a sleeper is woken up to 0.2 ms late."""


@dataclass(slots=True)
class Stub:
    """A running stub. `answer_late_s` has, after the end, by how much it missed the moment of each answer."""

    port: int
    answer_late_s: Floats = field(default_factory=lambda: np.zeros(0))


@contextlib.contextmanager
def stub(service_s: Floats) -> Iterator[Stub]:
    """A stub in a process of its own; its n-th request is served `service_s[n]`, and 0 after the last."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(there, service_s), daemon=True)
    process.start()
    there.close()
    try:
        running = Stub(port=here.recv())
        yield running
        here.send("end")
        running.answer_late_s = here.recv()
    finally:
        process.terminate()
        process.join()


@dataclass(slots=True)
class _Line:
    socket: socket.socket
    received: bytes = b""


class _Server:
    """First come, first served. Service begins with the last byte of a request, or when the one before has left.

    The end of each service is reckoned from those two and slept towards: nothing that goes on on the machine makes the
    next one longer, and no time is lost in between.
    """

    def __init__(self, service_s: Floats) -> None:
        self._service_s = service_s.tolist()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._epoll = select.epoll()
        self._wake_up = WakeUp()
        self._epoll.register(self._listener, select.EPOLLIN)
        self._epoll.register(self._wake_up.fd, select.EPOLLIN | select.EPOLLET)
        self._lines: dict[int, _Line] = {}
        self._queue: deque[tuple[float, _Line]] = deque()
        self._count = 0
        self._busy_until_s = 0.0
        self.late_s: list[float] = []

    def run(self, pipe: Connection) -> None:
        """Serve until something comes through the pipe."""
        self._epoll.register(pipe.fileno(), select.EPOLLIN)
        while True:
            if self._queue:
                self._wake_up.at(self._queue[0][0] - _EARLY_S)
            for fd, _ in self._epoll.poll():
                if fd == pipe.fileno():
                    return
                if fd == self._listener.fileno():
                    self._accept()
                elif fd in self._lines:
                    self._read(self._lines[fd])
            while self._queue and self._queue[0][0] - _EARLY_S <= time.monotonic():
                self._answer(*self._queue.popleft())

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                taken, _ = self._listener.accept()
                taken.setblocking(False)
                taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._lines[taken.fileno()] = _Line(taken)
                self._epoll.register(taken, select.EPOLLIN)

    def _read(self, line: _Line) -> None:
        try:
            received = line.socket.recv(1 << 20)
        except OSError:
            received = b""
        if not received:
            del self._lines[line.socket.fileno()]
            line.socket.close()
            return
        line.received += received
        head, end, body = line.received.partition(b"\r\n\r\n")
        if not end or len(body) < int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]):
            return
        line.received = b""
        service_s = self._service_s[self._count] if self._count < len(self._service_s) else 0.0
        self._count += 1
        self._busy_until_s = max(time.monotonic(), self._busy_until_s) + service_s
        self._queue.append((self._busy_until_s, line))

    def _answer(self, end_s: float, line: _Line) -> None:
        spin_until(end_s)
        self.late_s.append(time.monotonic() - end_s)
        with contextlib.suppress(OSError):
            line.socket.send(_ANSWER)


def _serve(pipe: Connection, service_s: Floats) -> None:
    go_first()
    server = _Server(service_s)
    pipe.send(server.port)
    server.run(pipe)
    pipe.recv()
    pipe.send(np.array(server.late_s))
