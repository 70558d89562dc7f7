"""How frames end, as metrics."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal, TypeAlias

from app.core import metrics as table
from app.core.errors import InternalError, SightlineError
from app.core.metrics import Metrics
from app.core.result import FrameResult, Status

FrameKind: TypeAlias = Literal["still", "video", "stream", "probe"]
"""What a frame belongs to; a probe is a picture of our own."""
_MOST_AGE_S: Final = 3600.0
"""A source whose clock is off by years would otherwise be all there is to see in a sum of ages."""


def note(end: FrameResult, metrics: Metrics, *, kind: FrameKind) -> None:
    """One captured frame has come to its end."""
    metrics.count(table.SERVICE_FRAMES, (kind, end.status.value, end.reason or ""))
    if end.status is not Status.RESULT:
        return
    metrics.observe(table.SERVICE_FRAME_SECONDS, (kind,), value=end.timings.total_s)
    if end.captured_at is not None:
        age_s = min(max(0.0, time.time() - end.captured_at.timestamp()), _MOST_AGE_S)
        metrics.observe(table.SERVICE_RESULT_AGE, (kind,), value=age_s)


@contextmanager
def accounted(metrics: Metrics, *, kind: FrameKind) -> Iterator[None]:
    """A frame that ends in an error within this block is counted; one that is answered, by `note`."""
    try:
        yield
    except SightlineError as error:
        metrics.count(table.SERVICE_FRAMES, (kind, Status.ERROR.value, error.code))
        raise
    except asyncio.CancelledError:
        metrics.count(table.SERVICE_FRAMES, (kind, Status.ERROR.value, "cancelled"))
        raise
    except Exception:
        metrics.count(table.SERVICE_FRAMES, (kind, Status.ERROR.value, InternalError().code))
        raise
