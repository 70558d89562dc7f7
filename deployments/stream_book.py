"""The book that the streams' owners write in: states and events in memory, terms and specs in the cluster's records.

It knows none of our types. What it keeps are texts and plain values, so that replicas of two versions of the code can
use one book while one takes the other's place.
"""

import asyncio
import secrets
import time
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias, TypedDict

from app.core.errors import ConflictError, MovedError, NotFoundError
from deployments.cluster_records import ClusterRecords, Term

_EPOCH_EVENTS: Final = 1 << 32
"""Positions set aside for an epoch that begins without the one before it: above all that were ever told."""
EventRow: TypeAlias = tuple[str, str, int, bytes]
"""A WireEvent's id, kind, frame and body."""


class ClaimRow(TypedDict):
    """A Claim of plain values; `spec` is JSON."""

    term: int
    epoch: int
    spec: str
    state: dict[str, Any] | None
    events: tuple[EventRow, ...]
    position: int


@dataclass(slots=True, kw_only=True)
class _Kept:
    """One stream; `end` is the position after the last event."""

    newest: Term
    events: deque[EventRow]
    end: int = 0
    state: dict[str, Any] | None = None

    def begin(self, *, position: int) -> None:
        """Remember nothing from before this position."""
        self.events.clear()
        self.end = position

    def write(self, events: tuple[EventRow, ...], *, position: int) -> None:
        """Have these events at `position` and nothing behind them: the same again changes nothing."""
        written_again = self.end - position
        if not 0 <= written_again <= len(self.events):
            self.begin(position=position)  # the rest was lost with the book before this one
            written_again = 0
        for _ in range(written_again):
            self.events.pop()
        self.events.extend(events)
        self.end = position + len(events)


@dataclass(slots=True)
class StreamBook:
    """The streams' store behind RayStreamStore, `history` events a stream; all calls on one event loop.

    A book that follows a lost one knows terms, epochs and specs. States come back with the next `save` of each owner; a
    claim that comes before it begins an epoch. The term decides between two books that are alive at once.
    """

    records: ClusterRecords
    history: int
    name: str = field(default_factory=lambda: secrets.token_hex(8))
    _streams: dict[str, _Kept] = field(default_factory=dict)
    _recording: asyncio.Lock = field(default_factory=asyncio.Lock)

    def open(self) -> None:
        """Take charge and read what is recorded; blocks."""
        self.records.register(self.name)
        self._streams = {name: self._blank(term) for name, term in self.records.streams().items()}

    def is_in_charge(self) -> bool:
        """Whether no other book has been opened since; blocks."""
        return self.records.registered() == self.name

    async def create(self, stream_id: str, *, spec: str) -> ClaimRow:
        """A new stream with its first claim; ConflictError when there is one of that name."""
        async with self._recording:
            first = Term(term=1, epoch=0, spec=spec, opened_ns=time.time_ns())
            if not await asyncio.to_thread(self.records.take, stream_id, first):
                raise ConflictError("there is a stream of that name")
            kept = self._streams[stream_id] = self._blank(first)
            return _claimed(kept)

    async def claim(self, stream_id: str, *, is_anew: bool = False) -> ClaimRow:
        """Take a stream over, `is_anew` without its state; NotFoundError when there is none of that name."""
        async with self._recording:
            kept = self._streams.get(stream_id) or await self._reread(stream_id)
            while True:
                keeps_epoch = kept.state is not None and not is_anew
                newest = replace(
                    kept.newest, term=kept.newest.term + 1, epoch=kept.newest.epoch + (0 if keeps_epoch else 1)
                )
                if await asyncio.to_thread(self.records.take, stream_id, newest):
                    break
                kept = await self._reread(stream_id)
            kept.newest = newest
            if not keeps_epoch:
                kept.state = None
                kept.begin(position=newest.epoch * _EPOCH_EVENTS)
            return _claimed(kept)

    async def save(
        self, stream_id: str, *, term: int, state: dict[str, Any], events: tuple[EventRow, ...], position: int
    ) -> None:
        """Replace the state and have the events at `position`; MovedError under another term.

        The same call again changes nothing. An epoch that the owner began is recorded before it is saved.
        """
        kept = self._owned(stream_id, term=term)
        if state["epoch"] > kept.newest.epoch:
            kept = await self._rewrite(stream_id, term=term, epoch=state["epoch"])
        kept.write(events, position=position)
        kept.state = state

    async def respecify(self, stream_id: str, *, term: int, spec: str) -> None:
        """Replace the spec; MovedError under another term."""
        await self._rewrite(stream_id, term=term, spec=spec)

    async def remove(self, stream_id: str, *, term: int) -> None:
        """Forget the stream; MovedError under another term."""
        async with self._recording:
            self._owned(stream_id, term=term)
            if not await asyncio.to_thread(self.records.remove, stream_id, term=term):
                raise MovedError
            del self._streams[stream_id]

    async def streams(self) -> dict[str, str]:
        """The spec of every stream, in the order of opening."""
        return {stream_id: kept.newest.spec for stream_id, kept in self._streams.items()}

    async def secret(self) -> bytes:
        """32 random bytes, the same for everybody who asks, for ever."""
        return await asyncio.to_thread(self.records.secret)

    async def _rewrite(self, stream_id: str, *, term: int, **changes: Any) -> _Kept:
        async with self._recording:
            kept = self._owned(stream_id, term=term)
            newest = replace(kept.newest, **changes)
            if not await asyncio.to_thread(self.records.rewrite, stream_id, newest):
                raise MovedError
            kept.newest = newest
            return kept

    def _owned(self, stream_id: str, *, term: int) -> _Kept:
        kept = self._streams.get(stream_id)
        if kept is None or term != kept.newest.term:
            raise MovedError
        return kept

    async def _reread(self, stream_id: str) -> _Kept:
        """The stream as the records have it, without state: what another book gave away we know nothing of."""
        newest = await asyncio.to_thread(self.records.newest, stream_id)
        if newest is None:
            self._streams.pop(stream_id, None)
            raise NotFoundError("there is no such stream")
        kept = self._streams[stream_id] = self._blank(newest)
        return kept

    def _blank(self, newest: Term) -> _Kept:
        return _Kept(newest=newest, events=deque(maxlen=self.history))


def _claimed(kept: _Kept) -> ClaimRow:
    return ClaimRow(
        term=kept.newest.term,
        epoch=kept.newest.epoch,
        spec=kept.newest.spec,
        state=kept.state,
        events=tuple(kept.events),
        position=kept.end - len(kept.events),
    )
