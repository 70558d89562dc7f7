"""The live streams as the ingress reaches them: each call goes to the replica that owns the stream, or is to own it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from ray.serve.handle import DeploymentHandle

from app.core.errors import MovedError, NotFoundError, OverloadedError, UnavailableError
from app.core.result import Summary
from app.core.wire import WireEvent
from app.pipeline.stream_host import EventBatch, Offer, Offered, Picture, StreamStatus
from app.pipeline.stream_spec import StreamSpec
from app.pipeline.stream_store import StreamStore
from app.pipeline.streams import new_stream_id
from deployments.faults import answer

T = TypeVar("T")
_PATIENCE_S = 30.0
"""How long a call waits for an owner; a killed replica is replaced within 5 to 15 seconds."""
_SILENCE_S = 5.0
"""How much longer than it was to wait an owner may take to say that there is nothing: then it is asked anew."""
_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.05, 0.5


class ServeStreams:
    """A StreamHost whose streams live in the replicas of `tracker`.

    Calls are made again when the owner is gone, which is safe: frames are captured once by their number. A frame
    without a number is given up instead, as nobody can say whether it was captured.
    """

    def __init__(self, tracker: DeploymentHandle[Any], store: StreamStore) -> None:
        self._tracker = tracker
        self._store = store

    async def open(self, spec: StreamSpec) -> StreamStatus:
        """A new stream; OverloadedError when as many are open as may be."""
        stream_id = new_stream_id()
        return await self._ask(stream_id, lambda owner: owner.open.remote(spec, stream_id=stream_id))

    async def show(self, stream_id: str) -> StreamStatus:
        """One stream."""
        return await self._ask(stream_id, lambda owner: owner.show.remote(stream_id))

    async def all(self) -> list[StreamStatus]:
        """Every open stream, in the order of opening."""
        names = await self._store.streams()
        found = await asyncio.gather(*map(self.show, names), return_exceptions=True)
        for outcome in found:
            if isinstance(outcome, BaseException) and not isinstance(outcome, (NotFoundError, OverloadedError)):
                raise outcome
        return [status for status in found if isinstance(status, StreamStatus)]

    async def patch(self, stream_id: str, spec: StreamSpec) -> StreamStatus:
        """Go on under another spec, of the same source."""
        return await self._ask(stream_id, lambda owner: owner.patch.remote(stream_id, spec))

    async def close(self, stream_id: str) -> Summary:
        """Close a stream: what is still in it ends as `unavailable`, its readers get the summary."""
        return await self._ask(stream_id, lambda owner: owner.close.remote(stream_id))

    async def offer(self, stream_id: str, frames: Sequence[Offer], *, after_seq: int = -1) -> Offered:
        """Capture frames, in this order, where `after_seq` is known; their ends come as events."""
        is_repeatable = all(frame.seq is not None for frame in frames)
        return await self._ask(
            stream_id,
            lambda owner: owner.offer.remote(stream_id, frames, after_seq=after_seq),
            is_repeatable=is_repeatable,
        )

    async def push(self, stream_id: str, frame: Offer) -> WireEvent:
        """Capture one frame and wait for its end. One that was captured before gets the end that it had."""
        return await self._ask(
            stream_id, lambda owner: owner.push.remote(stream_id, frame), is_repeatable=frame.seq is not None
        )

    async def position(self, stream_id: str, *, after_seq: int = -1, after_event: str | None = None) -> int:
        """Where to begin to read: right after that event where it is remembered, else after the end of that frame."""
        return await self._ask(
            stream_id, lambda owner: owner.position.remote(stream_id, after_seq=after_seq, after_event=after_event)
        )

    async def events(self, stream_id: str, *, position: int, wait_s: float) -> EventBatch:
        """What was told since `position`; waits up to `wait_s` seconds for something. Forgotten events: a Gap first."""
        return await self._ask(
            stream_id,
            lambda owner: owner.events.remote(stream_id, position=position, wait_s=wait_s),
            longest_s=wait_s + _SILENCE_S,
        )

    async def preview(self, stream_id: str, *, after_seq: int, wait_s: float) -> Picture | None:
        """The newest frame after `after_seq`, drawn; None when none comes within `wait_s` seconds."""
        return await self._ask(
            stream_id,
            lambda owner: owner.preview.remote(stream_id, after_seq=after_seq, wait_s=wait_s),
            longest_s=wait_s + _SILENCE_S,
        )

    async def _ask(
        self,
        stream_id: str,
        call: Callable[[DeploymentHandle[Any]], Awaitable[T]],
        *,
        is_repeatable: bool = True,
        longest_s: float | None = None,
    ) -> T:
        deadline_s, pause_s = time.monotonic() + _PATIENCE_S, _FIRST_PAUSE_S
        while True:
            try:
                async with asyncio.timeout(longest_s):
                    return await answer(call(self._tracker.options(session_id=stream_id)))
            except TimeoutError:  # neither an answer nor a death: a machine that was cut off, maybe
                if time.monotonic() > deadline_s:
                    raise UnavailableError("the stream's owner does not answer") from None
            except UnavailableError as error:
                # An owner that was told of its end has not told this frame, and never will.
                if not (is_repeatable or isinstance(error, MovedError)) or time.monotonic() > deadline_s:
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LAST_PAUSE_S)
