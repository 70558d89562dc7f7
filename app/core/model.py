"""What is known of one model: its names, its input and how its output is to be read."""

from dataclasses import dataclass
from enum import StrEnum


class Head(StrEnum):
    """How the network's output tensor encodes boxes."""

    YOLOV5 = "yolov5"  # (B, N, 5 + nc): cx cy w h, objectness, class scores; model pixels
    YOLOV8 = "yolov8"  # (B, 4 + nc, N): cx cy w h, class scores; model pixels; YOLO11 and YOLO26 (one-to-many) too
    END_TO_END = "end_to_end"  # (B, M, 6): x1 y1 x2 y2 score class; already suppressed
    YOLOX = "yolox"  # (B, N, 5 + nc): undecoded grid offsets and log sizes, strides 8 16 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """One version of one model as the path sees it.

    `input_*_px` is the canvas the letterbox fills. `max_batch` is None for a dynamic batch. The engine feeds the
    network `pixel * scale`, channels in `channel_order`.
    """

    name: str
    version: str
    labels: tuple[str, ...]
    head: Head
    input_width_px: int
    input_height_px: int
    max_batch: int | None = None
    scale: float = 1 / 255
    channel_order: str = "rgb"
