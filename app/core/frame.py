"""The values that one frame becomes on its way: encoded, decoded, fitted, detected, tracked."""

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.core.query import Query
from app.core.routing import ORDINARY, Route, Urgency

Pixels: TypeAlias = NDArray[np.uint8]
"""`(h, w, 3)` uint8, R first, sRGB."""
Boxes: TypeAlias = NDArray[np.float32]
"""`(n, 4)` float32 `x1, y1, x2, y2`; x2 and y2 are exclusive."""


def freeze(*arrays: NDArray[np.generic]) -> None:
    """Make the arrays read-only, as Ray would: a stage that writes to its input fails in every layout."""
    for array in arrays:
        array.flags.writeable = False


NOMINAL_STEP_S = 1 / 30
"""The time between two frames where their stamps say nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRef:
    """Which frame this is: join key, ledger key and trace key, unchanged from capture to result.

    `captured_at` is UTC in seconds since 1970 where the source tells it, `pts_s` seconds from the start of the stream.
    """

    stream_id: str
    epoch: int = 0
    seq: int
    captured_at: float | None = None
    pts_s: float | None = None

    @property
    def stamp_s(self) -> float | None:
        """The frame's time on its stream's own scale in seconds: `pts_s`, else `captured_at`."""
        return self.captured_at if self.pts_s is None else self.pts_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Seconds that one frame has spent in each stage so far."""

    decode_s: float = 0.0
    preprocess_s: float = 0.0
    queue_s: float = 0.0
    inference_s: float = 0.0
    postprocess_s: float = 0.0
    total_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedFrame:
    """One still image as it came in. `data` is borrowed, never copied and never logged.

    With `raw_size_px`, `(width_px, height_px)`, it is not encoded at all: `data` are interleaved 8-bit RGB rows.
    Without a `route` it goes to the one model there is.
    """

    data: bytes | memoryview
    ref: FrameRef
    query: Query = field(default_factory=Query)
    route: Route | None = None
    urgency: Urgency = ORDINARY
    raw_size_px: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One decoded picture, upright, 8-bit sRGB, perhaps already scaled towards the model's input.

    `rgb` is `(h, w, 3)` uint8 and read-only; `source_*_px` is the upright size before any scaling.
    """

    rgb: Pixels
    source_width_px: int
    source_height_px: int
    ref: FrameRef
    query: Query = field(default_factory=Query)
    route: Route | None = None
    urgency: Urgency = ORDINARY
    timings: Timings = field(default_factory=Timings)

    def __post_init__(self) -> None:
        freeze(self.rgb)


@dataclass(frozen=True, slots=True, kw_only=True)
class Letterbox:
    """Where a source rectangle lies on the model's canvas: `model = (source - offset) * scale + pad`, per axis.

    The rectangle is `[offset, offset + size)` in source pixels: the whole picture, or the region of interest.
    """

    scale_x: float
    scale_y: float
    pad_x_px: float
    pad_y_px: float
    offset_x_px: float = 0.0
    offset_y_px: float = 0.0
    width_px: float
    height_px: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInput:
    """One picture on the model's canvas, or on several when it is cut into tiles.

    Each of `canvases` is `(H, W, 3)` uint8 RGB, the engine normalises; `letterboxes[i]` says where canvas i came from.
    """

    canvases: tuple[Pixels, ...]
    letterboxes: tuple[Letterbox, ...]
    source_width_px: int
    source_height_px: int
    ref: FrameRef
    query: Query = field(default_factory=Query)
    route: Route | None = None
    urgency: Urgency = ORDINARY
    timings: Timings = field(default_factory=Timings)

    def __post_init__(self) -> None:
        freeze(*self.canvases)


@dataclass(frozen=True, slots=True, kw_only=True)
class Detections:
    """What was found in one frame, best first: `xyxy` `(n, 4)` source px, `score` `(n,)`, `label` `(n,)` int32.

    `route` is the one that was taken, which need not be the one that was asked for; `degraded` says what the answer
    lacks, None where it lacks nothing.
    """

    xyxy: Boxes
    score: NDArray[np.float32]
    label: NDArray[np.int32]
    source_width_px: int
    source_height_px: int
    ref: FrameRef
    is_truncated: bool = False
    route: Route | None = None
    degraded: str | None = None
    timings: Timings = field(default_factory=Timings)

    def __post_init__(self) -> None:
        freeze(self.xyxy, self.score, self.label)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracks:
    """Detections of one frame with identities: `track_id` `(n,)` int64, unique within `(stream_id, epoch)`.

    A row of `detections` that belongs to no confirmed track has the id -1.
    """

    detections: Detections
    track_id: NDArray[np.int64]

    def __post_init__(self) -> None:
        freeze(self.track_id)

    @property
    def ref(self) -> FrameRef:
        """The frame they were seen in."""
        return self.detections.ref
