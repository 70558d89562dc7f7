"""Where a frame is to go, and by when."""

from dataclasses import dataclass
from typing import Final

MAX_PRIORITY = 10
DEFAULT_PRIORITY = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Urgency:
    """`priority` 0 to 10, 10 the last to be given up; `due_at` UTC in seconds, None for the service's own objective.

    `share` is whose share of the engine a frame takes, None for nobody's. The wall clock, because stages on several
    machines have no other in common.
    """

    priority: int = DEFAULT_PRIORITY
    due_at: float | None = None
    share: str | None = None


ORDINARY: Final = Urgency()


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The version of a model that a frame goes to, chosen under route table `epoch`, and the canvas it is fitted to.

    `shadow` is a version that sees the frame too and whose answer nobody gets.
    """

    model: str
    version: str
    epoch: int
    width_px: int
    height_px: int
    shadow: str | None = None
