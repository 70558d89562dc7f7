"""What happened in one cell of scenario `gpu-faults`, and what is wrong with it."""

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from app.policy.fault_plan import MAX_DETECTION_S, MAX_RECOVERY_S
from app.policy.ladder import LadderParameters, Rung

FIRST: Final = Rung.TENSORRT
SLO_S: Final = LadderParameters().slo_s


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How frame `seq` ended: `result`, `dropped` or `error`, with its reason."""

    seq: int
    at_s: float
    kind: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Readable:
    """A result in the log. `engine` and `relief` are what truly made it, `degraded` is what it says of itself."""

    is_right: bool
    engine: Rung
    relief: Rung | None
    degraded: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """One look at readiness; `is_able` is the truth, from the device and the process."""

    at_s: float
    said_ready: bool
    is_able: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """The service at one moment; `engine` None while no process is there."""

    at_s: float
    is_up: bool
    engine: Rung | None
    relief: int
    queue_age_s: float


@dataclass(slots=True, kw_only=True)
class CellRecord:
    """Everything that happened to one fault under one load. Frames are numbered from 0 to `captured` - 1."""

    load: float
    kind: str
    captured: int = 0
    strike_s: float = 0.0
    fault_end_s: float = 0.0
    restarts: list[float] = field(default_factory=list)
    ends: list[End] = field(default_factory=list)
    acknowledged: list[int] = field(default_factory=list)
    readable: dict[int, Readable] = field(default_factory=dict)
    polls: list[Poll] = field(default_factory=list)
    ticks: list[Tick] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usual:
    """The worst that the same load does without a fault: rungs of relief, and seconds that frames wait."""

    relief: int
    queue_age_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is wrong with a cell; all zero and in time when it is well.

    `unended` frames did not end exactly once; `lost` results were acknowledged and cannot be read back as they were;
    `unflagged` were made below the first rung and do not name it; `misflagged` say so and were not. `detection_s` ends
    when the service says that not all is well; where it was no worse than usual there is nothing to find.
    """

    unended: int
    lost: int
    false_ready: int
    unflagged: int
    misflagged: int
    detection_s: float
    recovery_s: float
    is_tolerated: bool

    @property
    def is_well(self) -> bool:
        """Whether the cell keeps all promises."""
        wrong = self.unended + self.lost + self.false_ready + self.unflagged + self.misflagged
        return wrong == 0 and self.detection_s <= MAX_DETECTION_S and self.recovery_s <= MAX_RECOVERY_S


def usual(control: CellRecord) -> Usual:
    """What a cell without a fault shows."""
    return Usual(
        relief=max(tick.relief for tick in control.ticks),
        queue_age_s=max(SLO_S, *(tick.queue_age_s for tick in control.ticks)),
    )


def judge(record: CellRecord, normal: Usual) -> Verdict:
    """What is wrong with the cell, beside what its load alone does."""
    ends = Counter(end.seq for end in record.ends)
    flagged = [_flagged(readable) for readable in record.readable.values()]
    bad = [tick.at_s for tick in record.ticks if tick.at_s >= record.strike_s and _is_bad(tick, normal)]
    struck_s = _struck_s(record)
    is_once = record.kind in {"sticky_error", "context_loss"}  # over as soon as it has struck; what it broke is not
    over_s = struck_s if is_once else record.fault_end_s
    return Verdict(
        unended=sum(ends[seq] != 1 for seq in range(record.captured)) + len(ends.keys() - range(record.captured)),
        lost=sum(not _is_kept(record, seq) for seq in record.acknowledged),
        false_ready=sum(poll.said_ready and not poll.is_able for poll in record.polls),
        unflagged=sum(is_below and not is_told for is_below, is_told in flagged),
        misflagged=sum(is_told and not is_below for is_below, is_told in flagged),
        detection_s=_sign_s(record, after_s=struck_s) - struck_s if bad else 0.0,
        recovery_s=max(max(bad, default=over_s) - over_s, 0.0),
        is_tolerated=not bad,
    )


def _is_kept(record: CellRecord, seq: int) -> bool:
    readable = record.readable.get(seq)
    return readable is not None and readable.is_right


def _flagged(readable: Readable) -> tuple[bool, bool]:
    """Whether it was made below the first rung, and whether it says so, naming every rung."""
    below = [rung for rung in (readable.engine, readable.relief) if rung not in {FIRST, None}]
    told = readable.degraded or ""
    return bool(below), bool(told) and all(f"{rung}: " in f"{told} " for rung in below)


def _is_bad(tick: Tick, normal: Usual) -> bool:
    """Worse than the load alone explains."""
    return (
        not tick.is_up
        or tick.engine is not FIRST
        or tick.relief > normal.relief
        or tick.queue_age_s > normal.queue_age_s
    )


def _struck_s(record: CellRecord) -> float:
    """When the fault first met somebody: at once, or with the first load after the restart that it waited for."""
    is_on_load = record.kind in {"corrupt_plan", "engine_load_failure"}
    return (
        next((at_s for at_s in record.restarts if at_s > record.strike_s), math.inf) if is_on_load else record.strike_s
    )


def _sign_s(record: CellRecord, *, after_s: float) -> float:
    """When the service first said that not all is well, whatever it put it down to: not ready, or answers degraded."""
    polls = (poll.at_s for poll in record.polls if poll.at_s >= after_s and not poll.said_ready)
    ticks = (
        tick.at_s
        for tick in record.ticks
        if tick.at_s >= after_s and (not tick.is_up or tick.engine is not FIRST or tick.relief)
    )
    return min(next(polls, math.inf), next(ticks, math.inf))
