"""Events that have come and were not read yet: bounded, in order, and never lost without a word."""

import asyncio
from collections import deque

from app.core.errors import SightlineError
from app.core.result import Event, FrameResult, Gap


class Unread:
    """Events between a connection and their reader. One event loop, one reader.

    Beyond `max_events` the oldest make room, up to and with the next result, and the reader gets a Gap in their place.
    Who would rather wait than lose any asks for `room` first.
    """

    def __init__(self, *, max_events: int) -> None:
        self._max_events = max_events
        self._events: deque[Event] = deque()
        self._read_seq = -1
        self._missed: FrameResult | None = None
        self._changed = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._is_over = False
        self._error: SightlineError | None = None

    def put(self, event: Event) -> None:
        """Keep an event for the reader."""
        self._events.append(event)
        if len(self._events) > self._max_events:
            self._make_room()
        self._wake()

    def end(self, error: SightlineError | None = None) -> None:
        """Nothing more will come; the reader gets `error` after the last event."""
        self._is_over = True
        self._error = self._error or error
        self._wake()

    async def room(self) -> None:
        """Wait until an event can be put without losing one."""
        await self._has_room.wait()

    async def read(self) -> list[Event]:
        """All that is there, at least one event; empty at the end. Raises what ended it."""
        while not self._events and not self._is_over:
            self._changed.clear()
            await self._changed.wait()
        if not self._events and self._error is not None:
            raise self._error
        events = [*self._gap(), *self._events]
        self._events.clear()
        results = (event for event in reversed(events) if isinstance(event, FrameResult))
        self._read_seq = next((result.seq for result in results), self._read_seq)
        self._wake()
        return events

    def _wake(self) -> None:
        self._changed.set()
        if len(self._events) < self._max_events or self._is_over:
            self._has_room.set()
        else:
            self._has_room.clear()

    def _make_room(self) -> None:
        """Without any result there is nothing that a gap could stand for, and everything stays."""
        place = next((place for place, event in enumerate(self._events) if isinstance(event, FrameResult)), -1)
        for _ in range(place + 1):
            gone = self._events.popleft()
            self._missed = gone if isinstance(gone, FrameResult) else self._missed

    def _gap(self) -> list[Gap]:
        missed, self._missed = self._missed, None
        if missed is None:
            return []
        return [
            Gap(
                stream_id=missed.stream_id,
                epoch=missed.epoch,
                event_id=f"{missed.stream_id}:{missed.epoch}:gap:{missed.seq}",
                after_seq=min(self._read_seq, missed.seq),
                next_seq=missed.seq + 1,
                reason="history",
            )
        ]
