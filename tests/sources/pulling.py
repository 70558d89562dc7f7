"""A sink that remembers what a pulled stream told it, lets a test await it, and checks that nothing went missing."""

import asyncio
import functools
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from app.core.model import ModelSpec
from app.core.video import VideoSpec
from app.media.pull.messages import Reason
from app.media.pull.parameters import PullParameters
from app.media.pull.source_url import source_of
from app.pipeline.pulled_stream import FramesLost, Pulled, PulledFrame, PulledStream, StateChanged
from app.policy.reconnect import POLICIES, Backoff, ReconnectPolicy
from app.policy.session import SessionState
from load_tests.camfarm import Camera, Scene, barcode
from load_tests.camfarm.clip import Clip, make_clip
from load_tests.camfarm.rtsp_server import RtspServer
from tests.builders import make_spec

MODEL: ModelSpec = make_spec(size_px=320)
FAST = POLICIES[Backoff.FAST]


@dataclass
class Told:
    """Everything in the order it was told; `until` waits for it."""

    items: list[Pulled] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    on_item: Callable[[Pulled], None] = lambda _item: None

    def __call__(self, item: Pulled) -> None:
        self.items.append(item)
        self.on_item(item)
        self.changed.set()

    async def until(self, is_enough: Callable[["Told"], object], *, within_s: float = 20.0) -> None:
        async with asyncio.timeout(within_s):
            while not is_enough(self):
                self.changed.clear()
                await self.changed.wait()

    @property
    def frames(self) -> list[PulledFrame]:
        return [item for item in self.items if isinstance(item, PulledFrame)]

    @property
    def states(self) -> list[tuple[SessionState, Reason | None]]:
        return [(item.state, item.reason) for item in self.items if isinstance(item, StateChanged)]

    @property
    def lost(self) -> list[FramesLost]:
        return [item for item in self.items if isinstance(item, FramesLost)]

    def after(self, state: SessionState) -> list[PulledFrame]:
        """The frames since the session was last in that state."""
        last = max(index for index, item in enumerate(self.items) if getattr(item, "state", None) is state)
        return [item for item in self.items[last:] if isinstance(item, PulledFrame)]


def numbers(items: Sequence[Pulled]) -> list[int]:
    """The numbers in the frames' barcodes."""
    return [barcode.decode(item.rgb)[1] for item in items if isinstance(item, PulledFrame)]


def check_nothing_is_missing(items: Sequence[Pulled], *, first: int, cycle: int) -> None:
    """On one connection, from picture `first` of a clip played in a circle: what is not there was told to be lost."""
    expected = first
    for item in items:
        if isinstance(item, FramesLost):
            assert item.count is not None
            expected += item.count
        if isinstance(item, PulledFrame):
            (number,) = numbers([item])
            assert number == expected % cycle
            expected += 1


def from_first_frame(items: Sequence[Pulled]) -> list[Pulled]:
    """What was told from the first frame on."""
    return list(itertools.dropwhile(lambda item: not isinstance(item, PulledFrame), items))


def pulled(
    url: str, told: Told, *, policy: ReconnectPolicy = FAST, video: VideoSpec | None = None, **options: Any
) -> PulledStream:
    """A stream of a loopback source, which is allowed; `options` are those of the stream, else parameters."""
    own = {name: options.pop(name) for name in ("jitter", "limits", "model") if name in options}
    host = url.partition("//")[2].partition("/")[0].rpartition("@")[2]
    settings = {"allowed_hosts": (host,) if host else (), "allow_private": True, **options}
    parameters = PullParameters(**settings)
    return PulledStream(
        source_of(url, parameters),
        policy=policy,
        video=video or VideoSpec(),
        parameters=parameters,
        sink=told,
        **{"model": MODEL, **own},
    )


@functools.cache
def street(*, width_px: int = 320, height_px: int = 180, fps: float = 60.0, frames: int = 60, stream: int = 3) -> Clip:
    """A clip of a camera, made once; a group of pictures is 30 of them."""
    camera = Camera(width_px=width_px, height_px=height_px, fps=fps, stream=stream)
    return make_clip(Scene(seed=7), camera, frames=frames, group=30)


@contextmanager
def in_a_thread(server: RtspServer) -> Iterator[RtspServer]:
    """The server on an event loop of its own, so that it goes on when the test's is held up."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result(10)
        yield server
        asyncio.run_coroutine_threadsafe(server.__aexit__(None, None, None), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@asynccontextmanager
async def running(url: str, **options: Any) -> AsyncIterator[tuple[PulledStream, Told]]:
    """A stream that was started, and what it tells; stopped in the end."""
    told = Told()
    stream = pulled(url, told, **options)
    stream.start()
    try:
        yield stream, told
    finally:
        await stream.stop()


def frames(count: int) -> Any:
    return lambda told: len(told.frames) >= count


def failed(reason: Reason, times: int = 1) -> Any:
    return lambda told: [why for _, why in told.states].count(reason) >= times
