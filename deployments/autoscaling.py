"""The policy that Serve's controller asks how many replicas each stage is to have; it must be in the image.

Serve pickles this module by value and everything it imports by name, and asks it within the controller's own loop. So
nothing here waits, and nothing raises: a policy that raises would keep every later application from being deployed.
Source: facts/ray-serve.md §0 and §1.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any, Final

from app.core import metrics as table
from app.core.load_signals import LoadSignals
from app.policy.autoscaling import Decision, ScalingState, Verdict, decide
from app.policy.autoscaling_parameters import AutoscalingParameters, turned
from app.policy.scaling_explanation import Explanation, Question, document, explained
from app.policy.stage_plan import StageParameters, StagePlan, follow
from deployments import load_report as told
from deployments.scaling_board import ScalingBoard

LOG = logging.getLogger("sightline")
_CLEAR_S: Final = 5.0
"""What waits before the replicas counts as so many requests more a second as would clear it in this time."""


class ScalingPolicy:
    """One application's plan: the Detector by its load, every other stage so that it keeps up with the Detector.

    `target_qps` and the other numbers are those of AutoscalingParameters; a Detector's `user_config` turns them while
    it runs. With `dry_run` all is decided and explained, and nothing is done. `stage` holds StageParameters.
    """

    def __init__(
        self,
        *,
        leader: str = "Detector",
        period_s: float = 1.0,
        dry_run: bool = False,
        stage: Mapping[str, float] | None = None,
        board: ScalingBoard | None = None,
        clock: Callable[[], float] = time.monotonic,
        **numbers: float,
    ) -> None:
        self._leader = leader
        self._period_s = period_s
        self._dry_run = dry_run
        self._board = board or ScalingBoard()
        self._clock = clock
        self._state = ScalingState()
        self._decided_s = float("-inf")
        self._problem = self._own_problem = ""
        self._numbers = AutoscalingParameters()
        self._stage = StageParameters()
        try:
            self._numbers = turned(self._numbers, numbers)
            self._stage = StageParameters(**(stage or {}))
        except (ValueError, TypeError) as error:
            self._own_problem = f"the policy's numbers are not taken, the built-in ones are: {error}"
            self._say(self._own_problem)

    def __call__(self, contexts: Mapping[Any, Any]) -> tuple[dict[Any, float], dict[Any, Any]]:
        """Replicas by deployment; one that is not named keeps what it has. Never raises."""
        try:
            return self._round(contexts), {}
        except Exception as error:  # noqa: BLE001  whatever it is, the controller goes on
            self._say(f"no decision could be made: {type(error).__name__}: {error}")
            return {}, {}

    def _round(self, contexts: Mapping[Any, Any]) -> dict[Any, float]:
        now_s = self._clock()
        leaders = [(key, context) for key, context in contexts.items() if context.deployment_name == self._leader]
        if not leaders or now_s - self._decided_s < self._period_s:
            return {}
        self._decided_s = now_s
        key, context = leaders[0]
        parameters, is_dry = self._turned(context)
        signals, telling = _signals(context)
        question = Question(
            signals=signals,
            before=self._state,
            parameters=parameters,
            now_s=now_s,
            running=telling,
            ordered=context.target_num_replicas,
        )
        decision = decide(
            signals,
            self._state,
            parameters,
            now_s=now_s,
            running=telling,
            ordered=context.target_num_replicas,
        )
        # What was not done has not cooled anything down: of a dry run only the confirmations are kept.
        self._state = replace(self._state, calm=decision.state.calm) if is_dry else decision.state
        stages = self._stages(contexts, decision, parameters, signals, telling)
        self._tell(context, question, decision, stages, is_dry=is_dry)
        if is_dry:
            return {}
        return {key: float(decision.replicas), **{stage: float(plan.replicas) for stage, plan in stages.items()}}

    def _turned(self, context: Any) -> tuple[AutoscalingParameters, bool]:
        """The policy's own numbers, Serve's bounds, and over them what the replicas were configured with last."""
        least = max(1, int(context.capacity_adjusted_min_replicas))
        most = max(least, int(context.capacity_adjusted_max_replicas))
        own = replace(self._numbers, min_replicas=least, max_replicas=most)
        knobs = _knobs(context)
        is_dry = bool(knobs.pop(told.DRY_RUN, self._dry_run))
        try:
            own = turned(own, knobs)
            self._say(self._own_problem)
        except ValueError as error:
            self._say(f"the knobs of user_config are not taken: {error}")
        return own, is_dry

    def _stages(
        self,
        contexts: Mapping[Any, Any],
        decision: Decision,
        parameters: AutoscalingParameters,
        signals: LoadSignals | None,
        telling: int,
    ) -> dict[Any, StagePlan]:
        qps = signals.qps * telling if signals else 0.0
        return {
            key: follow(
                busy_cores=_total(context, told.BUSY_CORES),
                qps=qps,
                planned_qps=decision.replicas * parameters.target_qps,
                ordered=context.target_num_replicas,
                parameters=self._stage,
            )
            for key, context in contexts.items()
            if context.deployment_name != self._leader
        }

    def _tell(
        self, context: Any, question: Question, decision: Decision, stages: Mapping[Any, StagePlan], *, is_dry: bool
    ) -> None:
        explanation = explained(decision, question)
        self._count(explanation, decision)
        if decision.verdict is not Verdict.HOLD:
            LOG.info("autoscaling%s: %s", " (dry run)" if is_dry else "", explanation.words)
        self._board.post(
            context.app_name,
            {
                "scaled": self._leader,
                "dry_run": is_dry,
                "decided_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "problem": self._problem,
                **document(explanation),
                "parameters": asdict(question.parameters),
                "stages": {key.name: asdict(plan) for key, plan in stages.items()},
            },
        )

    def _count(self, explanation: Explanation, decision: Decision) -> None:
        tally, scaled = self._board.tally, self._leader
        counts = {"running": explanation.running, "ordered": explanation.replicas, "wanted": explanation.wanted}
        for count, replicas in counts.items():
            tally.set(table.AUTOSCALER_REPLICAS, (scaled, count), to=replicas)
        if explanation.score is not None:
            tally.set(table.AUTOSCALER_TERM, (scaled, "score"), to=explanation.score)
        for term in explanation.terms:
            tally.set(table.AUTOSCALER_TERM, (scaled, term.signal), to=term.term)
        guard = decision.stopped_by or "none"
        tally.count(table.AUTOSCALER_DECISIONS, (scaled, decision.verdict, decision.cause, guard))

    def _say(self, problem: str) -> None:
        if problem and problem != self._problem:
            LOG.error("autoscaling: %s", problem)
        self._problem = problem


def _signals(context: Any) -> tuple[LoadSignals | None, int]:
    """The mean load of the replicas that tell theirs, and how many those are."""
    metrics = context.aggregated_metrics
    qps = metrics.get(told.QPS, {})
    if not qps:
        return None, 0
    telling = len(qps)
    waiting = max(float(context.total_queued_requests), 0.0)
    return (
        LoadSignals(
            qps=(sum(qps.values()) + waiting / _CLEAR_S) / telling,
            vram_used=_mean(metrics.get(told.VRAM_USED, {})),
            vram_dynamic=_mean(metrics.get(told.VRAM_DYNAMIC, {})),
            pcie=_mean(metrics.get(told.PCIE, {})),
        ),
        telling,
    )


def _knobs(context: Any) -> dict[str, float]:
    """The knobs as the replica that told its load last has them: a mean of old and new ones is neither."""
    newest: dict[str, float] = {}
    newest_s = float("-inf")
    metrics = {name: series for name, series in context.raw_metrics.items() if name.startswith(told.KNOB)}
    latest = context.raw_metrics.get(told.QPS, {})
    for replica, looks in latest.items():
        if looks and looks[-1].timestamp > newest_s:
            newest_s = looks[-1].timestamp
            newest = {
                name.removeprefix(told.KNOB): float(series[replica][-1].value)
                for name, series in metrics.items()
                if series.get(replica) and series[replica][-1].timestamp >= newest_s
            }
    return newest


def _total(context: Any, name: str) -> float | None:
    """Of all replicas of a stage, those that tell nothing taken for like the others; None where none tells."""
    values = context.aggregated_metrics.get(name, {})
    return _mean(values) * max(context.current_num_replicas, len(values)) if values else None


def _mean(values: Mapping[Any, float]) -> float:
    return sum(values.values()) / len(values) if values else 0.0
