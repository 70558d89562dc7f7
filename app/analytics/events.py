"""What a counter tells: a line was crossed, a zone was entered, left or stayed in."""

from dataclasses import dataclass
from typing import TypeAlias

from app.core.frame import FrameRef
from app.core.result import Direction


@dataclass(frozen=True, slots=True, kw_only=True)
class LineCrossed:
    """A track crossed `line` at `at_s`; `ref` is the frame that made it certain, `label` the class seen in it.

    In every event `at_s` is in seconds on the scale of the frames' stamps (`pts_s`, else `captured_at`), interpolated,
    and so at or before the frame `ref`. `track_id` belongs to the epoch of `ref`.
    """

    ref: FrameRef
    line: str
    track_id: int
    label: str
    at_s: float
    direction: Direction


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneEntered:
    """A track went into `zone` at `at_s` and has stayed for the zone's `settle_s` since."""

    ref: FrameRef
    zone: str
    track_id: int
    label: str
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneLeft:
    """A track left `zone` at `at_s`, or was last seen in it then, after `dwell_s` seconds; `label` as it entered."""

    ref: FrameRef
    zone: str
    track_id: int
    label: str
    at_s: float
    dwell_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneDwell:
    """A track had been in `zone` for the zone's limit of `dwell_s` seconds at `at_s`; told once a stay."""

    ref: FrameRef
    zone: str
    track_id: int
    label: str
    at_s: float
    dwell_s: float


Event: TypeAlias = LineCrossed | ZoneEntered | ZoneLeft | ZoneDwell
