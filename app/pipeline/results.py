"""Outcomes of the path as results of the event contract."""

import logging
from dataclasses import replace
from datetime import UTC, datetime

from app.core.errors import InternalError, SightlineError, UnavailableError
from app.core.frame import Detections, FrameRef, Timings, Tracks
from app.core.model import ModelSpec
from app.core.outcome import Dropped, End, Failed, Outcome
from app.core.result import DetectedObject, FrameResult, ModelVersion, Status

LOG = logging.getLogger("sightline")
UNTRACKED = -1


def result_of(outcome: Detections | Tracks | Dropped | Failed, *, spec: ModelSpec, total_s: float) -> FrameResult:
    """The one result of one captured frame; `spec` is of what has answered, `total_s` its time in the service."""
    match outcome:
        case Dropped():
            return drop(outcome)
        case Failed(ref=ref, error=error):
            return failure(ref, error)
        case Tracks(detections=found):
            return _answer(found, spec, track_ids=outcome.track_id.tolist(), total_s=total_s)
        case Detections():
            return _answer(outcome, spec, track_ids=None, total_s=total_s)


def drop(dropped: Dropped) -> FrameResult:
    """The result of a frame that was left out on purpose."""
    return _result(dropped.ref, Status.DROPPED, reason=dropped.reason.value)


def failure(ref: FrameRef, error: SightlineError) -> FrameResult:
    """The result of a frame that ended in `error`."""
    return _result(ref, Status.ERROR, reason=error.code, detail=error.detail)


def in_epoch(outcome: Outcome[Detections], epoch: int) -> Outcome[Detections]:
    """The same outcome as one of another epoch of its stream."""
    if isinstance(outcome, End) or outcome.ref.epoch == epoch:
        return outcome
    return replace(outcome, ref=replace(outcome.ref, epoch=epoch))


def _answer(found: Detections, spec: ModelSpec, *, track_ids: list[int] | None, total_s: float) -> FrameResult:
    ids = track_ids if track_ids is not None else [UNTRACKED] * len(found.score)
    rows = zip(found.xyxy.tolist(), found.score.tolist(), found.label.tolist(), ids, strict=True)
    objects = tuple(
        DetectedObject(
            label=spec.labels[label],
            class_id=label,
            score=round(score, 4),
            box=(round(x1, 2), round(y1, 2), round(x2, 2), round(y2, 2)),
            track_id=track_id if track_id != UNTRACKED else None,
        )
        for (x1, y1, x2, y2), score, label, track_id in rows
    )
    answer = _result(found.ref, Status.RESULT, timings=replace(found.timings, total_s=total_s))
    return replace(
        answer,
        width_px=found.source_width_px,
        height_px=found.source_height_px,
        model=ModelVersion(name=spec.name, version=spec.version),
        route_epoch=0 if found.route is None else found.route.epoch,
        degraded=found.degraded is not None,
        degraded_reason=found.degraded,
        objects=objects,
        truncated=found.is_truncated,
    )


def _result(
    ref: FrameRef,
    status: Status,
    *,
    reason: str | None = None,
    detail: str | None = None,
    timings: Timings | None = None,
) -> FrameResult:
    return FrameResult(
        stream_id=ref.stream_id,
        epoch=ref.epoch,
        seq=ref.seq,
        event_id=f"{ref.stream_id}:{ref.epoch}:{ref.seq}",
        status=status,
        reason=reason,
        detail=detail,
        captured_at=None if ref.captured_at is None else datetime.fromtimestamp(ref.captured_at, tz=UTC),
        pts_s=ref.pts_s,
        timings=timings or Timings(),
    )


def typed(error: Exception) -> SightlineError:
    """What the frames of a batch end in that was lost to `error`."""
    match error:
        case SightlineError():
            return error
        case TimeoutError():
            return UnavailableError("a part of the service did not answer in time")
        case _:
            LOG.error("a batch of a stream failed", exc_info=error)
            return InternalError()
