"""Tracks that cross a directed line, each way and by class, with a dead band against jitter."""

from dataclasses import dataclass
from math import isnan
from typing import Any, Final

import numpy as np

from app.analytics.anchors import Anchors
from app.analytics.events import LineCrossed
from app.analytics.geometry import Segment, crossing_shares, signed_distances
from app.analytics.snapshot import counts, plain, records, table
from app.core.errors import InvalidParameterError
from app.core.result import Direction

DEFAULT_BAND: Final = 0.1
"""Of a box's height: 17 cm on a person of 1.7 m. An estimate, not yet measured on pictures: taken as a few times what
the lower edge of the box of a standing object wanders, and small enough that who steps over a line leaves the band."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line to count at. Within `band` (in [0, 1)) box heights of it, on either side, a track is on no side at all.

    InvalidParameterError for an empty name and a band out of range.
    """

    name: str
    segment: Segment
    band: float = DEFAULT_BAND

    def __post_init__(self) -> None:
        if not self.name or not 0 <= self.band < 1:
            raise InvalidParameterError("a line must have a name and a band in [0, 1)")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Clear:
    """Where a track last stood clear of the band, and on which side."""

    track_id: int
    x_px: float
    y_px: float
    at_s: float
    is_right: bool


class LineCounter:
    """Crossings of one line in one stream. Not thread-safe.

    A track counts when it stands clear of the band on one side after it last stood clear on the other, however long
    it was on the line or unseen in between. The straight way between these two points has to meet the segment (its
    ends belong to it); where it passes beside the segment, the track has changed sides and nothing is counted.
    `counts[direction][label]` are the totals.
    """

    def __init__(self, line: Line) -> None:
        self.line = line
        self.counts: dict[Direction, dict[str, int]] = {direction: {} for direction in Direction}
        self._clear: dict[int, _Clear] = {}

    def update(self, seen: Anchors) -> list[LineCrossed]:
        """The crossings that this frame makes certain, by rising track id; frames come in order of `at_s`."""
        width_px, height_px = seen.size_px
        segment = self.line.segment.in_pixels(width_px=width_px, height_px=height_px)
        distance_px = signed_distances(seen.xy, segment)
        crossed = []
        for row in np.flatnonzero(np.abs(distance_px) > self.line.band * seen.height_px).tolist():
            x_px, y_px = seen.xy[row].tolist()
            track_id, is_right = int(seen.track_id[row]), bool(distance_px[row] > 0)
            now = _Clear(track_id=track_id, x_px=x_px, y_px=y_px, at_s=seen.at_s, is_right=is_right)
            before = self._clear.get(track_id)
            self._clear[track_id] = now
            if before is None or before.is_right == is_right:
                continue
            path = np.array([[[before.x_px, before.y_px], [x_px, y_px]]])
            share = float(crossing_shares(path, segment[None])[0, 0])
            if not isnan(share):
                at_s = before.at_s + share * (seen.at_s - before.at_s)
                crossed.append(self._count(seen, row, at_s=at_s, is_right=is_right))
        return crossed

    def forget(self, track_ids: set[int]) -> None:
        """Drop what is known of these tracks; the totals stay."""
        for track_id in track_ids:
            self._clear.pop(track_id, None)

    def snapshot(self) -> dict[str, Any]:
        """The state as plain JSON values."""
        totals = {direction.value: dict(by_label) for direction, by_label in self.counts.items()}
        return {"counts": totals, "tracks": [plain(clear) for clear in self._clear.values()]}

    @classmethod
    def restored(cls, line: Line, state: object) -> tuple["LineCounter", set[int]]:
        """The counter that goes on from a snapshot, and the tracks it knows; SnapshotError if malformed."""
        found = table(state, ["counts", "tracks"])
        totals = table(found["counts"], [direction.value for direction in Direction])
        counter = cls(line)
        counter.counts = {direction: counts(totals[direction.value]) for direction in Direction}
        counter._clear = records(_Clear, found["tracks"])
        return counter, set(counter._clear)

    def _count(self, seen: Anchors, row: int, *, at_s: float, is_right: bool) -> LineCrossed:
        direction, label = Direction.FORWARD if is_right else Direction.BACKWARD, seen.label[row]
        self.counts[direction][label] = self.counts[direction].get(label, 0) + 1
        track_id = int(seen.track_id[row])
        return LineCrossed(
            ref=seen.ref, line=self.line.name, track_id=track_id, label=label, at_s=at_s, direction=direction
        )
