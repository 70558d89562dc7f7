"""One client process of an open loop: prebuilt requests leave when they are due, and four times are kept of each.

It parses no JSON and makes no objects per answer: a hundred microseconds of processor a request, see `queueing`.
"""

import contextlib
import gc
import re
import select
import socket
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from load_tests.open_loop_arrivals import Floats, Ints
from load_tests.open_loop_clock import WakeUp

NO_ANSWER: Final = 0
TOO_LATE: Final = -1
"""Instead of a status: the connection broke, or the answer took longer than `longest_s`."""
_LENGTH: Final = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_CODE: Final = re.compile(rb'"code": *"([a-z_]+)"')
_SWEEP_S: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What one client sends: request `which[i]` is due `due_s[i]` seconds after the start, in order.

    It opens a connection whenever all are busy, up to `connections` if that is given: then requests wait for one, as
    in a closed loop. Of every `keep_every`-th answer the body is kept. Who has no answer after `longest_s` is given up.
    """

    host: str
    port: int
    requests: Sequence[bytes]
    due_s: Floats
    which: Ints
    connections: int | None = None
    keep_every: int = 10
    longest_s: float = 30.0


class Refusal(NamedTuple):
    """A refusal: its status, the code of our error, empty without one, and whether it says when to come again."""

    status: int
    code: str
    has_retry_after: bool


@dataclass(slots=True, kw_only=True)
class Record:
    """What became of each request, by its place in the offer; times are monotonic seconds, NaN where it never was.

    Due by the plan, `taken` when the client came to it, `sent` when the first bytes had left, `ended` with the last
    byte of the answer. `cpu_s` and `elapsed_s` are the client's own.
    """

    due_s: Floats
    taken_s: Floats
    sent_s: Floats
    ended_s: Floats
    status: Ints
    refusals: Counter[Refusal] = field(default_factory=Counter)
    bodies: list[bytes] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    """One number for each client process."""
    elapsed_s: float = 0.0

    @property
    def latency_s(self) -> Floats:
        """From when it was due."""
        return self.ended_s - self.due_s

    def part(self, chosen: npt.NDArray[np.bool_]) -> "Record":
        """The requests chosen; counts of refusals by kind, bodies and costs stay those of the whole."""
        return replace(
            self,
            due_s=self.due_s[chosen],
            taken_s=self.taken_s[chosen],
            sent_s=self.sent_s[chosen],
            ended_s=self.ended_s[chosen],
            status=self.status[chosen],
        )

    @property
    def late_s(self) -> Floats:
        """How much later than due the client came to it: its own fault."""
        return self.taken_s - self.due_s


@dataclass(slots=True, eq=False)
class _Line:
    """One keep-alive connection, and the request that is on it; -1 while it is free."""

    socket: socket.socket
    fd: int
    index: int = -1
    left: memoryview = field(default_factory=lambda: memoryview(b""))
    answer: bytes = b""
    whole: int = -1


class Client:
    """Fires one offer. It is one thread around epoll."""

    def __init__(self, offer: Offer, *, start_s: float) -> None:
        count = len(offer.due_s)
        self._offer = offer
        self._due_s = (offer.due_s + start_s).tolist()
        self._which = offer.which.tolist()
        self._record = Record(
            due_s=offer.due_s + start_s,
            taken_s=np.full(count, np.nan),
            sent_s=np.full(count, np.nan),
            ended_s=np.full(count, np.nan),
            status=np.full(count, NO_ANSWER, dtype=np.int64),
        )
        self._epoll = select.epoll()
        self._wake_up = WakeUp()
        self._epoll.register(self._wake_up.fd, select.EPOLLIN | select.EPOLLET)
        self._lines: dict[int, _Line] = {}
        self._free: list[_Line] = []
        self._waiting: deque[int] = deque()
        self._ended = 0

    def run(self) -> Record:
        """The record, when all have ended."""
        begin_s, cpu_s = time.monotonic(), time.process_time()
        gc_was_on = gc.isenabled()
        gc.disable()  # nothing here makes cycles, and a collection would make requests late
        try:
            self._loop()
        finally:
            for line in list(self._lines.values()):
                self._hang_up(line)
            self._epoll.close()
            self._wake_up.close()
            if gc_was_on:
                gc.enable()
        self._record.cpu_s = [time.process_time() - cpu_s]
        self._record.elapsed_s = time.monotonic() - begin_s
        return self._record

    def _loop(self) -> None:
        count, next_index = len(self._due_s), 0
        sweep_s = time.monotonic() + _SWEEP_S
        while self._ended < count:
            now_s = time.monotonic()
            while next_index < count and self._due_s[next_index] <= now_s:
                self._record.taken_s[next_index] = time.monotonic()
                self._begin(next_index)
                next_index += 1
            if now_s >= sweep_s:
                self._give_up(now_s)
                sweep_s = now_s + _SWEEP_S
            self._wake_up.at(min(sweep_s, self._due_s[next_index]) if next_index < count else sweep_s)
            for fd, events in self._epoll.poll():
                if (line := self._lines.get(fd)) is not None:
                    self._go_on(line, events)

    def _begin(self, index: int) -> None:
        if self._free:
            line = self._free.pop()
        elif self._offer.connections is None or len(self._lines) < self._offer.connections:
            if (opened := self._opened()) is None:
                self._end(index, NO_ANSWER)
                return
            line = opened
        else:
            self._waiting.append(index)
            return
        line.index, line.answer, line.whole = index, b"", -1
        line.left = memoryview(self._offer.requests[self._which[index]])
        self._record.sent_s[index] = time.monotonic()
        self._write(line)

    def _opened(self) -> _Line | None:
        try:
            taken = socket.create_connection((self._offer.host, self._offer.port), timeout=5.0)
        except OSError:
            return None
        taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        taken.setblocking(False)
        line = _Line(taken, taken.fileno())
        self._lines[line.fd] = line
        self._epoll.register(line.fd, select.EPOLLIN)
        return line

    def _write(self, line: _Line) -> None:
        had_more = len(line.left) < len(self._offer.requests[self._which[line.index]])
        try:
            line.left = line.left[line.socket.send(line.left) :]
        except BlockingIOError:
            pass
        except OSError:
            self._broken(line)
            return
        if bool(line.left) != had_more:
            self._epoll.modify(line.fd, select.EPOLLIN | (select.EPOLLOUT if line.left else 0))

    def _go_on(self, line: _Line, events: int) -> None:
        if events & select.EPOLLOUT and line.left:
            self._write(line)
        if not events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR) or line.fd not in self._lines:
            return
        try:
            received = line.socket.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        if not received:
            self._broken(line)
            return
        line.answer += received
        if line.whole < 0 and (end := line.answer.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(line.answer, 0, end + 2)
            if length is None:
                self._broken(line)
                return
            line.whole = end + 4 + int(length[1])
        if 0 <= line.whole <= len(line.answer):
            self._answered(line)

    def _answered(self, line: _Line) -> None:
        index, answer = line.index, line.answer
        status = int(answer[9:12])
        self._end(index, status)
        if status != 200:
            code = _CODE.search(answer)
            has_retry_after = b"\r\nretry-after:" in answer[: answer.find(b"\r\n\r\n")].lower()
            self._record.refusals[Refusal(status, code[1].decode() if code else "", has_retry_after)] += 1
        elif self._offer.keep_every and index % self._offer.keep_every == 0:
            self._record.bodies.append(answer[answer.find(b"\r\n\r\n") + 4 :])
        line.index = -1
        # Answered before all was sent: the rest would be taken for the next request.
        if line.left or b"\r\nconnection: close" in answer[:400].lower():
            self._hang_up(line)
        else:
            self._free.append(line)
        self._next_waiting()

    def _end(self, index: int, status: int) -> None:
        self._record.ended_s[index] = time.monotonic()
        self._record.status[index] = status
        self._ended += 1

    def _broken(self, line: _Line, *, status: int = NO_ANSWER) -> None:
        if line.index >= 0:
            self._end(line.index, status)
            self._record.refusals[Refusal(status, "", has_retry_after=False)] += 1
        else:
            self._free.remove(line)
        self._hang_up(line)
        self._next_waiting()

    def _next_waiting(self) -> None:
        if self._waiting:
            self._begin(self._waiting.popleft())

    def _hang_up(self, line: _Line) -> None:
        del self._lines[line.fd]
        with contextlib.suppress(OSError):
            self._epoll.unregister(line.fd)
        line.socket.close()

    def _give_up(self, now_s: float) -> None:
        for line in list(self._lines.values()):
            if line.index >= 0 and self._due_s[line.index] + self._offer.longest_s < now_s:
                self._broken(line, status=TOO_LATE)
