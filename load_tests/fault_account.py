"""What callers of a running service saw of one fault, and what is wrong with it."""

import bisect
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from app.core.outcome import DropReason
from app.policy.fault_plan import MAX_DETECTION_S, MAX_RECOVERY_S
from app.policy.ladder import Rung
from load_tests.swap_models import Mark, is_of_picture, version_seen

SLOW_S: Final = 1.0
"""An answer that took longer counts as a sign that not all is well yet."""
TYPED: Final = frozenset(
    {"unavailable", "overloaded", "deadline_exceeded", "device_memory", "device_lost", DropReason.SAMPLED.value}
)
"""What a caller may be told while an engine is lost or too slow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The end of one picture. `code` is `result` or the problem's; `seq` its frame in the stream, None for a still.

    `why` are the words beside `degraded`, None where the flag is not up; `is_right` whether the content fits.
    """

    begun_s: float
    ended_s: float
    code: str
    version: str = ""
    seq: int | None = None
    why: str | None = None
    is_right: bool = True
    objects: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look at `/readyz`."""

    begun_s: float
    ended_s: float
    is_ready: bool


@dataclass(slots=True, kw_only=True)
class FaultRecord:
    """Everything that was seen; times are of one monotonic clock.

    `able` are moments, and whether there was a process then that could have answered. `events` are the frames that the
    stream's history tells afterwards: the content by number, several where one is told twice.
    """

    answers: list[Answer] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    able: list[tuple[float, bool]] = field(default_factory=list)
    events: dict[int, list[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultVerdict:
    """What is wrong; all empty and in time when the service is well. `detection_s` is infinite where it never told.

    `lost` frames were acknowledged, and the stream's history does not tell them once and as they were.
    """

    lost: tuple[int, ...]
    wrong: int
    untyped: Mapping[str, int]
    unexplained: tuple[str, ...]
    false_ready: int
    detection_s: float
    recovery_s: float

    @property
    def is_honest(self) -> bool:
        """Whether nothing was lost, wrong, unexplained or called ready in vain."""
        return not (self.lost or self.wrong or self.untyped or self.unexplained or self.false_ready)

    @property
    def is_well(self) -> bool:
        """Whether the fault was found and is over in time as well."""
        return self.is_honest and self.detection_s <= MAX_DETECTION_S and self.recovery_s <= MAX_RECOVERY_S


def answer_of(
    status: int, body: bytes, *, times_s: tuple[float, float], brightness: float, marks: Mapping[str, Mark]
) -> Answer:
    """Return what one request came to; `times_s` are when it was begun and ended."""
    begun_s, ended_s = times_s
    try:
        told: dict[str, Any] = json.loads(body)
        code = told.get("code") or told.get("reason") or told["status"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return Answer(begun_s=begun_s, ended_s=ended_s, code=f"{status} without a problem of ours")
    if code != "result":
        return Answer(begun_s=begun_s, ended_s=ended_s, code=code, seq=told.get("seq"))
    found, version = told["objects"], told["model"]["version"]
    is_seen = version_seen([one["box"] for one in found], marks) == version
    return Answer(
        begun_s=begun_s,
        ended_s=ended_s,
        code="result",
        version=version,
        seq=told["seq"],
        why=told.get("degraded_reason", "") if told["degraded"] else None,
        is_right=is_seen and is_of_picture(found[0]["score"], brightness),
        objects=content_of(told),
    )


def content_of(result: Mapping[str, Any]) -> str:
    """Return what of a result must be the same wherever it is told."""
    return json.dumps([result["objects"], result["degraded"], result.get("degraded_reason")])


def judge_fault(record: FaultRecord, *, struck_s: float, over_s: float, slow_s: float = SLOW_S) -> FaultVerdict:
    """Return what is wrong with the record of a fault that first struck at `struck_s` and was over at `over_s`."""
    after = [answer for answer in record.answers if answer.ended_s >= struck_s]
    bad_s = [answer.ended_s for answer in after if _is_bad(answer, slow_s=slow_s)]
    bad_s += [look.ended_s for look in record.looks if look.ended_s >= struck_s and not look.is_ready]
    told_s = [answer.ended_s for answer in after if answer.code != "result" or answer.why is not None]
    told_s += [look.ended_s for look in record.looks if look.ended_s >= struck_s and not look.is_ready]
    return FaultVerdict(
        lost=tuple(one.seq for one in record.answers if one.seq is not None and not _is_kept(one, record.events)),
        wrong=sum(not answer.is_right for answer in record.answers),
        untyped=Counter(one.code for one in record.answers if one.code != "result" and one.code not in TYPED),
        unexplained=tuple({one.why for one in record.answers if one.why is not None and not _is_explained(one.why)}),
        false_ready=sum(look.is_ready and not _was_able(look, record.able) for look in record.looks),
        detection_s=min(told_s, default=math.inf) - struck_s,
        recovery_s=max(max(bad_s, default=over_s) - over_s, 0.0),
    )


def _is_bad(answer: Answer, *, slow_s: float) -> bool:
    return answer.code != "result" or answer.why is not None or answer.ended_s - answer.begun_s > slow_s


def _is_kept(answer: Answer, events: Mapping[int, Sequence[str]]) -> bool:
    """Whether a frame's end is told once, as the sender heard it; what ended in an error is told as such elsewhere."""
    return answer.seq is None or answer.code != "result" or list(events.get(answer.seq, ())) == [answer.objects]


def _is_explained(why: str) -> bool:
    """Whether each part of the words names a rung below the first, and gives a reason."""
    parts = [part.partition(": ") for part in why.split("; ")]
    known = {str(rung) for rung in Rung if rung is not Rung.TENSORRT}
    return all(rung in known and reason.strip() for rung, _, reason in parts)


def _was_able(look: Look, able: Sequence[tuple[float, bool]]) -> bool:
    """Whether there was a process that could answer, at any moment from just before the look to just after."""
    moments = [at_s for at_s, _ in able]
    first = max(bisect.bisect_right(moments, look.begun_s) - 1, 0)
    last = bisect.bisect_left(moments, look.ended_s)
    return any(is_able for _, is_able in able[first : last + 1]) or not able
