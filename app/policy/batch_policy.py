"""What waits for an engine, what a batch is made of, and the seam that every batching policy fills."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from app.core.routing import MAX_PRIORITY


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """Pictures that may share a batch: one canvas size under one optimisation profile of at most `max_batch` images."""

    width_px: int
    height_px: int
    max_batch: int
    profile: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One request that waits: `images` canvases of one bucket that stay together.

    `number` is unique and grows with arrival; `stream` is whose share it takes, None for nobody's; `priority` 0 to 10,
    10 the last to be given up. `due_s` and `arrived_s` are on one monotonic clock. `is_hard`: after `due_s` the answer
    is worth nothing, otherwise it is only late.
    """

    number: int
    stream: str | None
    images: int
    priority: int
    due_s: float
    arrived_s: float
    bucket: Bucket
    is_hard: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """What a free lane takes, and who waits no longer: `expired` are hard deadlines that passed.

    An empty batch means that nothing is to be run before `wake_s`, or before the next arrival when that is None.
    """

    batch: tuple[Item, ...] = ()
    expired: tuple[Item, ...] = ()
    wake_s: float | None = None


class BatchPolicy(Protocol):
    """Holds what waits and says what runs next. It has no clock and no lock: times only grow, callers take turns."""

    @property
    def waiting_images(self) -> int:
        """Images of all that wait."""

    def offer(self, item: Item) -> None:
        """Let it wait. ValueError when it holds more images than its bucket takes at once, or none, or is known."""

    def withdraw(self, number: int) -> bool:
        """Forget it; False when it does not wait any more."""

    def displace(self, item: Item) -> Item | None:
        """Who leaves for `item` when no place is free, None when nobody does; that one waits no longer."""

    def cut(self, now_s: float) -> Cut:
        """What a lane that is free now takes."""

    def observe(self, batch: Sequence[Item], *, started_s: float, ended_s: float) -> None:
        """A batch was run whole and without an error between these times."""


def checked(item: Item) -> Item:
    """The item; ValueError unless one batch of its bucket can hold it, and its priority is one."""
    if not 0 <= item.priority <= MAX_PRIORITY:
        raise ValueError(f"priority {item.priority} is not 0 to {MAX_PRIORITY}")
    if not 1 <= item.images <= item.bucket.max_batch:
        raise ValueError(f"{item.images} images do not fit a batch of 1 to {item.bucket.max_batch}")
    return item
