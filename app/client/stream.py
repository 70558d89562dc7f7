"""A live stream as its user holds it: frames in, events out, whatever happens to the network in between."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from app.client.calls import HttpCalls
from app.client.camera import Camera
from app.client.clip import Clip
from app.client.connection import message_of
from app.client.outbox import OutgoingFrame
from app.client.picture import Picture, encoded
from app.client.reading import read
from app.client.session import LiveSession
from app.core.errors import InvalidParameterError, SightlineError, TooLargeError
from app.core.result import Event, Summary
from app.policy.session import SessionState

T = TypeVar("T")
MAX_FRAME_BYTES: Final = 8 * 1024**2
"""What the service takes. Source: app/api/sent_frame.py."""
_LAST_WORD_S: Final = 5.0
"""How long the end of a stream that was closed may be on its way."""


class AsyncStream:
    """An open stream, from `AsyncSightline.open`, `attach` or `watch`.

    As a context manager it waits at the end for what was sent, and one from `open` is finished; after an exception it
    waits for nothing, and one from `open` is closed at the service.
    """

    def __init__(
        self, stream_id: str, session: LiveSession, calls: HttpCalls, *, is_own: bool, is_pushed: bool
    ) -> None:
        self.stream_id = stream_id
        self._session = session
        self._calls = calls
        self._is_own = is_own
        self._is_pushed = is_pushed
        self._ready: deque[Event] = deque()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                await self.drain()
            if self._is_own and not self._session.is_over:
                if kind is None:
                    await self.finish()
                else:
                    with suppress(SightlineError):
                        await self._close_there()
        finally:
            await self.close()

    def __aiter__(self) -> AsyncIterator[Event]:
        return self.events()

    @property
    def state(self) -> SessionState:
        """Where the session stands: `streaming` while a connection does, `idle` when it is over."""
        return self._session.state

    @property
    def is_over(self) -> bool:
        """Whether no connection will follow; events that have come can still be read."""
        return self._session.is_over

    @property
    def cuts(self) -> int:
        """How many connections were lost so far."""
        return self._session.cuts

    async def send(
        self, picture: Picture, *, captured_at: float | None = None, metadata: Mapping[str, str] | None = None
    ) -> int:
        """Send one frame; its number. `captured_at` is UTC in seconds, now by default; `metadata` comes back with it.

        Waits for room, but with latest_frame: there a frame that is not sent yet makes room, and ends as superseded.
        Raises what ended the session: UnreachableError after too long without a connection, NotFoundError when the
        stream was closed.
        """
        if not self._is_pushed:
            raise InvalidParameterError("this stream is not pushed by this client")
        at_s = time.time() if captured_at is None else captured_at
        data = bytes(picture) if isinstance(picture, bytes | bytearray) else await asyncio.to_thread(encoded, picture)
        if not data:
            raise InvalidParameterError("the picture is empty")
        if len(data) > MAX_FRAME_BYTES:
            raise TooLargeError(f"a picture has at most {MAX_FRAME_BYTES} bytes, not {len(data)}")
        known = dict(metadata or {})
        message_of(OutgoingFrame(seq=0, data=b"", captured_at=at_s, metadata=known))  # fails here, not when it is sent
        return await self._session.put(data, captured_at=at_s, metadata=known)

    async def send_all(self, pictures: Iterable[Picture] | AsyncIterable[Picture]) -> int:
        """Send them one by one; how many there were."""
        count = 0
        if isinstance(pictures, AsyncIterable):
            async for picture in pictures:
                await self.send(picture)
                count += 1
        else:
            for picture in pictures:
                await self.send(picture)
                count += 1
        return count

    async def send_file(self, file: Path, *, is_realtime: bool = False) -> Clip:
        """Send every frame of a video file with its true time, as fast as they are taken or, in real time, as it plays.

        The clip says what could not be read of it. SightlineError when it is no video.
        """
        begun_s, now_s = time.time(), asyncio.get_running_loop().time
        start_s = now_s()
        with Clip(file) as clip:
            await _in_thread(clip.open)
            while (shot := await _in_thread(clip.shot)) is not None:
                if is_realtime:
                    await asyncio.sleep(start_s + shot.pts_s - now_s())
                await self.send(shot.jpeg, captured_at=begun_s + shot.pts_s)
        return clip

    async def send_camera(self, camera: Camera | int | str) -> Camera:
        """Send what a camera on this machine sees, until it is closed or breaks off, which its `error` then says.

        By its number or its path it is opened here, and closed at the end, also by a cancellation. Every frame is the
        newest: while one waits for room, the camera's others are passed over. NotFoundError, ConflictError as
        `Camera.open`.
        """
        taken = camera if isinstance(camera, Camera) else Camera(camera)
        try:
            if taken is not camera:
                await _in_thread(taken.open)
            while (shot := await _in_thread(taken.shot, stop=taken.stop)) is not None:
                await self.send(shot.jpeg, captured_at=shot.captured_at)
        finally:
            await _in_thread(taken.close)
        return taken

    async def read(self) -> list[Event]:
        """The events that have come, at least one; empty at the end of the stream. Raises what ended the session.

        Events that nobody reads make room for newer ones after a while (`max_events`); a Gap stands in their place.
        """
        if self._ready:
            events = list(self._ready)
            self._ready.clear()
            return events
        return await self._session.unread.read()

    async def events(self) -> AsyncIterator[Event]:
        """Each event once and in order, to the end of the stream."""
        while events := await self.read():
            self._ready.extend(events)
            while self._ready:
                yield self._ready.popleft()

    async def drain(self) -> None:
        """Wait until every frame that was sent has come to its end."""
        await self._session.drain()

    async def finish(self) -> Summary:
        """Wait for the end of every frame, close the stream at the service, and let go; its account."""
        await self.drain()
        summary = await self._close_there()
        await self._session.finish(summary, within_s=_LAST_WORD_S)
        return summary

    async def close(self) -> None:
        """Let go of the connection; the stream stays open at the service. Events that have come can still be read."""
        await self._session.close()

    async def _close_there(self) -> Summary:
        return read(Summary, await self._calls.json("DELETE", f"/v1/streams/{self.stream_id}", is_repeatable=False))


async def _in_thread(call: Callable[[], T], *, stop: Callable[[], None] | None = None) -> T:
    """The call's value. A cancellation waits for it: what it works on must not be closed under its hands.

    `stop` makes the call return sooner.
    """
    work = asyncio.ensure_future(asyncio.to_thread(call))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        if stop is not None:
            stop()
        await asyncio.wait({work})
        raise
