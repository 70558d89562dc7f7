"""The knobs of the tracker, in seconds and ratios, so that one setting fits every frame rate and picture size."""

from dataclasses import dataclass, fields

from app.core.errors import InvalidParameterError


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerParameters:
    """How detections become tracks. One default serves all streams; every range is checked.

    Scores, all in [0, 1]: a detection of at least `high_score` takes part in the first association, one of at least
    `low_score` in the second, the rest is left alone. Only one of at least `min_new_score` begins a track.

    `min_iou`, in (0, 1], is the least overlap of a match. A track is kept `max_lost_s` seconds (>= 0) unseen. It is
    confirmed, and gets its id, with its `min_hits`-th detection (>= 1); one that is missed before is forgotten.

    `is_class_aware`: a detection continues only a track of its own label.

    Motion, in sizes of the object and seconds, all > 0 (the size itself cancels out: their ratios decide):
    `position_noise` is the standard deviation of a measured centre, `size_noise` of a measured width or height;
    `position_drift` and `size_drift` are the densities of the white acceleration, `initial_speed` and `initial_growth`
    the standard deviations of the velocities of a new track.
    """

    high_score: float = 0.5
    low_score: float = 0.1
    min_new_score: float = 0.6
    min_iou: float = 0.3
    max_lost_s: float = 1.0
    min_hits: int = 2
    is_class_aware: bool = True
    position_noise: float = 0.05
    size_noise: float = 0.08
    position_drift: float = 0.3
    size_drift: float = 0.1
    initial_speed: float = 2.0
    initial_growth: float = 0.3

    def __post_init__(self) -> None:
        for name in ("high_score", "low_score", "min_new_score"):
            _require(name, ok=0 <= getattr(self, name) <= 1, wanted="in [0, 1]")
        _require("min_iou", ok=0 < self.min_iou <= 1, wanted="in (0, 1]")
        _require("max_lost_s", ok=0 <= self.max_lost_s < float("inf"), wanted="a finite number of seconds, 0 or more")
        for name in [field.name for field in fields(self)][-6:]:
            _require(name, ok=0 < getattr(self, name) < float("inf"), wanted="a finite number above 0")
        _require("low_score", ok=self.low_score <= self.high_score, wanted="at most high_score")
        _require("min_hits", ok=self.min_hits >= 1, wanted="1 or more")


def _require(name: str, *, ok: bool, wanted: str) -> None:
    if not ok:
        raise InvalidParameterError(f"{name} must be {wanted}")
