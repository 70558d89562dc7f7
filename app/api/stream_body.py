"""The JSON of a live stream: what its description may say, and how it is shown."""

import json
from dataclasses import asdict
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, with_config

from app.analytics.geometry import MAX_CORNERS, MIN_CORNERS, Polygon, Segment, Space
from app.analytics.lines import DEFAULT_BAND, Line
from app.analytics.zones import DEFAULT_SETTLE_S, Zone
from app.api.parameters import VideoParameters, wrong
from app.core.errors import InvalidRequestError
from app.delivery.sinks import Kafka, Mqtt, Sink, Webhook
from app.media.pull.source_url import shown_url
from app.pipeline.stream_host import StreamStatus
from app.pipeline.stream_spec import HIGHEST_PRIORITY, LOWEST_PRIORITY, StreamSpec
from app.policy.reconnect import Backoff

PUSH = "push"
_STRICT = ConfigDict(extra="forbid")
for _sink in (Webhook, Mqtt, Kafka):
    with_config(_STRICT)(_sink)
_Name = Annotated[str, Field(min_length=1, max_length=100)]
_Coordinate = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Point = tuple[_Coordinate, _Coordinate]


class LineBody(BaseModel):
    """A directed line; `forward` is from its left to its right, seen from start to end."""

    model_config = _STRICT

    name: _Name
    start: _Point
    end: _Point
    space: Space = Space.NORMALISED
    band: Annotated[float, Field(ge=0, lt=1, description="dead band to either side, in heights of the box")] = (
        DEFAULT_BAND
    )

    def line(self) -> Line:
        """The checked line."""
        return Line(name=self.name, segment=Segment(start=self.start, end=self.end, space=self.space), band=self.band)


class ZoneBody(BaseModel):
    """A polygon; who stays in it for `settle_s` seconds has entered, after `dwell_s` seconds an event tells so."""

    model_config = _STRICT

    name: _Name
    polygon: Annotated[list[_Point], Field(min_length=MIN_CORNERS, max_length=MAX_CORNERS)]
    space: Space = Space.NORMALISED
    settle_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = DEFAULT_SETTLE_S
    dwell_s: Annotated[float | None, Field(gt=0, allow_inf_nan=False)] = None

    def zone(self) -> Zone:
        """The checked zone."""
        polygon = Polygon(corners=tuple(self.polygon), space=self.space)
        return Zone(name=self.name, polygon=polygon, settle_s=self.settle_s, dwell_s=self.dwell_s)


class StreamBody(VideoParameters):
    """The JSON of `POST /v1/streams`, and of `PATCH` with what is to change."""

    model_config = _STRICT

    label: Annotated[str, Field(max_length=200, description="your own word for the stream")] = ""
    source: Annotated[str, Field(max_length=2048, description='"push", or the URL of a camera or file to pull')] = PUSH
    reconnect: Annotated[Backoff, Field(description="how a pulled stream comes back after a cut")] = Backoff.EXPONENTIAL
    priority: Annotated[
        int, Field(ge=LOWEST_PRIORITY, le=HIGHEST_PRIORITY, description="who goes first to the model; 10 before 0")
    ] = 5
    model: Annotated[str | None, Field(max_length=64, description="name of a model; none: the service's own")] = None
    lines: Annotated[tuple[LineBody, ...], Field(max_length=64)] = ()
    zones: Annotated[tuple[ZoneBody, ...], Field(max_length=64)] = ()
    sinks: Annotated[tuple[Annotated[Sink, Field(discriminator="kind")], ...], Field(max_length=16)] = ()

    @field_validator("classes", mode="before")
    @classmethod
    def _joined(cls, classes: object) -> object:
        """A list of names is as good as names with commas between them."""
        is_names = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
        return ",".join(classes) if isinstance(classes, list) and is_names else classes

    @classmethod
    def parse(cls, body: bytes, *, onto: StreamSpec | None = None) -> Self:
        """The body as JSON, its fields laid over those of `onto`; null stands for a field's default.

        InvalidRequestError when it is no JSON, InvalidParameterError names each value that is wrong.
        """
        try:
            given = json.loads(body)
        except (ValueError, RecursionError):
            raise InvalidRequestError("the body is not JSON") from None
        if isinstance(given, dict):
            given = {**(described(onto) if onto else {}), **given}
            given = {name: value for name, value in given.items() if value is not None}
        try:
            return cls.model_validate_json(json.dumps(given))
        except ValidationError as error:
            raise wrong(error) from None

    def stream(self, labels: tuple[str, ...]) -> StreamSpec:
        """The checked spec; InvalidParameterError names the parameter."""
        return StreamSpec(
            label=self.label,
            video=self.spec(labels),
            priority=self.priority,
            source=None if self.source == PUSH else self.source,
            reconnect=self.reconnect,
            model=self.model,
            lines=tuple(line.line() for line in self.lines),
            zones=tuple(zone.zone() for zone in self.zones),
            sinks=self.sinks,
        )


def described(spec: StreamSpec) -> dict[str, Any]:
    """The spec as its JSON says it, every field named, secrets in URLs too: for nobody's eyes but `parse`'s."""
    video, query = spec.video, spec.video.query
    return {
        "label": spec.label,
        "source": spec.source or PUSH,
        "mode": video.mode.value,
        "fps": video.fps,
        "conf": query.conf,
        "iou": query.iou,
        "classes": sorted(query.classes) if query.classes is not None else None,
        "roi": ",".join(map(str, query.roi)) if query.roi else None,
        "reconnect": spec.reconnect.value,
        "priority": spec.priority,
        "model": spec.model,
        "lines": [
            {
                "name": line.name,
                "start": line.segment.start,
                "end": line.segment.end,
                "space": line.segment.space.value,
                "band": line.band,
            }
            for line in spec.lines
        ],
        "zones": [
            {
                "name": zone.name,
                "polygon": zone.polygon.corners,
                "space": zone.polygon.space.value,
                "settle_s": zone.settle_s,
                "dwell_s": zone.dwell_s,
            }
            for zone in spec.zones
        ],
        "sinks": [asdict(sink) for sink in spec.sinks],
    }


def shown(status: StreamStatus) -> dict[str, Any]:
    """One stream as it stands; what is not set is left out, and what URLs hold of users, passwords and tokens."""
    spec = {name: value for name, value in described(status.spec).items() if value not in (None, [], "")}
    for webhook in (sink for sink in spec.get("sinks", []) if "url" in sink):
        webhook["url"] = shown_url(webhook["url"])
    spec["source"] = shown_url(spec["source"])
    account = status.summary
    return {
        "stream_id": status.stream_id,
        "state": status.state,
        **spec,
        "epoch": account.epoch,
        "last_seq": status.last_seq,
        "answers_per_s": round(status.fps, 2),
        "age_s": None if status.age_s is None else round(status.age_s, 3),
        "captured": account.captured,
        "answered": account.answered,
        "dropped": account.dropped,
        "errors": account.errors,
        "in_flight": account.in_flight,
    }
