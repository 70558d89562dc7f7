"""What a stream has told lately, so that any reader can go on from where it was."""

import asyncio
from collections import deque
from collections.abc import Sequence
from itertools import islice

from app.contract.events import wire
from app.core.errors import InvalidParameterError
from app.core.result import Gap
from app.core.wire import WireEvent

_SEQ_BITS = 64
_MAX_SEQ = (1 << _SEQ_BITS) - 2
_READ_AT_ONCE = 64
"""Events: who comes late gets the history in parts, so that a reader who stalls holds one part and not all of it."""
_PART_PAUSE_S = 0.05
"""Before each whole part: who reads the history gives way to those who are told of what is new."""
_FORGED = "not the id of an event of this stream"


class EventLog:
    """The last `history` events of one stream, in the order of telling. All calls happen on one event loop.

    A position is an opaque number: it holds the place in the log and the frame told last before it, so that a reader
    who comes too late is told which frames it has missed.
    """

    def __init__(self, stream_id: str, *, history: int, events: Sequence[WireEvent] = (), begin: int = 0) -> None:
        self._stream_id = stream_id
        self._events: deque[WireEvent] = deque(events, maxlen=history)
        self._begin = begin + len(events) - len(self._events)  # the place of the oldest event
        self._forgotten_seq = self._events[0].seq - 1 if self._begin and self._events else -1
        self._told = asyncio.Event()

    @property
    def end(self) -> int:
        """The place of the event that will be told next."""
        return self._begin + len(self._events)

    def since(self, place: int) -> list[WireEvent]:
        """The remembered events from that place on."""
        return list(islice(self._events, max(0, place - self._begin), None))

    def append(self, events: Sequence[WireEvent]) -> None:
        """Tell events; readers that wait are woken."""
        for event in events:
            if len(self._events) == self._events.maxlen:
                self._begin += 1
                self._forgotten_seq = self._events[0].seq
            self._events.append(event)
        self.wake()

    def wake(self) -> None:
        """Let readers that wait look again."""
        self._told.set()
        self._told = asyncio.Event()

    def end_of(self, seq: int) -> WireEvent | None:
        """The result of that frame, if it is remembered."""
        return next((event for event in self._events if event.seq == seq and event.kind == "FrameResult"), None)

    def position(self, *, after_seq: int = -1, after_event: str | None = None) -> int:
        """Right after that event; where it is not remembered, or none is given, after the result of that frame.

        InvalidParameterError for what cannot be the id of an event of this stream.
        """
        if after_event is not None:
            for index, event in enumerate(self._events):
                if event.event_id == after_event:
                    return self._packed(self._begin + index + 1, event.seq)
            after_seq = self._seq_of(after_event)
        if after_seq < self._forgotten_seq:
            return self._packed(self._begin - 1, after_seq)
        ahead = [_is_told(event, after_seq=after_seq) for event in self._events]
        place = len(ahead) - ahead[::-1].index(True) if True in ahead else 0
        return self._packed(self._begin + place, min(after_seq, self._events[-1].seq if self._events else -1))

    async def read(self, position: int, *, wait_s: float) -> tuple[tuple[WireEvent, ...], int]:
        """The events since `position` and where to read on; waits up to `wait_s` seconds for the first."""
        place, after_seq = position >> _SEQ_BITS, (position & ((1 << _SEQ_BITS) - 1)) - 1
        if not self._events or place >= self.end:
            told = self._told
            try:
                async with asyncio.timeout(wait_s):
                    await told.wait()
            except TimeoutError:
                return (), position
        if self.end - max(place, self._begin) >= _READ_AT_ONCE:
            await asyncio.sleep(_PART_PAUSE_S)
        events = self.since(place)[:_READ_AT_ONCE]
        if not events:
            return (), position
        gap = [self._gap(after_seq, events[0])] if place < self._begin else []
        return (*gap, *events), self._packed(max(place, self._begin) + len(events), events[-1].seq)

    def is_read(self, position: int) -> bool:
        """Whether nothing was told after that position."""
        return position >> _SEQ_BITS >= self.end

    def _packed(self, place: int, seq: int) -> int:
        return (max(0, place) << _SEQ_BITS) | (min(seq, _MAX_SEQ) + 1)

    def _gap(self, after_seq: int, first: WireEvent) -> WireEvent:
        epoch = int(first.event_id.split(":", 2)[1])
        gap = Gap(
            stream_id=self._stream_id,
            epoch=epoch,
            event_id=f"{self._stream_id}:{epoch}:gap:{first.seq - 1}",
            after_seq=after_seq,
            next_seq=first.seq,
            reason="history",
        )
        return wire(gap)

    def _seq_of(self, event_id: str) -> int:
        """The last frame that who knows this event has surely the result of."""
        owner, _, rest = event_id.partition(":")
        match owner == self._stream_id, rest.split(":"):
            case True, [epoch, seq] | [epoch, "gap", seq] if _is_number(epoch) and _is_number(seq):
                return int(seq)
            case True, [epoch, seq, index] if _is_number(epoch) and _is_number(seq) and _is_number(index):
                return int(seq) - 1
            case True, [epoch, "state", index] if _is_number(epoch) and _is_number(index):
                return -1
        raise InvalidParameterError(f"Last-Event-ID: {_FORGED}")


def _is_told(event: WireEvent, *, after_seq: int) -> bool:
    """Whether a reader that has the result of frame `after_seq` has this event too."""
    return event.seq < after_seq or (event.seq == after_seq and event.kind == "FrameResult")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= len(str(1 << 63))
