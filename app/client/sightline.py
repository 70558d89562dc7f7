"""The asynchronous client of one service."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from app.client.calls import HttpCalls
from app.client.connection import Door
from app.client.outbox import Outbox
from app.client.picture import Picture, encoded
from app.client.reading import read
from app.client.session import LiveSession, OnState, SessionLimits
from app.client.stream import AsyncStream
from app.core.result import FrameResult, Summary
from app.core.video import FrameMode

URL: Final = "http://127.0.0.1:8000"
TIMEOUT_S: Final = 30.0
PUSH: Final = "push"
_STREAMS: Final = "/v1/streams"


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamInfo:
    """One stream at the service: what it is, and its account so far. `age_s` is that of the newest answer.

    `resume_token` is known to who opened it.
    """

    stream_id: str
    state: str
    label: str = ""
    source: str = PUSH
    mode: FrameMode = FrameMode.EVERY_FRAME
    priority: int = 5
    epoch: int
    last_seq: int
    answers_per_s: float = 0.0
    age_s: float | None = None
    captured: int
    answered: int
    dropped: dict[str, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    in_flight: int
    resume_token: str | None = None


class AsyncSightline:
    """A client. Close it, or use it as a context manager: that ends every session that it began.

    `url` is where the service answers; `headers` go with everything. Streams reconnect as `limits` say.
    """

    def __init__(
        self,
        url: str = URL,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
        limits: SessionLimits | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._headers = dict(headers or {})
        self._limits = limits or SessionLimits()
        self._calls = HttpCalls(self._url, headers=self._headers, timeout_s=timeout_s)
        self._open: list[AsyncStream] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End every session and let go of every connection; streams stay open at the service."""
        for stream in self._open:
            await stream.close()
        await self._calls.close()

    async def detect(self, picture: Picture, **query: str | float) -> FrameResult:
        """The objects in one picture. `query`: `conf`, `iou`, `classes`, `roi`, `tile`, as the HTTP call has them."""
        answer = await self._calls.json(
            "POST", "/v1/detections", body=await asyncio.to_thread(encoded, picture), query=query
        )
        return read(FrameResult, answer)

    async def streams(self) -> list[StreamInfo]:
        """The streams that are open at the service."""
        answer = await self._calls.json("GET", _STREAMS)
        return [read(StreamInfo, one) for one in (answer if isinstance(answer, list) else [answer])]

    async def show(self, stream_id: str) -> StreamInfo:
        """One stream; NotFoundError when there is none."""
        return read(StreamInfo, await self._calls.json("GET", f"{_STREAMS}/{stream_id}"))

    async def open(self, *, on_state: OnState | None = None, **spec: Any) -> AsyncStream:
        """Open a stream: `label`, `source`, `mode`, `lines`, `zones`, … as the JSON of `POST /v1/streams`.

        Without a `source` its frames are sent, also a file's (`send_file`) or a local camera's (`send_camera`); with a
        camera's URL the service pulls them. `on_state` is told where the
        session stands.
        """
        info = await self.create(**spec)
        return self._session(info, since=-1, is_own=True, is_pushed=info.source == PUSH, on_state=on_state)

    async def create(self, **spec: Any) -> StreamInfo:
        """Open a stream as `open` does, and leave it alone."""
        return read(StreamInfo, await self._calls.json("POST", _STREAMS, given=spec, is_repeatable=False))

    async def attach(self, stream_id: str, *, on_state: OnState | None = None) -> AsyncStream:
        """Go on sending into a stream that is open, after its newest frame; its events from now on."""
        info = await self.show(stream_id)
        return self._session(info, since=info.last_seq, is_own=False, is_pushed=info.source == PUSH, on_state=on_state)

    async def watch(self, stream_id: str, *, since: int | None = None, on_state: OnState | None = None) -> AsyncStream:
        """A stream's events after the result of frame `since`, if they are remembered; by default from now on."""
        info = await self.show(stream_id)
        now = max(-1, info.last_seq - info.in_flight)
        start = now if since is None else since
        return self._session(info, since=start, is_own=False, is_pushed=False, on_state=on_state)

    async def close_stream(self, stream_id: str) -> Summary:
        """Close a stream at the service, whoever opened it; its account."""
        return read(Summary, await self._calls.json("DELETE", f"{_STREAMS}/{stream_id}", is_repeatable=False))

    def _session(
        self, info: StreamInfo, *, since: int, is_own: bool, is_pushed: bool, on_state: OnState | None
    ) -> AsyncStream:
        limits = self._limits
        outbox = Outbox(
            keeps_latest=info.mode is FrameMode.LATEST_FRAME,
            first_seq=info.last_seq + 1,
            max_frames=limits.max_frames,
            max_bytes=limits.max_bytes,
        )
        door = Door(url=self._url, stream_id=info.stream_id, headers=self._headers, token=info.resume_token)
        session = LiveSession(
            door, outbox=outbox, since=since, limits=limits, is_reader=not is_pushed, on_state=on_state
        )
        stream = AsyncStream(info.stream_id, session, self._calls, is_own=is_own, is_pushed=is_pushed)
        self._open = [*(other for other in self._open if not other.is_over), stream]
        return stream
