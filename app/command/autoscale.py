"""`sightline autoscale`: the scaling policy on a recorded load, and what a running service tells of its decisions."""

import argparse
import asyncio
import csv
import json
import sys
import time
from datetime import datetime
from typing import Any, Final, TextIO

from app.client.calls import HttpCalls
from app.client.sightline import TIMEOUT_S
from app.command.scaling_plot import plot
from app.core.errors import InvalidParameterError, InvalidRequestError, UnavailableError
from app.core.load_signals import LoadSignals
from app.policy.autoscaling import Verdict
from app.policy.autoscaling_parameters import AutoscalingParameters, turned
from app.policy.scaling_explanation import document, explained
from app.policy.scaling_trace import COLUMNS, Recorded, Replayed, as_row, read_trace, replay, replay_as_recorded

_EXPLAIN: Final = "/v1/autoscaling/explain"
_POLL_S: Final = 0.5


async def run(arguments: argparse.Namespace) -> int:
    """Exit code 0 when all went well; 1 from `explain` and `record` where nobody decides."""
    if arguments.action == "replay":
        return _replay(arguments)
    calls = HttpCalls(arguments.url, headers={}, timeout_s=TIMEOUT_S)
    try:
        if arguments.action == "record":
            with arguments.trace.open("w", encoding="utf-8", newline="") as file:
                return await _record(calls, file, seconds=arguments.seconds)
        told = await calls.json("GET", _EXPLAIN)
    finally:
        await calls.close()
    print(json.dumps(told)) if arguments.json else _show(told)
    return 0 if told["enabled"] else 1


def _replay(arguments: argparse.Namespace) -> int:
    try:
        bounds = AutoscalingParameters(min_replicas=arguments.min, max_replicas=arguments.max)
        parameters = turned(bounds, dict(arguments.set))
    except ValueError as error:
        raise InvalidParameterError(str(error)) from None
    with arguments.trace.open(encoding="utf-8", newline="") as file:
        trace = read_trace(file)
    if not trace:
        raise InvalidRequestError("the trace is empty")
    if arguments.dry_run:
        decisions = list(replay_as_recorded(trace, parameters))
    else:
        first = arguments.first or min(max(trace[0].running, arguments.min), arguments.max)
        decisions = list(replay(trace, parameters, first=first, start_s=arguments.start))
    for one in decisions:
        if arguments.json:
            told = document(explained(one.decision, one.question))
            print(json.dumps({"time_s": one.question.now_s, **told}))
        elif arguments.all or one.decision.verdict is not Verdict.HOLD:
            print(_line(one))
    if arguments.plot is not None:
        arguments.plot.write_text(plot(decisions, title=arguments.trace.name), encoding="utf-8")
    _say(_summary(decisions))
    return 0


def _line(one: Replayed) -> str:
    decision, question = one.decision, one.question
    score = f"{decision.load.score:.3f}" if decision.load else "-"
    told = explained(decision, question).words
    return f"{question.now_s:>10.1f} s  score {score:>6}  {question.ordered:>4} -> {decision.replicas:<4}  {told}"


def _summary(decisions: list[Replayed]) -> str:
    outs = sum(one.decision.verdict is Verdict.OUT for one in decisions)
    ins = sum(one.decision.verdict is Verdict.IN for one in decisions)
    most = max(one.decision.replicas for one in decisions)
    times = [one.question.now_s for one in decisions]
    spans = zip(decisions, times, times[1:], strict=False)
    hours = sum(one.question.running * (after - before) for one, before, after in spans) / 3600
    return f"{len(decisions)} decisions, {outs} out, {ins} in, at most {most} replicas, {hours:.3f} replica-hours"


async def _record(calls: HttpCalls, file: TextIO, *, seconds: float) -> int:
    """Write a row for each decision that the service makes, until the time is over or it is interrupted."""
    rows = csv.writer(file)
    rows.writerow(COLUMNS)
    until_s = time.monotonic() + seconds
    last, written = "", 0
    while time.monotonic() < until_s:
        told = await calls.json("GET", _EXPLAIN)
        if not told["enabled"]:
            raise UnavailableError(told["words"])
        if told["decided_at"] != last and told["signals"] is not None:
            last = told["decided_at"]
            rows.writerow(as_row(recorded(told)))
            file.flush()
            written += 1
        await asyncio.sleep(_POLL_S)
    _say(f"{written} decisions written")
    return 0


def recorded(told: dict[str, Any]) -> Recorded:
    """The row of a decision that a service has explained."""
    at_s = datetime.fromisoformat(told["decided_at"]).timestamp()
    signals = LoadSignals(**told["signals"])
    return Recorded(time_s=at_s, signals=signals, running=told["running"], ordered=told["ordered"])


def _show(told: dict[str, Any]) -> None:
    """The document in words, as a person reads it."""
    print(told["words"])
    for term in told.get("terms", ()):
        parts = f"{term['weight']:.2f} x {term['ratio']:.3f} = {term['term']:.3f}"
        print(f"  {term['signal']:<5} {term['measured']:>9.3f}  {parts}  {term['level']}")
    if told.get("score") is not None:
        print(f"  score {told['score']:.3f}")
    for guard in told.get("guards", ()):
        print(f"  {'!' if guard['has_stopped'] else ' '} {guard['guard']}: {guard['words']}")
    for change in told.get("would_change", ()):
        print(f"  would change it: {change}")


def _say(text: str) -> None:
    print(text, file=sys.stderr)
