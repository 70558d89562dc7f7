"""All lines and zones of one stream: which tracks are remembered, the order of events, how to go on later."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from math import isfinite
from typing import Any, Final

from app.analytics.anchors import anchors
from app.analytics.events import Event
from app.analytics.lines import Line, LineCounter
from app.analytics.snapshot import items, plain, record, records, table
from app.analytics.zones import Zone, ZoneCounter
from app.core.errors import InvalidParameterError, SnapshotError
from app.core.frame import NOMINAL_STEP_S, FrameRef, Tracks

SNAPSHOT_VERSION: Final = 2
DEFAULT_LOST_S: Final = 2.0
"""Above the second that the tracker keeps a lost track by default: what it finds again is still known here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Clock:
    """The time of the newest frame, and its size."""

    now_s: float
    width_px: int
    height_px: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """A remembered track and when it was last seen."""

    track_id: int
    at_s: float


class StreamCounter:
    """Counts over one stream, epoch after epoch. Not thread-safe.

    Time is the frames' `pts_s`, `captured_at` where that is None; a source keeps to one of them. A frame with an
    earlier stamp than the newest is late and not counted. A track is forgotten when it was not seen for more than
    `lost_s` seconds. All are forgotten when the epoch or the picture's size changes, or when a stamp lies more than
    `lost_s` before the newest one, which means that the source began anew. Totals stay.

    InvalidParameterError for a name used twice among lines or among zones, and a `lost_s` not above 0 and finite.
    """

    def __init__(self, lines: Sequence[Line], zones: Sequence[Zone], *, lost_s: float = DEFAULT_LOST_S) -> None:
        if any(len({shape.name for shape in shapes}) < len(shapes) for shapes in (lines, zones)):
            raise InvalidParameterError("lines, and zones, must have different names")
        if not 0 < lost_s < float("inf"):
            raise InvalidParameterError("lost_s must be a finite number of seconds above 0")
        self.lines = tuple(LineCounter(line) for line in lines)
        self.zones = tuple(ZoneCounter(zone) for zone in zones)
        self._lost_s = lost_s
        self._seen: dict[int, _Seen] = {}
        self._newest: FrameRef | None = None
        self._clock = _Clock(now_s=0.0, width_px=0, height_px=0)

    def update(self, tracks: Tracks, labels: Sequence[str]) -> list[Event]:
        """What this frame makes certain; `labels[i]` names class i.

        First what ended with the tracks that are forgotten, then what was seen, each by time, then track, then lines
        before zones in the order given. ValueError for another stream's frame, InvalidParameterError where a shape in
        pixels lies outside of the picture; the state is then as before.
        """
        newest, ref = self._newest, tracks.ref
        if newest is not None and ref.stream_id != newest.stream_id:
            raise ValueError("a counter counts one stream")
        seen = anchors(tracks, labels, at_s=self._stamp_s(ref))
        (width_px, height_px), at_s, clock = seen.size_px, seen.at_s, self._clock
        is_other_size = (width_px, height_px) != (clock.width_px, clock.height_px)
        if newest is None or is_other_size:
            self._check_shapes(width_px, height_px)
        events: list[Event] = []
        if newest is None or is_other_size or ref.epoch != newest.epoch or at_s < clock.now_s - self._lost_s:
            events += self._forget(set(self._seen), newest or ref)
        elif at_s < clock.now_s:
            return []
        self._newest, self._clock = ref, _Clock(now_s=at_s, width_px=width_px, height_px=height_px)
        lost = {track.track_id for track in self._seen.values() if at_s - track.at_s > self._lost_s}
        events += self._forget(lost, ref)
        for track_id in seen.track_id.tolist():
            self._seen[track_id] = _Seen(track_id=track_id, at_s=at_s)
        found: list[Event] = [event for line in self.lines for event in line.update(seen)]
        found += [event for zone in self.zones for event in zone.update(seen)]
        return events + _in_order(found)

    def with_shapes(self, lines: Sequence[Line], zones: Sequence[Zone]) -> "StreamCounter":
        """A counter that goes on with these; a line or zone that is as before keeps its totals and its tracks.

        This one must not be used any more. InvalidParameterError as when it is made.
        """
        changed = StreamCounter(lines, zones, lost_s=self._lost_s)
        old_lines = {line.line: line for line in self.lines}
        old_zones = {zone.zone: zone for zone in self.zones}
        changed.lines = tuple(old_lines.get(line.line, line) for line in changed.lines)
        changed.zones = tuple(old_zones.get(zone.zone, zone) for zone in changed.zones)
        changed._seen, changed._newest, changed._clock = self._seen, self._newest, self._clock
        if self._newest is not None:
            changed._check_shapes(self._clock.width_px, self._clock.height_px)
        return changed

    def snapshot(self) -> dict[str, Any]:
        """The whole state as plain JSON values, with the lines and zones that it belongs to."""
        newest = None if self._newest is None else plain(self._newest)
        if newest is not None:
            newest |= {name: _finite(newest[name]) for name in ("captured_at", "pts_s")}
        return {
            "version": SNAPSHOT_VERSION,
            "setup": self._setup,
            "newest": newest,
            "clock": plain(self._clock),
            "seen": [plain(track) for track in self._seen.values()],
            "lines": [line.snapshot() for line in self.lines],
            "zones": [zone.snapshot() for zone in self.zones],
        }

    def restore(self, snapshot: object) -> None:
        """Go on from a snapshot of a counter with the same lines, zones and `lost_s`: as if it had never stopped.

        SnapshotError for anything else; the state is then as before.
        """
        found = table(snapshot, list(self.snapshot()))
        if type(found["version"]) is not int or found["version"] != SNAPSHOT_VERSION:
            raise SnapshotError(f"the snapshot must have version {SNAPSHOT_VERSION}")
        if found["setup"] != self._setup:
            raise SnapshotError("the snapshot belongs to other lines, zones or lost_s")
        states = items(found["lines"], count=len(self.lines)), items(found["zones"], count=len(self.zones))
        lines = [LineCounter.restored(old.line, state) for old, state in zip(self.lines, states[0], strict=True)]
        zones = [ZoneCounter.restored(old.zone, state) for old, state in zip(self.zones, states[1], strict=True)]
        newest = None if found["newest"] is None else record(FrameRef, found["newest"])
        clock = record(_Clock, found["clock"])
        seen = records(_Seen, found["seen"])
        if any(known - set(seen) for _, known in (*lines, *zones)) or (newest is None and seen):
            raise SnapshotError("the snapshot holds a track that was never seen")
        self._newest, self._clock, self._seen = newest, clock, seen
        self.lines, self.zones = tuple(line for line, _ in lines), tuple(zone for zone, _ in zones)

    @cached_property
    def _setup(self) -> dict[str, Any]:
        lines, zones = [asdict(line.line) for line in self.lines], [asdict(zone.zone) for zone in self.zones]
        setup: dict[str, Any] = json.loads(json.dumps({"lines": lines, "zones": zones, "lost_s": self._lost_s}))
        return setup

    def _stamp_s(self, ref: FrameRef) -> float:
        stamp_s = _finite(ref.stamp_s)
        if stamp_s is None:
            return 0.0 if self._newest is None else self._clock.now_s + NOMINAL_STEP_S
        return stamp_s

    def _check_shapes(self, width_px: int, height_px: int) -> None:
        for line in self.lines:
            line.line.segment.in_pixels(width_px=width_px, height_px=height_px)
        for zone in self.zones:
            zone.zone.polygon.in_pixels(width_px=width_px, height_px=height_px)

    def _forget(self, track_ids: set[int], ref: FrameRef) -> list[Event]:
        if not track_ids:
            return []
        for line in self.lines:
            line.forget(track_ids)
        for track_id in track_ids:
            del self._seen[track_id]
        return _in_order([event for zone in self.zones for event in zone.forget(track_ids, ref)])


def _finite(stamp_s: float | None) -> float | None:
    return stamp_s if stamp_s is not None and isfinite(stamp_s) else None


def _in_order(events: list[Event]) -> list[Event]:
    return sorted(events, key=lambda event: (event.at_s, event.track_id))
