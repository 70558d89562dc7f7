"""Query parameters and headers as the core's types; every value is checked before work starts.

They are read here, not by FastAPI: resolving six parameters costs it a quarter of the event loop's time per image.
"""

import math
import time
from typing import Annotated, Any, Self

from fastapi import Request
from pydantic import AwareDatetime, BaseModel, Field, ValidationError

from app.core.errors import InvalidParameterError
from app.core.query import Query, Region
from app.core.video import FrameMode, VideoSpec
from app.media.preview import MAX_SIDE_PX, QUALITIES, QUALITY, SIDES_PX

MAX_TILE = 4
"""16 canvases for one picture are enough to fill any small machine."""
DEADLINE = "X-Deadline-Ms"


class Parameters(BaseModel):
    """Values that a caller gives, each checked."""

    @classmethod
    def read(cls, request: Request) -> Self:
        """The request's parameters; InvalidParameterError names each that is wrong."""
        try:
            return cls.model_validate(cls._given(request))
        except ValidationError as error:
            raise wrong(error) from None

    @classmethod
    def _given(cls, request: Request) -> dict[str, str]:
        return dict(request.query_params)

    @classmethod
    def openapi(cls) -> dict[str, Any]:
        """The same for OpenAPI's `parameters`."""
        properties = cls.model_json_schema()["properties"]
        return {"parameters": [_documented(name, schema) for name, schema in properties.items()]}


def wrong(error: ValidationError) -> InvalidParameterError:
    """The same as an error of ours, that names each value that is wrong."""
    return InvalidParameterError("; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()))


def _documented(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    described = {key: value for key, value in schema.items() if key not in {"title", "description"}}
    where = "header" if name == DEADLINE else "query"
    return {
        "name": name,
        "in": where,
        "required": False,
        "description": schema.get("description", ""),
        "schema": described,
    }


class _Deadline(Parameters):
    deadline_ms: Annotated[
        float | None, Field(alias=DEADLINE, gt=0, le=600_000, allow_inf_nan=False, description="from arrival")
    ] = None

    @classmethod
    def _given(cls, request: Request) -> dict[str, str]:
        given = {name: value for name, value in request.query_params.items() if name != DEADLINE}
        deadline = request.headers.get(DEADLINE)
        return given if deadline is None else {**given, DEADLINE: deadline}

    def deadline_s(self) -> float | None:
        """The moment on the monotonic clock by which the caller wants its answer; counted from this call."""
        return None if self.deadline_ms is None else time.monotonic() + self.deadline_ms / 1000


class _Look(Parameters):
    conf: Annotated[
        float | None, Field(ge=0, le=1, allow_inf_nan=False, description="lowest score; default: the model's own")
    ] = None
    iou: Annotated[
        float | None, Field(ge=0, le=1, allow_inf_nan=False, description="overlap above which the lower goes")
    ] = None
    classes: Annotated[str | None, Field(max_length=2000, description="class names, separated by commas")] = None
    roi: Annotated[
        str | None, Field(max_length=200, description="x1,y1,x2,y2 as fractions of the upright picture, e.g. 0,0.5,1,1")
    ] = None


class ImageParameters(_Look, _Deadline):
    """Of `/v1/detections`."""

    tile: Annotated[
        int, Field(ge=1, le=MAX_TILE, description="n: look at n by n overlapping tiles, for small objects")
    ] = 1

    def query(self, labels: tuple[str, ...]) -> Query:
        """The checked query; InvalidParameterError names the parameter."""
        return _query(self, labels=labels, tile=self.tile)


class VideoParameters(_Look):
    """Of `/v1/videos`."""

    mode: Annotated[
        FrameMode,
        Field(
            description="which frames are looked at",
            json_schema_extra={"enum": [mode.value for mode in FrameMode], "type": "string"},
        ),
    ] = FrameMode.EVERY_FRAME
    fps: Annotated[float | None, Field(gt=0, le=1000, allow_inf_nan=False, description="with mode=target_fps")] = None

    def spec(self, labels: tuple[str, ...]) -> VideoSpec:
        """The checked spec: `fps` goes with target_fps, and only with it."""
        query = _query(self, labels=labels, tile=1)
        if (self.mode is FrameMode.TARGET_FPS) != (self.fps is not None):
            raise InvalidParameterError("fps: goes with mode=target_fps, and only with it")
        return VideoSpec(mode=self.mode, fps=self.fps, query=query)


class FrameParameters(Parameters):
    """Of `/v1/streams/{id}/frames`."""

    seq: Annotated[
        int | None, Field(ge=0, lt=2**63, description="grows from frame to frame; default: one more than the newest")
    ] = None
    captured_at: Annotated[
        AwareDatetime | None, Field(description="when the frame was taken, RFC 3339; default: when it arrived")
    ] = None


class EventParameters(Parameters):
    """Of `/v1/streams/{id}/events`."""

    since: Annotated[int, Field(ge=-1, lt=2**63, description="the last seq that you have; default: all there is")] = -1


class PreviewParameters(_Deadline):
    """Of `/v1/pipelines/preview`."""

    max_side: Annotated[
        int, Field(ge=SIDES_PX[0], le=SIDES_PX[-1], description="pixels of the longer side; nothing is enlarged")
    ] = MAX_SIDE_PX
    quality: Annotated[int, Field(ge=QUALITIES[0], le=QUALITIES[-1], description="of the JPEG")] = QUALITY


def _query(look: _Look, *, labels: tuple[str, ...], tile: int) -> Query:
    return Query(
        conf=look.conf,
        iou=look.iou,
        classes=_class_names(look.classes, labels),
        roi=_region(look.roi),
        tile=tile,
    )


def _class_names(classes: str | None, labels: tuple[str, ...]) -> frozenset[str] | None:
    if classes is None:
        return None
    names = frozenset(name.strip() for name in classes.split(",") if name.strip())
    unknown = sorted(names.difference(labels))
    if unknown or not names:
        raise InvalidParameterError(f"classes: this model knows {', '.join(labels)}")
    return names


def _region(roi: str | None) -> Region | None:
    if roi is None:
        return None
    wrong = InvalidParameterError("roi: four numbers x1,y1,x2,y2 with 0 ≤ x1 < x2 ≤ 1 and 0 ≤ y1 < y2 ≤ 1")
    try:
        x1, y1, x2, y2 = (float(part) for part in roi.split(","))
    except ValueError:
        raise wrong from None
    if not all(map(math.isfinite, (x1, y1, x2, y2))) or not (0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1):
        raise wrong
    return x1, y1, x2, y2
