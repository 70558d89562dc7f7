"""`/v1/moments`: the results of several streams that were captured at the same time, together."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Request, Response
from pydantic import Field
from starlette.responses import StreamingResponse

from app.api.contract import NDJSON
from app.api.parameters import Parameters
from app.api.tenancy import client_of
from app.core.errors import InvalidParameterError, NotFoundError
from app.core.wire import WireEvent
from app.pipeline.stream_host import StreamHost
from app.policy.alignment import Aligner, Group, Late

MAX_STREAMS: Final = 64
_NEWEST: Final = 2**63 - 1
_WAIT_S: Final = 10.0
_TICKS: Final = 4
"""How often within the lateness bound is looked whether something has waited for long enough."""


class MomentParameters(Parameters):
    """Of `/v1/moments`."""

    streams: Annotated[str, Field(min_length=1, max_length=4000, description="ids of two or more, with commas between")]
    fps: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False, description="frames a second of the fastest")] = 30
    lateness_s: Annotated[
        float, Field(gt=0, le=60, allow_inf_nan=False, description="how long a result is waited for after its capture")
    ] = 2.0

    def names(self) -> list[str]:
        """The streams, each once."""
        names = list(dict.fromkeys(name.strip() for name in self.streams.split(",") if name.strip()))
        if not 1 < len(names) <= MAX_STREAMS:
            raise InvalidParameterError(f"streams: 2 to {MAX_STREAMS} ids")
        return names


def router() -> APIRouter:
    """The route over the streams of whoever asks."""
    routes = APIRouter()

    @routes.get(
        "/v1/moments",
        summary="Results of several streams, aligned by capture time",
        response_class=StreamingResponse,
        openapi_extra=MomentParameters.openapi(),
    )
    async def moments(request: Request) -> Response:
        """NDJSON from now on: a line for each moment, whose frames lie at most half a frame interval apart.

        `reason` says whether every live stream has its frame in it (`complete`) or the wait was over (`lateness`). A
        result that comes after its moment is told alone, with reason `late`.
        """
        given, host = MomentParameters.read(request), client_of(request).host
        starts = {name: await host.position(name, after_seq=_NEWEST) for name in given.names()}
        lines = _Merge(host, starts, given).lines()
        return StreamingResponse(lines, media_type=NDJSON, headers={"cache-control": "no-store"})

    return routes


class _Merge:
    """One reader's way through several logs at once."""

    def __init__(self, host: StreamHost, starts: dict[str, int], given: MomentParameters) -> None:
        self._host = host
        self._starts = starts
        self._lateness_s = given.lateness_s
        self._aligner: Aligner[dict[str, Any]] = Aligner(interval_s=1 / given.fps, lateness_s=given.lateness_s)
        self._arrived: asyncio.Queue[tuple[str, Sequence[WireEvent] | None]] = asyncio.Queue(maxsize=MAX_STREAMS)
        self._newest_s = self._newest_at_s = float("-inf")

    async def lines(self) -> AsyncIterator[bytes]:
        """A line a moment, until every stream is closed."""
        readers = [asyncio.create_task(self._read(name, start)) for name, start in self._starts.items()]
        left = len(readers)
        try:
            while left:
                released: list[Group[dict[str, Any]] | Late[dict[str, Any]]] = []
                try:
                    async with asyncio.timeout(self._lateness_s / _TICKS):
                        name, events = await self._arrived.get()
                except TimeoutError:
                    released += self._aligner.advance(now_s=self._now_s())
                else:
                    left -= events is None
                    released += self._taken(name, events)
                for moment in released:
                    yield _line(moment)
            for moment in self._aligner.flush():
                yield _line(moment)
        finally:
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)

    async def _read(self, name: str, position: int) -> None:
        try:
            while True:
                batch = await self._host.events(name, position=position, wait_s=_WAIT_S)
                position = batch.position
                await self._arrived.put((name, batch.events))
                if batch.is_closed:
                    break
        except NotFoundError:
            pass
        await self._arrived.put((name, None))

    def _taken(
        self, name: str, events: Sequence[WireEvent] | None
    ) -> list[Group[dict[str, Any]] | Late[dict[str, Any]]]:
        if events is None:
            return self._aligner.end(name, now_s=self._now_s())
        released = []
        for event in events:
            result = json.loads(event.body) if event.kind == "FrameResult" else {}
            if "captured_at" in result:
                at_s = datetime.fromisoformat(result["captured_at"]).timestamp()
                if self._newest_s == float("-inf"):
                    for other in self._starts:
                        self._aligner.expect(other, since_s=at_s)
                if at_s > self._newest_s:
                    self._newest_s, self._newest_at_s = at_s, time.monotonic()
                released += self._aligner.push(name, at_s, result, now_s=self._now_s())
        return released

    def _now_s(self) -> float:
        """Now on the scale of capture times: recordings may be played, and clocks may be wrong, as long as all are."""
        return self._newest_s + max(0.0, time.monotonic() - self._newest_at_s)


def _line(moment: Group[dict[str, Any]] | Late[dict[str, Any]]) -> bytes:
    frames = moment.frames if isinstance(moment, Group) else (moment.frame,)
    reason = moment.reason.value if isinstance(moment, Group) else "late"
    results = [frame.item for frame in frames]
    told = {"schema": "sightline.v1.Moment", "captured_at": results[0]["captured_at"], "reason": reason}
    return json.dumps({**told, "results": results}, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
