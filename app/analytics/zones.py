"""Tracks that enter, leave and stay in a polygon, in true time, with a time to settle against jitter."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from app.analytics.anchors import Anchors
from app.analytics.events import ZoneDwell, ZoneEntered, ZoneLeft
from app.analytics.geometry import Floats, Polygon, contains, crossing_shares, edges
from app.analytics.snapshot import counts, plain, record, records, table
from app.core.errors import InvalidParameterError
from app.core.frame import FrameRef

DEFAULT_SETTLE_S: Final = 0.5
"""Longer than jitter at an edge stays on one side of it, shorter than a visit worth counting. An estimate."""

ZoneEvent = ZoneEntered | ZoneLeft | ZoneDwell


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """A polygon to watch. To have entered or left, a track must be in or out for `settle_s` seconds (>= 0) on end.

    After `dwell_s` seconds (> 0, None for never) in the zone a track is told of, once a stay. InvalidParameterError
    for an empty name and times out of range.
    """

    name: str
    polygon: Polygon
    settle_s: float = DEFAULT_SETTLE_S
    dwell_s: float | None = None

    def __post_init__(self) -> None:
        if not self.name or not 0 <= self.settle_s < float("inf"):
            raise InvalidParameterError("a zone must have a name and a settle_s that is finite and 0 or more")
        if self.dwell_s is not None and not 0 < self.dwell_s < float("inf"):
            raise InvalidParameterError("dwell_s must be a finite number of seconds above 0")


@dataclass(slots=True, kw_only=True)
class _Presence:
    """One track: where it was last, on which side of the edge since when, and its stay, if it has settled in.

    `label` is the class as the stay began, `entered_s` None outside of a stay.
    """

    track_id: int
    x_px: float
    y_px: float
    seen_s: float
    label: str
    is_in: bool
    since_s: float
    entered_s: float | None = None
    is_told: bool = False
    is_counted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stays:
    """How many stays have begun and ended."""

    entered: int
    left: int


class ZoneCounter:
    """Stays in one zone of one stream. Not thread-safe.

    `distinct[label]` counts tracks that have ever entered, each once for as long as it is remembered; `entered` and
    `left` count stays that have begun and ended.
    """

    def __init__(self, zone: Zone) -> None:
        self.zone = zone
        self.distinct: dict[str, int] = {}
        self.entered = 0
        self.left = 0
        self._present: dict[int, _Presence] = {}

    @property
    def occupancy(self) -> dict[str, int]:
        """How many tracks stay in the zone now, by class; classes without any are left out."""
        return dict(Counter(track.label for track in self._present.values() if track.entered_s is not None))

    @property
    def dwell_s(self) -> dict[int, float]:
        """How long each track in the zone has stayed until it was last seen, by track id."""
        stays = [track for track in self._present.values() if track.entered_s is not None]
        return {track.track_id: track.seen_s - (track.entered_s or 0.0) for track in stays}

    def update(self, seen: Anchors) -> list[ZoneEvent]:
        """What this frame makes certain, by rising track id, then time; frames come in order of `at_s`.

        A track moves straight between two frames, so that the edge is crossed between them, and a zone that lies
        between them is passed through.
        """
        width_px, height_px = seen.size_px
        corners = self.zone.polygon.in_pixels(width_px=width_px, height_px=height_px)
        is_in = contains(corners, seen.xy).tolist()
        before = [self._present.get(track_id) for track_id in seen.track_id.tolist()]
        starts = [xy if last is None else [last.x_px, last.y_px] for last, xy in zip(before, seen.xy, strict=True)]
        paths = np.stack([np.reshape(np.array(starts, dtype=np.float64), (-1, 2)), seen.xy], axis=1)
        shares = crossing_shares(paths, edges(corners))
        events: list[ZoneEvent] = []
        for row, (x_px, y_px) in enumerate(seen.xy.tolist()):
            track = before[row] or self._first_seen(seen, row, is_in=is_in[row])
            if track.entered_s is None:
                track.label = seen.label[row]
            met = shares[row][np.isfinite(shares[row])]
            for at_s, is_inside in _pieces(corners, paths[row], met, begin_s=track.seen_s, end_s=seen.at_s):
                events += self._change(track, at_s, is_in=is_inside, ref=seen.ref)
            events += self._change(track, seen.at_s, is_in=is_in[row], ref=seen.ref)
            events += self._settle(track, until_s=seen.at_s, ref=seen.ref)
            track.x_px, track.y_px, track.seen_s = x_px, y_px, seen.at_s
        return events

    def forget(self, track_ids: set[int], ref: FrameRef) -> list[ZoneLeft]:
        """Drop what is known of these tracks; those in the zone leave it when they were last seen in it."""
        gone = [self._present.pop(track_id) for track_id in sorted(track_ids & set(self._present))]
        return [
            self._leave(track, at_s=track.seen_s if track.is_in else track.since_s, ref=ref)
            for track in gone
            if track.entered_s is not None
        ]

    def snapshot(self) -> dict[str, Any]:
        """The state as plain JSON values."""
        stays = plain(_Stays(entered=self.entered, left=self.left))
        tracks = [plain(track) for track in self._present.values()]
        return {"distinct": dict(self.distinct), "stays": stays, "tracks": tracks}

    @classmethod
    def restored(cls, zone: Zone, state: object) -> tuple["ZoneCounter", set[int]]:
        """The counter that goes on from a snapshot, and the tracks it knows; SnapshotError if malformed."""
        found = table(state, ["distinct", "stays", "tracks"])
        counter = cls(zone)
        counter.distinct = counts(found["distinct"])
        stays = record(_Stays, found["stays"])
        counter.entered, counter.left = stays.entered, stays.left
        counter._present = records(_Presence, found["tracks"])
        return counter, set(counter._present)

    def _first_seen(self, seen: Anchors, row: int, *, is_in: bool) -> _Presence:
        track_id, (x_px, y_px) = int(seen.track_id[row]), seen.xy[row].tolist()
        self._present[track_id] = _Presence(
            track_id=track_id, x_px=x_px, y_px=y_px, seen_s=seen.at_s, label=seen.label[row], is_in=is_in,
            since_s=seen.at_s,
        )  # fmt: skip
        return self._present[track_id]

    def _change(self, track: _Presence, at_s: float, *, is_in: bool, ref: FrameRef) -> Iterator[ZoneEvent]:
        """The track is in, or out, from `at_s` on; what the time until then has made certain."""
        if is_in != track.is_in:
            yield from self._settle(track, until_s=at_s, ref=ref)
            track.is_in, track.since_s = is_in, at_s

    def _settle(self, track: _Presence, *, until_s: float, ref: FrameRef) -> Iterator[ZoneEvent]:
        """The track has been where it is until `until_s`: perhaps it has entered by that, or left, or dwelt."""
        is_settled = until_s - track.since_s >= self.zone.settle_s
        if not track.is_in and track.entered_s is not None and is_settled:
            yield self._leave(track, at_s=track.since_s, ref=ref)
        if track.is_in and track.entered_s is None and is_settled:
            track.entered_s, track.is_told = track.since_s, False
            if not track.is_counted:
                self.distinct[track.label] = self.distinct.get(track.label, 0) + 1
                track.is_counted = True
            self.entered += 1
            yield ZoneEntered(
                ref=ref, zone=self.zone.name, track_id=track.track_id, label=track.label, at_s=track.since_s
            )
        limit_s = self.zone.dwell_s
        if limit_s is None or not track.is_in or track.entered_s is None or track.is_told:
            return
        if until_s - track.entered_s >= limit_s:
            track.is_told, at_s = True, track.entered_s + limit_s
            yield ZoneDwell(
                ref=ref, zone=self.zone.name, track_id=track.track_id, label=track.label, at_s=at_s, dwell_s=limit_s
            )

    def _leave(self, track: _Presence, *, at_s: float, ref: FrameRef) -> ZoneLeft:
        dwell_s = at_s - (track.entered_s or 0.0)
        track.entered_s = None
        self.left += 1
        return ZoneLeft(
            ref=ref, zone=self.zone.name, track_id=track.track_id, label=track.label, at_s=at_s, dwell_s=dwell_s
        )


def _pieces(
    corners: Floats, path: Floats, met: Floats, *, begin_s: float, end_s: float
) -> Iterator[tuple[float, bool]]:
    """The pieces that the polygon's edges cut a `(2, 2)` path into: when each begins and whether it lies inside."""
    if not met.size:
        return
    cuts = np.unique(np.concatenate([[0.0], met, [1.0]]))
    middles = (cuts[:-1] + cuts[1:])[:, None] / 2
    is_in = contains(corners, path[0] + middles * (path[1] - path[0]))
    for share, is_inside in zip(cuts[:-1].tolist(), is_in.tolist(), strict=True):
        yield begin_s + share * (end_s - begin_s), is_inside
