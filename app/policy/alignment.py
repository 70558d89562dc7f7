"""Frames of several streams that were captured at the same time, brought together without waiting for the silent."""

from bisect import insort
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from math import isfinite
from typing import Final, Generic, TypeVar

Item = TypeVar("Item")

MAX_ITEMS: Final = 1024
"""Frames that an aligner holds at most: 64 streams of 30 Hz for half a second."""

SILENT_LATENESSES: Final = 10
"""A stream silent for so many lateness bounds holds nobody up at all, not even by one bound a frame."""


class Release(StrEnum):
    """Why a group left: no live stream can add to it, the wait was over, too many frames wait, or nothing follows."""

    COMPLETE = "complete"
    LATENESS = "lateness"
    FULL = "full"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Aligned(Generic[Item]):
    """One frame with its capture time in seconds of our clock."""

    stream_id: str
    captured_at_s: float
    item: Item


@dataclass(frozen=True, slots=True)
class Group(Generic[Item]):
    """Frames of different streams, oldest first, whose capture times span at most half a frame interval."""

    frames: tuple[Aligned[Item], ...]
    reason: Release


@dataclass(frozen=True, slots=True)
class Late(Generic[Item]):
    """A frame captured before one that has left already: it comes back at once and alone."""

    frame: Aligned[Item]


class Aligner(Generic[Item]):
    """Groups frames of any number of streams by capture time. Every frame comes out once, in a `Group` or as `Late`.

    The oldest frame that waits opens a group; each stream adds its oldest frame captured at most half of `interval_s`
    seconds (> 0, the frame interval) later. It leaves when every other live stream has added to it or has shown a
    later frame: a stream's watermark is its newest capture time. No frame waits once it was captured `lateness_s`
    seconds (>= 0) ago, and a stream whose watermark lies `SILENT_LATENESSES` times that before now is no longer live
    until its next frame. At most `max_items` (>= 1) frames wait: the oldest group leaves first. The first frames of
    groups are in time order; frames of one stream leave in groups in the order of their capture times.

    No clock of its own: call `advance` when `lateness_s` may have passed without a push. Not thread-safe.

    Source: MISSION.md row 79; watermarks after Akidau et al., The Dataflow Model, VLDB 2015, section 2.3.
    """

    def __init__(self, *, interval_s: float, lateness_s: float, max_items: int = MAX_ITEMS) -> None:
        self._reach_s = interval_s / 2
        self._lateness_s = lateness_s
        self._max_items = max_items
        self._live: dict[str, float] = {}
        self._waiting: list[tuple[float, int, Aligned[Item]]] = []
        self._numbers = count()
        self._closed_s = float("-inf")

    def __len__(self) -> int:
        return len(self._waiting)

    def expect(self, stream_id: str, *, since_s: float) -> None:
        """Wait for this stream too, though nothing of it has come: what it captures from then on."""
        self._live.setdefault(stream_id, since_s)

    def push(self, stream_id: str, captured_at_s: float, item: Item, *, now_s: float) -> list[Group[Item] | Late[Item]]:
        """What leaves with this frame, oldest first; ValueError unless its capture time is finite and not after now.

        A capture time in the future would make all that others capture until then late.
        """
        if not isfinite(captured_at_s) or captured_at_s > now_s:
            raise ValueError("captured_at_s must be finite and not after now_s")
        frame = Aligned(stream_id, captured_at_s, item)
        self._live[stream_id] = max(captured_at_s, self._live.get(stream_id, captured_at_s))
        if captured_at_s < self._closed_s:
            return [Late(frame), *self.advance(now_s=now_s)]
        insort(self._waiting, (captured_at_s, next(self._numbers), frame))
        return self.advance(now_s=now_s)

    def advance(self, *, now_s: float) -> list[Group[Item] | Late[Item]]:
        """What leaves at this time, oldest first."""
        before_s = now_s - self._lateness_s
        silent_s = now_s - SILENT_LATENESSES * self._lateness_s
        self._live = {stream_id: mark_s for stream_id, mark_s in self._live.items() if mark_s > silent_s}
        released: list[Group[Item] | Late[Item]] = []
        while self._waiting:
            indices = self._oldest()
            reason = self._reason(indices, before_s=before_s)
            if reason is None:
                break
            released.append(self._release(indices, reason=reason))
        return released

    def end(self, stream_id: str, *, now_s: float) -> list[Group[Item] | Late[Item]]:
        """Wait for this stream no longer, and what leaves thereby; its own frames stay in their order."""
        self._live.pop(stream_id, None)
        return self.advance(now_s=now_s)

    def flush(self) -> list[Group[Item]]:
        """All that waits, oldest first."""
        released = []
        while self._waiting:
            released.append(self._release(self._oldest(), reason=Release.ENDED))
        return released

    def _oldest(self) -> list[int]:
        """The places of the oldest group among the waiting."""
        first_of: dict[str, int] = {}
        end_s = self._waiting[0][0] + self._reach_s
        for index, (captured_at_s, _, frame) in enumerate(self._waiting):
            if captured_at_s > end_s:
                break
            first_of.setdefault(frame.stream_id, index)
        return list(first_of.values())

    def _reason(self, indices: list[int], *, before_s: float) -> Release | None:
        """Why that group may leave; None while it must wait."""
        begin_s = self._waiting[0][0]
        added = {self._waiting[index][2].stream_id for index in indices}
        if all(mark_s > begin_s + self._reach_s for name, mark_s in self._live.items() if name not in added):
            return Release.COMPLETE
        if begin_s <= before_s:
            return Release.LATENESS
        return Release.FULL if len(self._waiting) > self._max_items else None

    def _release(self, indices: list[int], *, reason: Release) -> Group[Item]:
        frames = tuple(self._waiting[index][2] for index in indices)
        for index in reversed(indices):
            del self._waiting[index]
        self._closed_s = max(self._closed_s, frames[-1].captured_at_s)
        return Group(frames, reason)
