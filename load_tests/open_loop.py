"""An open-loop HTTP client: requests leave when they are due, whether or not those before them are answered."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from load_tests.swap_account import Sent

Ends: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_LONGEST_S: Final = 20.0
_KEPT_S: Final = 30.0
"""How long an idle connection is used again: HAProxy hangs up after 90 s, and who writes then gets no answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """A whole request, the brightness of its picture, and whose it is."""

    request: bytes
    brightness: float
    user: str = ""


def shots(pictures: dict[float, bytes], *, host: str, user: str = "") -> list[Shot]:
    """A request for each picture, from that user if there is one."""
    named = f"x-user-id: {user}\r\n" if user else ""
    return [
        Shot(
            brightness=brightness,
            user=user,
            request=(
                f"POST /v1/detections HTTP/1.1\r\nhost: {host}\r\ncontent-type: image/jpeg\r\n"
                f"content-length: {len(body)}\r\n{named}\r\n"
            ).encode()
            + body,
        )
        for brightness, body in pictures.items()
    ]


class OpenLoop:
    """Keeps connections and opens more when all are busy; every answer is kept."""

    def __init__(self, host: str, port: int) -> None:
        self.sent: list[Sent] = []
        self._host, self._port = host, port
        self._free: list[tuple[float, Ends]] = []
        """With the moment since when each is idle; the newest last."""
        self._flying: set[asyncio.Task[None]] = set()

    async def offer(self, choices: Sequence[Shot], *, rate_hz: float, goes_on: Callable[[], bool], seed: int) -> None:
        """Poisson arrivals while it `goes_on`; comes back when all are answered."""
        random = np.random.default_rng(seed)
        due_s = time.monotonic()
        while goes_on():
            due_s += float(random.exponential(1 / rate_hz))
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            shot = choices[int(random.integers(len(choices)))]
            task = asyncio.create_task(self._one(shot, due_s))
            self._flying.add(task)
            task.add_done_callback(self._flying.discard)
        await asyncio.gather(*self._flying)

    async def rush(self, requests: Iterator[Shot], *, connections: int) -> None:
        """The same requests one after the other on so many connections: a closed loop."""

        async def caller() -> None:
            for shot in requests:
                await self._one(shot, time.monotonic())

        await asyncio.gather(*(caller() for _ in range(connections)))

    def taken(self) -> list[Sent]:
        """What has ended since the last time."""
        found, self.sent = self.sent, []
        return found

    def close(self) -> None:
        """Hang up."""
        for _, (_, writer) in self._free:
            writer.close()
        self._free.clear()

    def _kept(self) -> Ends | None:
        """The connection that was used last, as long as the other side keeps it; the older ones are older still."""
        if self._free and self._free[-1][0] < time.monotonic() - _KEPT_S:
            self.close()
        return self._free.pop()[1] if self._free else None

    async def _one(self, shot: Shot, due_s: float) -> None:
        begun_s = time.monotonic()
        status, body = 0, b""
        try:
            async with asyncio.timeout(_LONGEST_S):
                ends = self._kept() or await asyncio.open_connection(self._host, self._port)
                reader, writer = ends
                writer.write(shot.request)
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                status, body = int(head.split(b" ", 2)[1]), await reader.readexactly(length)
                self._free.append((time.monotonic(), ends))
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            status, body = 0, json.dumps({"code": type(error).__name__}).encode()
        self.sent.append(
            Sent(
                brightness=shot.brightness,
                user=shot.user,
                due_s=due_s,
                begun_s=begun_s,
                ended_s=time.monotonic(),
                status=status,
                body=body,
            )
        )
