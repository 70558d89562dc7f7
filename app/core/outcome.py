"""How a frame leaves the path: as a value, as a drop with a reason, or as a typed error; never silently."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias, TypeVar

from app.core.errors import SightlineError
from app.core.frame import FrameRef

T = TypeVar("T")


class DropReason(StrEnum):
    """Why a captured frame was not looked at."""

    SAMPLED = "sampled"  # target_fps: this frame was not due
    SUPERSEDED = "superseded"  # latest_frame: a newer frame was there when the model came free
    OVERLOADED = "overloaded"  # every_frame of a live stream: as many waited as may
    OVER_QUOTA = "over_quota"  # more than its tenant may send
    SOURCE_LOST = "source_lost"  # the decoder of a pulled stream, or the way from it, lost this frame


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """A frame that was left out on purpose."""

    ref: FrameRef
    reason: DropReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A frame that ended in an error."""

    ref: FrameRef
    error: SightlineError


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The last item of a video; `error` says what broke, if the input did not end well."""

    error: SightlineError | None = None


Outcome: TypeAlias = T | Dropped | Failed | End
"""One item of a batch between stages: a stage works on its own type and passes the others through untouched."""
