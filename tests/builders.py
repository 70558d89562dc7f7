"""The smallest valid values of every travelling type; keyword arguments say what a test cares about."""

import numpy as np

from app.core.frame import Boxes, Detections, EncodedFrame, Frame, FrameRef, Letterbox, ModelInput, Pixels
from app.core.model import Head, ModelSpec
from app.core.query import Query


def make_ref(*, stream_id: str = "s", epoch: int = 0, seq: int = 0, pts_s: float | None = None) -> FrameRef:
    return FrameRef(stream_id=stream_id, epoch=epoch, seq=seq, pts_s=pts_s)


def make_rgb(*, width_px: int = 64, height_px: int = 48, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height_px, width_px, 3), dtype=np.uint8)


def make_frame(
    *,
    rgb: Pixels | None = None,
    ref: FrameRef | None = None,
    query: Query | None = None,
    source: tuple[int, int] = (0, 0),
) -> Frame:
    """`source` is `(width_px, height_px)` before scaling; (0, 0) takes the array's own size."""
    rgb = make_rgb() if rgb is None else rgb
    height_px, width_px = rgb.shape[:2]
    return Frame(
        rgb=rgb,
        source_width_px=source[0] or width_px,
        source_height_px=source[1] or height_px,
        ref=ref or make_ref(),
        query=query or Query(),
    )


def make_encoded(data: bytes, *, seq: int = 0, query: Query | None = None) -> EncodedFrame:
    return EncodedFrame(data=data, ref=make_ref(seq=seq), query=query or Query())


def make_letterbox(*, width_px: float = 64, height_px: float = 64, scale: float = 1.0) -> Letterbox:
    return Letterbox(scale_x=scale, scale_y=scale, pad_x_px=0.0, pad_y_px=0.0, width_px=width_px, height_px=height_px)


def make_input(*, seq: int = 0, size_px: int = 64, query: Query | None = None) -> ModelInput:
    return ModelInput(
        canvases=(make_rgb(width_px=size_px, height_px=size_px, seed=seq),),
        letterboxes=(make_letterbox(width_px=size_px, height_px=size_px),),
        source_width_px=size_px,
        source_height_px=size_px,
        ref=make_ref(seq=seq),
        query=query or Query(),
    )


def make_detections(
    xyxy: Boxes | list[list[float]],
    *,
    score: list[float] | None = None,
    label: list[int] | None = None,
    ref: FrameRef | None = None,
    source: tuple[int, int] = (1920, 1080),
) -> Detections:
    boxes = np.asarray(xyxy, dtype=np.float32).reshape(-1, 4)
    return Detections(
        xyxy=boxes.copy(),
        score=np.asarray([0.9] * len(boxes) if score is None else score, dtype=np.float32),
        label=np.asarray([0] * len(boxes) if label is None else label, dtype=np.int32),
        source_width_px=source[0],
        source_height_px=source[1],
        ref=ref or make_ref(),
    )


def make_spec(*, labels: tuple[str, ...] = ("person", "car"), head: Head = Head.YOLOV8, size_px: int = 64) -> ModelSpec:
    return ModelSpec(
        name="test", version="1.0.0", labels=labels, head=head, input_width_px=size_px, input_height_px=size_px
    )
