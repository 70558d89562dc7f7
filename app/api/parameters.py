"""Query parameters and headers as the core's types; every value is checked before work starts."""

import math
import time
from typing import Annotated

from fastapi import Header, Query

from app.core.errors import InvalidParameterError
from app.core.query import Query as FrameQuery
from app.core.query import Region
from app.core.video import FrameMode, VideoSpec
from app.media.preview import QUALITIES, SIDES_PX

MAX_TILE = 4
"""16 canvases for one picture are enough to fill any small machine."""

Conf = Annotated[
    float | None, Query(ge=0, le=1, allow_inf_nan=False, description="lowest score; default: the model's own")
]
Iou = Annotated[float | None, Query(ge=0, le=1, allow_inf_nan=False, description="overlap above which the lower goes")]
Classes = Annotated[str | None, Query(max_length=2000, description="class names, separated by commas")]
Roi = Annotated[
    str | None, Query(max_length=200, description="x1,y1,x2,y2 as fractions of the upright picture, e.g. 0,0.5,1,1")
]
Tile = Annotated[int, Query(ge=1, le=MAX_TILE, description="n: look at n by n overlapping tiles, for small objects")]
Mode = Annotated[FrameMode, Query(description="which frames are looked at")]
Fps = Annotated[float | None, Query(gt=0, le=1000, allow_inf_nan=False, description="with mode=target_fps")]
MaxSide = Annotated[
    int, Query(ge=SIDES_PX[0], le=SIDES_PX[-1], description="pixels of the longer side; nothing is enlarged")
]
Quality = Annotated[int, Query(ge=QUALITIES[0], le=QUALITIES[-1], description="of the JPEG")]
DeadlineMs = Annotated[
    float | None, Header(alias="X-Deadline-Ms", gt=0, le=600_000, allow_inf_nan=False, description="from arrival")
]


def frame_query(
    *, conf: float | None, iou: float | None, classes: str | None, roi: str | None, tile: int, labels: tuple[str, ...]
) -> FrameQuery:
    """The checked query; InvalidParameterError names the parameter."""
    return FrameQuery(conf=conf, iou=iou, classes=_class_names(classes, labels), roi=_region(roi), tile=tile)


def video_spec(*, mode: FrameMode, fps: float | None, query: FrameQuery) -> VideoSpec:
    """The checked spec: `fps` goes with target_fps, and only with it."""
    if (mode is FrameMode.TARGET_FPS) != (fps is not None):
        raise InvalidParameterError("fps: goes with mode=target_fps, and only with it")
    return VideoSpec(mode=mode, fps=fps, query=query)


def deadline_from(deadline_ms: float | None) -> float | None:
    """The moment on the monotonic clock by which the caller wants its answer."""
    return None if deadline_ms is None else time.monotonic() + deadline_ms / 1000


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
