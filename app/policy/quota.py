"""How many frames a tenant may send now: a bucket that fills at its rate."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bucket:
    """`tokens` frames were left at `at_s` seconds."""

    tokens: float
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaParameters:
    """`frames_per_s` in the long run; `burst_frames` at once after a pause. Both > 0."""

    frames_per_s: float
    burst_frames: int


def filled(bucket: Bucket, *, now_s: float, parameters: QuotaParameters) -> Bucket:
    """The bucket as it is by now; a clock that goes back counts as one that stands."""
    tokens = bucket.tokens + max(0.0, now_s - bucket.at_s) * parameters.frames_per_s
    return Bucket(min(float(parameters.burst_frames), tokens), max(now_s, bucket.at_s))


def owed(bucket: Bucket, frames: int, *, now_s: float, parameters: QuotaParameters) -> tuple[Bucket, float]:
    """The bucket after `frames` were taken in any case, and the seconds after which it is out of debt."""
    now = filled(bucket, now_s=now_s, parameters=parameters)
    after = Bucket(now.tokens - frames, now.at_s)
    return after, max(0.0, -after.tokens / parameters.frames_per_s)


def taken(bucket: Bucket, frames: int, *, now_s: float, parameters: QuotaParameters) -> tuple[Bucket, float]:
    """The bucket after `frames` were asked for, and in how many seconds they could be had; 0 if they were.

    More than a burst at once is had once the bucket is full, and leaves it in debt: nothing can be asked for that is
    never granted.
    """
    now = filled(bucket, now_s=now_s, parameters=parameters)
    needed = min(frames, parameters.burst_frames)
    if now.tokens >= needed:
        return Bucket(now.tokens - frames, now.at_s), 0.0
    return now, (needed - now.tokens) / parameters.frames_per_s
