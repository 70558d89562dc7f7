"""The same client without async: every call runs on one event loop in a thread of its own."""

import asyncio
import threading
from collections import deque
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from app.client.camera import Camera
from app.client.clip import Clip
from app.client.picture import Picture, encoded
from app.client.session import OnState, SessionLimits
from app.client.sightline import TIMEOUT_S, URL, AsyncSightline, StreamInfo
from app.client.stream import AsyncStream
from app.core.errors import InvalidRequestError
from app.core.result import Event, FrameResult, Summary
from app.policy.session import SessionState

T = TypeVar("T")


class LoopThread:
    """An event loop that runs in a thread until it is stopped."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="sightline-client", daemon=True)
        self._thread.start()

    @property
    def is_stopped(self) -> bool:
        """Whether nothing runs here any more."""
        return self._loop.is_closed()

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """What the coroutine returns or raises; a KeyboardInterrupt here cancels it."""
        if self._loop.is_closed():
            work.close()
            raise InvalidRequestError("this client is closed")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        """End the thread. Twice is once."""
        if self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


class Stream:
    """An open stream, see `AsyncStream`. Send in one thread and read in another."""

    def __init__(self, stream: AsyncStream, loop: LoopThread) -> None:
        self._stream = stream
        self._loop = loop
        self._ready: deque[Event] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._loop.wait(self._stream.__aexit__(kind, error, tb))

    def __iter__(self) -> Iterator[Event]:
        return self.events()

    @property
    def stream_id(self) -> str:
        """The service's name for it."""
        return self._stream.stream_id

    @property
    def state(self) -> SessionState:
        """Where the session stands: `streaming` while a connection does, `idle` when it is over."""
        return self._stream.state

    def send(
        self, picture: Picture, *, captured_at: float | None = None, metadata: Mapping[str, str] | None = None
    ) -> int:
        """Send one frame; its number. See `AsyncStream.send`."""
        return self._loop.wait(self._stream.send(encoded(picture), captured_at=captured_at, metadata=metadata))

    def send_all(self, pictures: Iterable[Picture]) -> int:
        """Send them one by one; how many there were."""
        return sum(self.send(picture) >= 0 for picture in pictures)

    def send_file(self, file: Path, *, is_realtime: bool = False) -> Clip:
        """Send every frame of a video file. See `AsyncStream.send_file`."""
        return self._loop.wait(self._stream.send_file(file, is_realtime=is_realtime))

    def send_camera(self, camera: Camera | int | str) -> Camera:
        """Send what a camera on this machine sees, until it is closed or breaks off. See `AsyncStream.send_camera`."""
        return self._loop.wait(self._stream.send_camera(camera))

    def events(self) -> Iterator[Event]:
        """Each event once and in order, to the end of the stream."""
        while events := self._loop.wait(self._stream.read()) if not self._ready else list(self._ready):
            self._ready = deque(events)
            while self._ready:
                yield self._ready.popleft()

    def drain(self) -> None:
        """Wait until every frame that was sent has come to its end."""
        self._loop.wait(self._stream.drain())

    def finish(self) -> Summary:
        """Wait for the end of every frame, close the stream at the service, and let go; its account."""
        return self._loop.wait(self._stream.finish())

    def close(self) -> None:
        """Let go of the connection; the stream stays open at the service. Events that have come can still be read."""
        self._loop.wait(self._stream.close())


class Sightline:
    """A client of the service at `url`; see `AsyncSightline`. Close it, or use it as a context manager."""

    def __init__(
        self,
        url: str = URL,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
        limits: SessionLimits | None = None,
    ) -> None:
        self._client = AsyncSightline(url, headers=headers, timeout_s=timeout_s, limits=limits)
        self._loop = LoopThread()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End every session, connection and thread; streams stay open at the service. Twice is once."""
        if not self._loop.is_stopped:
            self._loop.wait(self._client.close())
        self._loop.stop()

    def detect(self, picture: Picture, **query: str | float) -> FrameResult:
        """The objects in one picture. `query`: `conf`, `iou`, `classes`, `roi`, `tile`, as the HTTP call has them."""
        return self._loop.wait(self._client.detect(picture, **query))

    def streams(self) -> list[StreamInfo]:
        """The streams that are open at the service."""
        return self._loop.wait(self._client.streams())

    def show(self, stream_id: str) -> StreamInfo:
        """One stream; NotFoundError when there is none."""
        return self._loop.wait(self._client.show(stream_id))

    def open(self, *, on_state: OnState | None = None, **spec: Any) -> Stream:
        """Open a stream. See `AsyncSightline.open`; `on_state` is called in the client's thread."""
        return Stream(self._loop.wait(self._client.open(on_state=on_state, **spec)), self._loop)

    def create(self, **spec: Any) -> StreamInfo:
        """Open a stream as `open` does, and leave it alone."""
        return self._loop.wait(self._client.create(**spec))

    def attach(self, stream_id: str, *, on_state: OnState | None = None) -> Stream:
        """Go on sending into a stream that is open, after its newest frame; its events from now on."""
        return Stream(self._loop.wait(self._client.attach(stream_id, on_state=on_state)), self._loop)

    def watch(self, stream_id: str, *, since: int | None = None, on_state: OnState | None = None) -> Stream:
        """A stream's events after the result of frame `since`, by default from now on. See `AsyncSightline.watch`."""
        return Stream(self._loop.wait(self._client.watch(stream_id, since=since, on_state=on_state)), self._loop)

    def close_stream(self, stream_id: str) -> Summary:
        """Close a stream at the service, whoever opened it; its account."""
        return self._loop.wait(self._client.close_stream(stream_id))
