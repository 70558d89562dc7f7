"""A recorded load, and what the autoscaling policy makes of it."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Final

from app.core.errors import InvalidRequestError
from app.core.load_signals import LoadSignals
from app.policy.autoscaling import Decision, ScalingState, decide
from app.policy.autoscaling_parameters import AutoscalingParameters
from app.policy.scaling_explanation import Question

COLUMNS: Final = ("time_s", "running", "ordered", "qps", "vram_used", "vram_dynamic", "pcie")
"""Of a trace as CSV. All but the first and `qps` may be left out: then it is one replica without a device."""
_DEFAULTS: Final = {"running": 1.0, "vram_used": 0.0, "vram_dynamic": 0.0, "pcie": 0.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """The mean load of the `running` replicas at `time_s`, while `ordered` were wanted."""

    time_s: float
    signals: LoadSignals
    running: int
    ordered: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """One decision, and what was asked."""

    question: Question
    decision: Decision


def read_trace(lines: Iterable[str]) -> list[Recorded]:
    """The rows of a CSV with a head of `COLUMNS`; InvalidRequestError names the line that is wrong."""
    reader = csv.DictReader(lines)
    missing = {"time_s", "qps"} - set(reader.fieldnames or ())
    if missing:
        raise InvalidRequestError(f"the trace has no column {' and no column '.join(sorted(missing))}")
    rows: list[Recorded] = []
    for number, row in enumerate(reader, start=2):
        try:
            rows.append(_recorded(row))
        except (ValueError, TypeError):
            raise InvalidRequestError(f"line {number} of the trace holds something that is no measurement") from None
        if len(rows) > 1 and rows[-1].time_s <= rows[-2].time_s:
            raise InvalidRequestError(f"line {number} of the trace is not later than the one before it")
    return rows


def as_row(recorded: Recorded) -> list[float]:
    """The cells of one line, in the order of `COLUMNS`."""
    signals = recorded.signals
    device = (signals.vram_used, signals.vram_dynamic, signals.pcie)
    return [recorded.time_s, recorded.running, recorded.ordered, signals.qps, *device]


def _recorded(row: Mapping[str, str | None]) -> Recorded:
    cells = {name: float(row.get(name) or default) for name, default in _DEFAULTS.items()}
    time_s, qps = float(row["time_s"] or ""), float(row["qps"] or "")
    ordered = float(row.get("ordered") or cells["running"])
    if not all(isfinite(cell) and cell >= 0 for cell in (qps, ordered, *cells.values())) or not isfinite(time_s):
        raise ValueError
    signals = LoadSignals(qps=qps, vram_used=cells["vram_used"], vram_dynamic=cells["vram_dynamic"], pcie=cells["pcie"])
    return Recorded(time_s=time_s, signals=signals, running=int(cells["running"]), ordered=int(ordered))


def replay_as_recorded(trace: Sequence[Recorded], parameters: AutoscalingParameters) -> Iterator[Replayed]:
    """What the policy says at each row about the replicas that there were, whether or not it was done."""
    state = ScalingState()
    for row in trace:
        replayed = _asked(row.signals, state, parameters, now_s=row.time_s, running=row.running, ordered=row.ordered)
        state = replayed.decision.state
        yield replayed


def replay(
    trace: Sequence[Recorded], parameters: AutoscalingParameters, *, first: int = 1, start_s: float = 0.0
) -> Iterator[Replayed]:
    """What would have come of it, had the policy acted: the recorded load, spread over the replicas that would run.

    It begins with `first` replicas; those that are ordered run `start_s` later. The memory of weights is on each.
    """
    state, ordered = ScalingState(), first
    ready_s = [float("-inf")] * first
    for row in trace:
        running = sum(1 for at_s in ready_s if at_s <= row.time_s)
        signals = spread(row.signals, over=running, instead_of=row.running) if running else None
        replayed = _asked(signals, state, parameters, now_s=row.time_s, running=running, ordered=ordered)
        state, ordered = replayed.decision.state, replayed.decision.replicas
        ready_s = sorted(ready_s)[:ordered] + [row.time_s + start_s] * (ordered - len(ready_s))
        yield replayed


def spread(signals: LoadSignals, *, over: int, instead_of: int) -> LoadSignals:
    """The load of one of `over` replicas that have the work of `instead_of` such; a device is full at 1."""
    share = instead_of / over
    weights = max(signals.vram_used - signals.vram_dynamic, 0.0)
    dynamic = min(signals.vram_dynamic * share, max(1.0 - weights, 0.0))
    return replace(
        signals,
        qps=signals.qps * share,
        vram_used=weights + dynamic,
        vram_dynamic=dynamic,
        pcie=min(signals.pcie * share, 1.0),
    )


def _asked(
    signals: LoadSignals | None,
    before: ScalingState,
    parameters: AutoscalingParameters,
    *,
    now_s: float,
    running: int,
    ordered: int,
) -> Replayed:
    decision = decide(signals, before, parameters, now_s=now_s, running=running, ordered=ordered)
    question = Question(
        signals=signals, before=before, parameters=parameters, now_s=now_s, running=running, ordered=ordered
    )
    return Replayed(question=question, decision=decision)
