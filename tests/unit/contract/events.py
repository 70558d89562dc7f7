"""One event of every kind with everything in it, and strategies for those that hypothesis makes up."""

from datetime import UTC, datetime

from hypothesis import strategies as st

from app.core.frame import Timings
from app.core.result import (
    Crossing,
    DetectedObject,
    Direction,
    Event,
    FrameResult,
    Gap,
    LineCrossed,
    ModelVersion,
    Status,
    StreamState,
    Summary,
    ZoneCount,
    ZoneDwell,
    ZoneEntered,
    ZoneLeft,
)

CAPTURED_AT = datetime(2026, 11, 23, 10, 0, 0, 250_000, tzinfo=UTC)


def make_object(*, track_id: int | None = 7) -> DetectedObject:
    return DetectedObject(label="car", class_id=2, score=0.8125, box=(1.5, 2.25, 100.0, 200.75), track_id=track_id)


def make_result(**given: object) -> FrameResult:
    """Everything but crossings and zones."""
    full: dict[str, object] = {
        "stream_id": "cam",
        "epoch": 1,
        "seq": 41,
        "event_id": "cam:1:41",
        "status": Status.RESULT,
        "captured_at": CAPTURED_AT,
        "pts_s": 1.64,
        "width_px": 1920,
        "height_px": 1080,
        "model": ModelVersion(name="street", version="1.0.0"),
        "route_epoch": 3,
        "objects": (make_object(), make_object(track_id=None)),
        "truncated": True,
        "timings": Timings(decode_s=0.01, inference_s=0.025, total_s=0.04),
        "metadata": {"camera_id": 'Zürich "Süd"\n'},
    }
    return FrameResult(**(full | given))


def make_error() -> FrameResult:
    """Nothing but what every result has."""
    return FrameResult(
        stream_id="cam",
        epoch=0,
        seq=0,
        event_id="cam:0:0",
        status=Status.ERROR,
        reason="undecodable",
        detail="",
        captured_at=CAPTURED_AT.replace(microsecond=0),
    )


ON_A_LINE = {"stream_id": "cam", "epoch": 1, "seq": 41, "track_id": 7, "label": "car", "at_s": 1.6}
EVENTS: list[Event] = [
    make_result(),
    make_error(),
    Gap(stream_id="cam", epoch=1, event_id="cam:1:gap:4", after_seq=-1, next_seq=5, reason="history"),
    Summary(
        stream_id="cam",
        epoch=1,
        event_id="cam:1:summary",
        captured=9,
        answered=4,
        dropped={"superseded": 2},
        errors={"undecodable": 1},
        in_flight=2,
        reason="source_lost",
        detail="the camera is gone",
    ),
    make_result(
        crossings=(Crossing(line="gate", track_id=7, label="car", direction=Direction.BACKWARD, at_s=1.6),),
        zones={"yard": ZoneCount(count=0, entered=5, left=5)},
    ),
    LineCrossed(**ON_A_LINE, event_id="cam:1:41:0", line="gate", direction=Direction.FORWARD),
    ZoneEntered(**ON_A_LINE, event_id="cam:1:41:1", zone="yard"),
    ZoneLeft(**ON_A_LINE, event_id="cam:1:41:2", zone="yard", dwell_s=0.0),
    ZoneDwell(**ON_A_LINE, event_id="cam:1:41:3", zone="yard", dwell_s=30.0),
    StreamState(stream_id="cam", epoch=1, seq=41, event_id="cam:1:41:4", state="recovering", reason="lost", attempt=2),
    StreamState(stream_id="cam", epoch=0, event_id="cam:0:-1:0", state="connecting"),
]
"""The first four are of kinds, and hold what, the service had before there was a proto."""

_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_number = st.floats(allow_nan=False, allow_infinity=False)
_uint32, _uint64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
_moment = st.datetimes(min_value=datetime(1970, 1, 2), timezones=st.just(UTC))  # noqa: DTZ001 - the zone is beside it
_object = st.builds(
    DetectedObject,
    label=_text,
    class_id=_uint32,
    score=st.floats(0, 1),
    box=st.tuples(_number, _number, _number, _number),
    track_id=st.none() | _uint64,
)
_crossing = st.builds(
    Crossing, line=_text, track_id=_uint64, label=_text, direction=st.sampled_from(Direction), at_s=_number
)
_zone = st.builds(ZoneCount, count=_uint64, entered=_uint64, left=_uint64)
_timings = st.builds(Timings, **dict.fromkeys(Timings.__dataclass_fields__, _number))
results = st.builds(
    FrameResult,
    schema=st.just("sightline.v1.FrameResult"),
    stream_id=_text,
    epoch=_uint32,
    seq=_uint64,
    event_id=_text,
    status=st.sampled_from(Status),
    reason=st.none() | _text,
    detail=st.none() | _text,
    captured_at=st.none() | _moment,
    pts_s=st.none() | _number,
    width_px=st.none() | _uint32,
    height_px=st.none() | _uint32,
    model=st.none() | st.builds(ModelVersion, name=_text, version=_text),
    route_epoch=_uint64,
    degraded=st.booleans(),
    objects=st.lists(_object, max_size=3).map(tuple),
    truncated=st.booleans(),
    crossings=st.lists(_crossing, max_size=2).map(tuple),
    zones=st.dictionaries(_text, _zone, max_size=2),
    timings=_timings,
    metadata=st.dictionaries(_text, _text, max_size=2),
)
