"""A make-believe camera of the scenario `streams`: a live stream that is pushed and read as a careful client does."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from load_tests.service import Service
from load_tests.streams_account import Account
from load_tests.streams_footage import SCENE_HZ
from load_tests.streams_http import JPEG, Connection, told

LINES = [
    {"name": "along", "start": [0.0, 0.6], "end": [1.0, 0.6]},
    {"name": "across", "start": [0.5, 0.0], "end": [0.5, 1.0]},
]
_RETRY_S = 0.1
_START = datetime(2026, 11, 23, tzinfo=UTC)


class LiveStream:
    """A stream of the service, open until it is closed. A call without an answer is made again."""

    def __init__(self, service: Service, stream_id: str) -> None:
        self.service = service
        self.account = Account(stream_id=stream_id)
        self.path = f"/v1/streams/{stream_id}"

    @classmethod
    async def open(cls, service: Service, **spec: Any) -> Self:
        """A new one."""
        body = await _asked(service, "POST", "/v1/streams", json.dumps(spec).encode())
        return cls(service, json.loads(body)["stream_id"])

    async def close(self) -> None:
        """Close it; its account has the answer."""
        self.account.closing = json.loads(await _asked(self.service, "DELETE", self.path))

    async def read_log(self, *, until_seq: int) -> None:
        """What another reader is told who comes late: everything until the end of that frame."""
        async with contextlib.aclosing(told(self.service.host, self.service.port, f"{self.path}/events")) as lines:
            async for line in lines:
                self.account.log.append(line)
                if _is_end(line, seq=until_seq):
                    return

    async def read_live(self, *, arrived_s: dict[int, float] | None = None) -> None:
        """Have everything told in the account, until cancelled; a reader that is cut off reads on from its last event.

        With `arrived_s` the time of each frame's end is noted there instead.
        """
        last_id: str | None = None
        while True:
            with contextlib.suppress(ConnectionError):
                lines = told(self.service.host, self.service.port, f"{self.path}/events", last_event_id=last_id)
                async with contextlib.aclosing(lines):
                    async for line in lines:
                        event = json.loads(line)
                        last_id = event["event_id"]
                        if arrived_s is None:
                            self.account.live.append(line)
                        elif event["schema"].endswith("FrameResult"):
                            arrived_s[event["seq"]] = time.monotonic()
            await asyncio.sleep(_RETRY_S)


class Camera:
    """Frames that come into being at `rate_hz` (None: as fast as they are answered), pushed one after the other.

    A frame without an answer is pushed again under its number. `answered_s` are the times of the results.
    """

    def __init__(self, stream: LiveStream, jpegs: Sequence[bytes], *, rate_hz: float | None) -> None:
        self.stream = stream
        self.answered_s: list[float] = []
        self.pushed_again = 0
        self._jpegs = jpegs
        self._rate_hz = rate_hz
        self._connection = Connection(stream.service.host, stream.service.port)

    async def run(self, stop: asyncio.Event) -> None:
        """Push until `stop`, or until the last frame."""
        begin_s = time.monotonic()
        for seq, jpeg in enumerate(self._jpegs):
            if self._rate_hz is not None:
                await asyncio.sleep(max(0.0, begin_s + seq / self._rate_hz - time.monotonic()))
            if stop.is_set():
                break
            self.stream.account.answers[seq] = answer = await self._pushed(seq, jpeg)
            if json.loads(answer)["status"] == "result":
                self.answered_s.append(time.monotonic())
        self._connection.close()

    async def _pushed(self, seq: int, jpeg: bytes) -> bytes:
        at = (_START + timedelta(seconds=seq / SCENE_HZ)).isoformat().replace("+", "%2B")
        path = f"{self.stream.path}/frames?seq={seq}&captured_at={at}"
        while True:
            with contextlib.suppress(ConnectionError):
                answer = await self._connection.ask("POST", path, jpeg, content_type=JPEG)
                if answer.status == 200:
                    return answer.body
                if answer.status < 500 and b'"code"' in answer.body:  # a bare 404 is a proxy that knows no route yet
                    raise RuntimeError(f"frame {seq}: {answer.status} {answer.body.decode(errors='replace')}")
            self.pushed_again += 1
            await asyncio.sleep(_RETRY_S)


async def until(is_so: Callable[[], bool], *, within_s: float) -> None:
    """Return once it is so; TimeoutError when that takes too long. For what nobody tells us."""
    async with asyncio.timeout(within_s):
        while not is_so():  # noqa: ASYNC110  it is so in other processes, or in plain dicts
            await asyncio.sleep(0.01)


async def _asked(service: Service, method: str, path: str, body: bytes = b"") -> bytes:
    """The answer to a call that succeeds; RuntimeError with its words when it is refused."""
    connection = Connection(service.host, service.port)
    deadline_s = time.monotonic() + 90
    try:
        while True:
            with contextlib.suppress(ConnectionError):
                answer = await connection.ask(method, path, body)
                if answer.status < 300:
                    return answer.body
                if answer.status < 500 or time.monotonic() > deadline_s:
                    raise RuntimeError(f"{method} {path}: {answer.status} {answer.body.decode(errors='replace')}")
            await asyncio.sleep(_RETRY_S)
    finally:
        connection.close()


def _is_end(line: bytes, *, seq: int) -> bool:
    event = json.loads(line)
    return bool(event["schema"].endswith("FrameResult") and event["seq"] == seq)
