"""What a caller asks of one frame."""

from dataclasses import dataclass
from typing import TypeAlias

Region: TypeAlias = tuple[float, float, float, float]
"""`x1, y1, x2, y2` as fractions of the upright picture, x2 and y2 exclusive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Thresholds and filters of one request; `None` leaves the model's own default in force.

    `conf` and `iou` lie in [0, 1]; `classes` keeps only those class names; `roi` looks at that region only; `tile` n
    cuts the picture into n by n overlapping tiles, each seen at the model's full input size.
    """

    conf: float | None = None
    iou: float | None = None
    classes: frozenset[str] | None = None
    roi: Region | None = None
    tile: int = 1
