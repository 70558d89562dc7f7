"""Clients of a running service that lose no frame: several streams on one gRPC call, and pushes over HTTP."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

import grpc
import httpx
from google.protobuf.timestamp_pb2 import Timestamp

from app.contract.vision_pb2 import FrameResult, VideoFrame
from app.contract.vision_pb2_grpc import VideoAnalyticsStub

PAUSE_S: Final = 0.2
JPEG: Final = {"content-type": "image/jpeg"}


@dataclass(slots=True)
class Lane:
    """One stream of a call: frames that have no end yet, and each end once."""

    stream_id: str
    token: str
    told: list[FrameResult] = field(default_factory=list)
    kept: dict[int, VideoFrame] = field(default_factory=dict)
    unsent: deque[int] = field(default_factory=deque)
    credit: int = 0
    is_open: bool = False
    known: set[str] = field(default_factory=set)
    known_on_call: set[str] = field(default_factory=set)
    doubled: list[str] = field(default_factory=list)
    """Events that one call told twice. A new call may tell again what was told after its token was made."""

    def add(self, frame: VideoFrame) -> None:
        """Keep a frame, to be sent when there is credit."""
        self.kept[frame.seq] = frame
        self.unsent.append(frame.seq)

    def begin(self) -> VideoFrame:
        """A new call: all that has no end goes again, in order. The greeting that opens the stream on it."""
        self.credit, self.is_open, self.unsent = 0, True, deque(self.kept)
        self.known_on_call.clear()
        return VideoFrame(stream_id=self.stream_id, resume_token=self.token)

    def next(self) -> VideoFrame | None:
        """The next frame to send; None when there is none, or no credit."""
        if not (self.is_open and self.credit and self.unsent):
            return None
        self.credit -= 1
        return self.kept[self.unsent.popleft()]

    def note(self, message: FrameResult) -> None:
        """Take in what was told."""
        self.credit += message.credit.frames
        if message.HasField("go_away"):
            self.token, self.is_open = message.go_away.resume_token, False
        if message.event_id:
            self._settle(message)

    def _settle(self, result: FrameResult) -> None:
        if result.event_id in self.known_on_call:
            self.doubled.append(result.event_id)
        if result.event_id not in self.known:
            self.told.append(result)
        self.known_on_call.add(result.event_id)
        self.known.add(result.event_id)
        if self.kept.pop(result.seq, None) and result.seq in self.unsent:
            self.unsent.remove(result.seq)


class GrpcSender:
    """Calls StreamingInfer, and calls again with the newest tokens whenever the call ends.

    `endings` are the statuses of the calls that ended, `farewells` the streams that were sent away, `refused` why
    frames or streams were not taken.
    """

    def __init__(self, address: str) -> None:
        self.lanes: dict[str, Lane] = {}
        self.endings: list[grpc.StatusCode] = []
        self.farewells: list[str] = []
        self.refused: list[str] = []
        self._channel = grpc.aio.insecure_channel(address)
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        tasks = [] if self._task is None else [self._task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._channel.close()

    def begin(self, tokens: dict[str, str]) -> None:
        """Begin with the call of these streams."""
        self.lanes = {stream_id: Lane(stream_id, token) for stream_id, token in tokens.items()}
        self._task = asyncio.create_task(self._run())

    def send(self, stream_id: str, seq: int, *, data: bytes, captured_at_s: float) -> None:
        """Send one frame of one stream as soon as may be."""
        at = Timestamp()
        at.FromNanoseconds(round(captured_at_s * 1e9))
        self.lanes[stream_id].add(VideoFrame(stream_id=stream_id, seq=seq, data=data, captured_at=at))
        self._changed.set()

    async def drain(self) -> None:
        """Wait until every frame has its end. Raises what made the sender fail."""
        while any(lane.kept for lane in self.lanes.values()):
            assert self._task is not None
            if self._task.done():
                self._task.result()
            await asyncio.sleep(PAUSE_S)

    async def _run(self) -> None:
        while True:
            try:
                await self._one_call()
            except grpc.aio.AioRpcError as error:
                self.endings.append(error.code())
            await asyncio.sleep(PAUSE_S)

    async def _one_call(self) -> None:
        call: Any = VideoAnalyticsStub(self._channel).StreamingInfer()  # type: ignore[no-untyped-call]
        for lane in self.lanes.values():
            await call.write(lane.begin())
        writing = asyncio.create_task(self._write(call))
        try:
            async for message in call:
                self._note(message)
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            call.cancel()

    async def _write(self, call: Any) -> None:
        while True:
            frames = [frame for lane in self.lanes.values() if (frame := lane.next()) is not None]
            for frame in frames:
                await call.write(frame)
            if not frames:
                self._changed.clear()
                await self._changed.wait()

    def _note(self, message: FrameResult) -> None:
        if message.status and not message.event_id:
            self.refused.append(f"{message.reason}: {message.detail}")
        if message.HasField("go_away"):
            self.farewells.append(message.stream_id)
        self.lanes[message.stream_id].note(message)
        self._changed.set()


@dataclass(slots=True)
class HttpCaller:
    """Calls over HTTP, made again until they are answered, and what came instead of the answer.

    `refused` are answers other than 200, `broken` calls without any answer.
    """

    client: httpx.AsyncClient
    answered: int = 0
    refused: list[httpx.Response] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    async def post(self, url: str, picture: bytes, **query: str) -> httpx.Response:
        """The answer with 200."""
        while True:
            try:
                answer = await self.client.post(url, params=query, content=picture, headers=JPEG)
            except httpx.TransportError as error:
                self.broken.append(repr(error))
                await asyncio.sleep(PAUSE_S)
                continue
            if answer.status_code == httpx.codes.OK:
                self.answered += 1
                return answer
            self.refused.append(answer)
            await asyncio.sleep(float(answer.headers.get("retry-after", PAUSE_S)))


def untyped(answers: Sequence[httpx.Response]) -> list[str]:
    """Those of the answers that are no problem of ours that says when to come again."""
    return [
        f"{answer.status_code} {answer.text[:200]}"
        for answer in answers
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE
        or answer.headers.get("content-type") != "application/problem+json"
        or int(answer.headers.get("retry-after", "0")) < 1
    ]
