"""What one live stream remembers of its objects: their tracks, and what they did at its lines and in its zones."""

from dataclasses import replace
from typing import Any

from app.analytics import events as seen
from app.analytics.counting import DEFAULT_LOST_S, StreamCounter
from app.analytics.lines import Line
from app.analytics.zones import Zone
from app.core.errors import SightlineError
from app.core.frame import Detections
from app.core.model import ModelSpec
from app.core.result import Crossing, FrameResult, LineCrossed, ZoneCount, ZoneDwell, ZoneEntered, ZoneLeft
from app.pipeline.results import failure, result_of
from app.tracking.bytetrack import ByteTracker
from app.tracking.parameters import TrackerParameters

Told = LineCrossed | ZoneEntered | ZoneLeft | ZoneDwell


class StreamMemory:
    """A tracker and a counter that go together. Frames of one stream come in order; no thread, no clock, no I/O."""

    def __init__(
        self,
        *,
        parameters: TrackerParameters,
        lines: tuple[Line, ...] = (),
        zones: tuple[Zone, ...] = (),
        epoch: int = 0,
    ) -> None:
        self._parameters = parameters
        self._tracker = ByteTracker(parameters, epoch=epoch)
        # What the tracker finds again must still be known to the counter.
        self._counter = StreamCounter(lines, zones, lost_s=max(DEFAULT_LOST_S, 2 * parameters.max_lost_s))
        self._saved: tuple[bytes, dict[str, Any]] | None = None

    @property
    def epoch(self) -> int:
        """The epoch whose identities are given."""
        return self._tracker.epoch

    def update(self, found: Detections, *, spec: ModelSpec, total_s: float) -> tuple[list[Told], FrameResult]:
        """The frame's result, and the events that it made certain, in their order; `spec` is of what has answered."""
        self._saved = None
        tracks = self._tracker.update(found)
        result = result_of(tracks, spec=spec, total_s=total_s)
        try:
            events = self._counter.update(tracks, spec.labels)
        except SightlineError as error:  # a shape in pixels lies outside of this picture
            return [], failure(found.ref, error)
        told = [_told(event, result=result, index=index) for index, event in enumerate(events)]
        crossings = tuple(_crossing(event) for event in events if isinstance(event, seen.LineCrossed))
        zones = {
            zone.zone.name: ZoneCount(count=sum(zone.occupancy.values()), entered=zone.entered, left=zone.left)
            for zone in self._counter.zones
        }
        return told, replace(result, crossings=crossings, zones=zones)

    def line_totals(self) -> dict[str, dict[str, int]]:
        """How many have crossed each line, by direction."""
        return {
            line.line.name: {direction.value: sum(by_label.values()) for direction, by_label in line.counts.items()}
            for line in self._counter.lines
        }

    def respecify(self, *, lines: tuple[Line, ...], zones: tuple[Zone, ...]) -> None:
        """Count at these lines and zones from now on; those that stay the same keep their totals."""
        self._counter = self._counter.with_shapes(lines, zones)
        self._saved = None

    def snapshot(self) -> tuple[bytes, dict[str, Any]]:
        """The state of both, for `restore`."""
        if self._saved is None:
            self._saved = self._tracker.snapshot(), self._counter.snapshot()
        return self._saved

    def restore(self, tracker: bytes | None, counter: dict[str, Any]) -> None:
        """Go on from a snapshot as if it had never stopped; SnapshotError, and no change, when it does not fit."""
        restored = ByteTracker.restore(tracker, self._parameters) if tracker is not None else None
        self._counter.restore(counter)
        self._tracker = restored or self._tracker
        self._saved = None

    def begin_epoch(self, epoch: int) -> None:
        """Identities that no earlier epoch had; the totals stay."""
        self._tracker = ByteTracker(self._parameters, epoch=epoch)
        self._saved = None


def _crossing(event: seen.LineCrossed) -> Crossing:
    return Crossing(
        line=event.line, direction=event.direction, track_id=event.track_id, label=event.label, at_s=event.at_s
    )


def _told(event: seen.Event, *, result: FrameResult, index: int) -> Told:
    """The event as the contract has it, standing before the result of its frame."""
    head: dict[str, Any] = {
        "stream_id": result.stream_id,
        "epoch": result.epoch,
        "seq": result.seq,
        "event_id": f"{result.event_id}:{index}",
        "track_id": event.track_id,
        "label": event.label,
        "at_s": event.at_s,
    }
    match event:
        case seen.LineCrossed():
            return LineCrossed(**head, line=event.line, direction=event.direction)
        case seen.ZoneEntered():
            return ZoneEntered(**head, zone=event.zone)
        case seen.ZoneLeft():
            return ZoneLeft(**head, zone=event.zone, dwell_s=event.dwell_s)
        case seen.ZoneDwell():
            return ZoneDwell(**head, zone=event.zone, dwell_s=event.dwell_s)
