"""The live streams of one replica, by name."""

import secrets
import time

from app.core.errors import NotFoundError, OverloadedError, UnavailableError
from app.core.model import ModelSpec
from app.core.video import StreamSpec
from app.pipeline.chain import Chain
from app.pipeline.live_stream import LiveStream, StreamLimits


def new_stream_id() -> str:
    """128 random bits in hexadecimal."""
    return secrets.token_hex(16)


class Streams:
    """Opens, finds and closes streams; one without frames for `idle_s` makes room when another is opened."""

    def __init__(self, chain: Chain, *, model: ModelSpec, limits: StreamLimits) -> None:
        self._chain = chain
        self._model = model
        self._limits = limits
        self._streams: dict[str, LiveStream] = {}

    async def open(self, spec: StreamSpec) -> LiveStream:
        """A new stream; OverloadedError when as many are open as may be."""
        now_s = time.monotonic()
        for stream in self.all():
            if now_s - stream.touched_s > self._limits.idle_s:
                await self.close(stream.stream_id)
        if len(self._streams) >= self._limits.max_streams:
            raise OverloadedError("as many streams are open as may be")
        stream = LiveStream(new_stream_id(), spec, chain=self._chain, model=self._model, limits=self._limits)
        self._streams[stream.stream_id] = stream
        return stream

    def get(self, stream_id: str) -> LiveStream:
        """The open stream of that name, or NotFoundError."""
        try:
            return self._streams[stream_id]
        except KeyError:
            raise NotFoundError("there is no such stream here") from None

    def all(self) -> list[LiveStream]:
        """Every open stream, in the order of opening."""
        return list(self._streams.values())

    async def close(self, stream_id: str) -> LiveStream:
        """Close a stream: what is still in it ends as `unavailable`, its readers get the summary. NotFoundError."""
        stream = self.get(stream_id)
        del self._streams[stream_id]
        await stream.close(UnavailableError("the stream was closed"))
        return stream
