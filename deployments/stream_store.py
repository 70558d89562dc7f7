"""The streams' store that every replica of the cluster shares."""

import contextlib
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import fields
from typing import Final

from app.core.errors import MovedError
from app.core.wire import WireEvent
from app.pipeline.stream_spec import StreamSpec
from app.pipeline.stream_spec_json import spec_of, spec_text
from app.pipeline.stream_store import Claim, StreamState
from deployments.cluster_records import ClusterRecords
from deployments.named_actor import NamedActor
from deployments.stream_book import ClaimRow, StreamBook

_NAMESPACE: Final = "sightline-streams"
_NAME: Final = "book"
_WATCH_S: Final = 1.0


class RayStreamStore:
    """A StreamStore in one actor that outlives the application, and in the cluster's own store what outlives it.

    Calls raise UnavailableError while the actor is away; Ray starts it again. A `save` that failed so may be made again
    as it was: the events stand in the log once. To be used on one event loop.
    """

    def __init__(self, *, history: int = 1024, namespace: str = _NAMESPACE) -> None:
        self._book = NamedActor(
            BookActor, namespace, history, name=_NAME, namespace=namespace, what="the streams' store"
        )
        self._ends: dict[str, tuple[int, int]] = {}  # by stream: the term claimed here, the position after its events

    async def create(self, stream_id: str, spec: StreamSpec) -> Claim:
        """A new stream with its first claim; ConflictError when there is one of that name."""
        text = spec_text(spec)
        return self._claimed(stream_id, await self._book.ask(lambda book: book.create.remote(stream_id, spec=text)))

    async def claim(self, stream_id: str) -> Claim:
        """Take a stream over; NotFoundError when there is none of that name."""
        row: ClaimRow = await self._book.ask(lambda book: book.claim.remote(stream_id))
        try:
            return self._claimed(stream_id, row)
        except TypeError:  # another version of the code has saved other fields: what it says is lost on us
            row = await self._book.ask(lambda book: book.claim.remote(stream_id, is_anew=True))
            return self._claimed(stream_id, row)

    async def save(self, stream_id: str, *, term: int, state: StreamState, events: Sequence[WireEvent]) -> None:
        """Replace the state and append the events; MovedError when the term is no longer the newest."""
        claimed, end = self._ends.get(stream_id, (0, 0))
        if term != claimed:
            raise MovedError
        plain = {field.name: getattr(state, field.name) for field in fields(state)}
        rows = tuple((event.event_id, event.kind, event.seq, event.body) for event in events)
        try:
            await self._book.ask(
                lambda book: book.save.remote(stream_id, term=term, state=plain, events=rows, position=end)
            )
        except MovedError:
            self._follow(stream_id, (term, end), None)
            raise
        self._follow(stream_id, (term, end), (term, end + len(rows)))

    async def respecify(self, stream_id: str, *, term: int, spec: StreamSpec) -> None:
        """Replace the spec; MovedError when the term is no longer the newest."""
        text = spec_text(spec)
        await self._book.ask(lambda book: book.respecify.remote(stream_id, term=term, spec=text))

    async def remove(self, stream_id: str, *, term: int) -> None:
        """Forget the stream; MovedError when the term is no longer the newest."""
        await self._book.ask(lambda book: book.remove.remote(stream_id, term=term))
        self._ends.pop(stream_id, None)

    async def streams(self) -> dict[str, StreamSpec]:
        """Every stream by name, in the order of opening."""
        texts: dict[str, str] = await self._book.ask(lambda book: book.streams.remote())
        return {stream_id: spec_of(text) for stream_id, text in texts.items()}

    async def secret(self) -> bytes:
        """32 random bytes, the same for everybody who asks."""
        return bytes(await self._book.ask(lambda book: book.secret.remote()))

    def _follow(self, stream_id: str, before: tuple[int, int], after: tuple[int, int] | None) -> None:
        """Know what a save has led to, unless the stream was claimed anew in this very process meanwhile."""
        if self._ends.get(stream_id) == before:
            if after is None:
                del self._ends[stream_id]
            else:
                self._ends[stream_id] = after

    def _claimed(self, stream_id: str, row: ClaimRow) -> Claim:
        """TypeError when the state has other fields than ours."""
        claim = Claim(
            term=row["term"],
            epoch=row["epoch"],
            spec=spec_of(row["spec"]),
            state=None if row["state"] is None else StreamState(**row["state"]),
            events=tuple(
                WireEvent(event_id=event_id, kind=kind, seq=seq, body=body)
                for event_id, kind, seq, body in row["events"]
            ),
            position=row["position"],
        )
        self._ends[stream_id] = claim.term, claim.position + len(claim.events)
        return claim


class BookActor(StreamBook):
    """A StreamBook as a process of its own, which ends when another one has been opened.

    Ray starts a second one where it has lost sight of this, on a node that was cut off and came back, say.
    """

    def __init__(self, namespace: str, history: int) -> None:
        super().__init__(ClusterRecords(namespace), history)
        self.open()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            time.sleep(_WATCH_S)
            with contextlib.suppress(Exception):  # GCS is away: nobody can open another one either
                if not self.is_in_charge():
                    os._exit(1)
