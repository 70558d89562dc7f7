"""Scenario `autoscale`: the product's scaling policy in virtual time, beside three rules that others use.

Six traces at 1 to 10,000 GPUs (`simulate_traces`), one plant (`simulate_plant`), the rules with their settings
(`simulate_rules`). `reversals_per_10min` is the worst trace and size of ours, `most_reversals` the worst ten minutes of
all; `scale_out_periods` the longest time from demand beyond what was ordered to an order of more, in control periods.
`no_worse` counts of `pairs` (trace, size, rule) those in which ours, with one setting for all of them, has neither more
frames late or shed nor more GPU-hours. `front_no_worse` is the same at 100 GPUs where each rule has three targets, and
ours may be set to any of a grid for each: what a setting could have reached, had the trace been known. The controls are
the policy without hysteresis, which must reverse; one that never scales, which must lose frames; and ours told only
what was answered, as an overload hides it.
"""

import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from itertools import product
from statistics import median
from typing import Any

from app.core.load_signals import LoadSignals
from app.policy.autoscaling import ScalingState, decide
from load_tests.batcher_plot import Lines, plot
from load_tests.evidence import RESULTS, publish
from load_tests.simulate import (
    Make,
    hpa_like,
    keda_like,
    ours,
    row_58,
    serve_default,
    simulate,
    without_hysteresis,
)
from load_tests.simulate_account import Account
from load_tests.simulate_plant import PlantParameters
from load_tests.simulate_rules import AIM, AIM_SCORE, IN_COOLDOWN_S, REACH, Never, Ours, calibrated
from load_tests.simulate_traces import TRACES

SIZES = (1, 10, 100, 1_000, 10_000)
FRONT_GPUS = 100
COMPARED: Mapping[str, Make] = {"serve": serve_default(), "hpa": hpa_like(), "keda": keda_like()}
OURS: Mapping[str, Make] = {"ours": ours(), "ours, row 58 as it stands": row_58}
CONTROLS: Mapping[str, Make] = {
    "without hysteresis": without_hysteresis,
    "never": lambda _plant, _most: Never(),
    "told what is answered": ours(sees_offered=False),
}
TARGETS = (0.6, 0.7, 0.8)
GRID = tuple(product((0.6, 0.68, 0.74, 0.78, 0.82, 0.86, 0.9, 0.94, 0.98), (0.95, 1.0, 1.1), (300.0, 600.0)))
SAME = 1e-5
"""Shares of frames closer than this are the same."""
MAX_REVERSALS, MAX_PERIODS, MIN_TICKS = 1.0, 2.0, 1e6
_STEP_S = 30


def is_no_worse(mine: Account, other: Account) -> bool:
    """Whether neither the frames lost nor the hours are more."""
    return mine.violations <= other.violations + SAME and mine.gpu_hours <= other.gpu_hours


def accounts() -> dict[str, dict[str, dict[str, Account]]]:
    """By size, trace and rule."""
    found: dict[str, dict[str, dict[str, Account]]] = {}
    for gpus in SIZES:
        found[str(gpus)] = {
            name: {rule: simulate(trace, make, gpus=gpus).account() for rule, make in {**OURS, **COMPARED}.items()}
            for name, trace in TRACES.items()
        }
        told = "  ".join(f"{name} {row['ours'].reversals_per_10min:.2f}" for name, row in found[str(gpus)].items())
        print(f"autoscale: {gpus} GPUs, reversals in ten minutes: {told}", file=sys.stderr)
    return found


def front() -> dict[str, dict[str, dict[str, Any] | None]]:
    """By trace, and by rule with its target: the setting of ours that is no worse and has the fewest hours, or None."""
    found: dict[str, dict[str, dict[str, Any] | None]] = {}
    for name, trace in TRACES.items():
        mine = {
            (reach, aim, pause_s): simulate(
                trace, ours(reach=reach, aim_score=aim, in_cooldown_s=pause_s), gpus=FRONT_GPUS
            ).account()
            for reach, aim, pause_s in GRID
        }
        found[name] = {}
        for target in TARGETS:
            for rule, make in {"serve": serve_default, "hpa": hpa_like, "keda": keda_like}.items():
                other = simulate(trace, make(target), gpus=FRONT_GPUS).account()
                fits = [(account.gpu_hours, knobs) for knobs, account in mine.items() if is_no_worse(account, other)]
                best = min(fits, default=None)
                found[name][f"{rule} at {target}"] = best and {
                    "reach": best[1][0],
                    "aim_score": best[1][1],
                    "in_cooldown_s": best[1][2],
                    "hours_ratio": round(best[0] / other.gpu_hours, 3),
                    "violations": [round(mine[best[1]].violations, 6), round(other.violations, 6)],
                }
        print(f"autoscale: {name}: no worse than {sum(v is not None for v in found[name].values())}", file=sys.stderr)
    return found


def ticks_per_s(calls: int = 50_000, turns: int = 5) -> float:
    """Decisions a second of processor time, over loads that hold, go out and go in; the median of the turns."""
    plant = PlantParameters()
    parameters = calibrated(plant, max_replicas=1_000)
    loads = [
        LoadSignals(qps=4.0 * step, vram_used=0.3 + 0.005 * step, vram_dynamic=0.005 * step, pcie=0.003 * step)
        for step in range(20, 120)
    ]
    rates = []
    for _ in range(turns):
        state = ScalingState()
        start_s = time.process_time()
        for call in range(calls):
            state = decide(loads[call % 100], state, parameters, now_s=5.0 * call, running=100, ordered=100).state
        rates.append(calls / (time.process_time() - start_s))
    return median(rates)


def picture() -> None:
    """GPUs ordered by each rule over the time of three traces, above what the demand would fill."""
    panels = []
    for name, rules in (("flash crowd", "serve"), ("camera herds", "hpa"), ("slow nodes", "keda")):
        trace = TRACES[name]
        lines: dict[str, list[tuple[float, float]]] = {}
        for rule, make in (("ours", OURS["ours"]), (rules, COMPARED[rules])):
            seconds = simulate(trace, make, gpus=FRONT_GPUS, keeps=True).seconds
            lines["needed"] = [
                (at / 3600, seconds[at][0] / trace.plant.capacity_hz) for at in range(0, len(seconds), _STEP_S)
            ]
            lines[f"{rule}, ordered"] = [(at / 3600, float(seconds[at][2])) for at in range(0, len(seconds), _STEP_S)]
        most = 1.25 * max(y for points in lines.values() for _, y in points)
        panels.append(Lines(title=f"{name}: ours and {rules}", across="h", up="GPUs", lines=lines, most_y=most))
    plot(RESULTS / "autoscale.svg", panels)


def misses(figures: Mapping[str, float]) -> list[str]:
    """The aims that are not reached, in words."""
    return [
        words
        for is_missed, words in (
            (figures["reversals_per_10min"] > MAX_REVERSALS, "more than one reversal in ten minutes"),
            (figures["scale_out_periods"] > MAX_PERIODS, "more than two control periods until more are ordered"),
            (figures["no_worse"] < figures["pairs"], "worse than a rule on some trace"),
            (figures["front_no_worse"] < figures["front_pairs"], "no setting is as good as a rule on some trace"),
            (figures["policy_ticks_per_s"] < MIN_TICKS, "fewer than a million decisions a second"),
            (figures["control_reversals_per_10min"] <= MAX_REVERSALS, "the reversals of no hysteresis went unseen"),
            (figures["control_never_violations"] <= SAME, "the frames that were lost by never scaling went unseen"),
        )
        if is_missed
    ]


def main() -> int:
    """Run the scenario; 1 if an aim is missed."""
    found, best = accounts(), front()
    mine = [row["ours"] for rows in found.values() for row in rows.values()]
    pairs = {
        (gpus, name, rule): is_no_worse(row["ours"], row[rule])
        for gpus, rows in found.items()
        for name, row in rows.items()
        for rule in COMPARED
    }
    controls = {
        name: {rule: simulate(trace, make, gpus=FRONT_GPUS).account() for rule, make in CONTROLS.items()}
        for name, trace in TRACES.items()
    }
    period_s = Ours(calibrated(PlantParameters(), max_replicas=1), PlantParameters()).period_s
    fits = [fit for row in best.values() for fit in row.values()]
    figures = {
        "reversals_per_10min": max(account.reversals_per_10min for account in mine),
        "most_reversals": max(account.most_reversals for account in mine),
        "scale_out_periods": max(account.scale_out_s for account in mine) / period_s,
        "pairs": len(pairs),
        "no_worse": sum(pairs.values()),
        "front_pairs": len(fits),
        "front_no_worse": sum(fit is not None for fit in fits),
        "policy_ticks_per_s": ticks_per_s(),
        "control_reversals_per_10min": max(row["without hysteresis"].reversals_per_10min for row in controls.values()),
        "control_never_violations": max(row["never"].violations for row in controls.values()),
        "told_answered_violations": controls["flash crowd"]["told what is answered"].violations,
    }
    picture()
    missed = misses(figures)
    publish(
        "autoscale",
        figures,
        missed=missed,
        settings={"reach": REACH, "aim_score": AIM_SCORE, "in_cooldown_s": IN_COOLDOWN_S, "aim_of_the_others": AIM},
        worse=[" / ".join(pair) for pair, holds in pairs.items() if not holds],
        accounts=_rounded(found),
        controls=_rounded({str(FRONT_GPUS): controls})[str(FRONT_GPUS)],
        front=best,
    )
    for words in missed:
        print(f"autoscale: {words}", file=sys.stderr)
    return 1 if missed else 0


def _rounded(found: Mapping[str, Mapping[str, Mapping[str, Account]]]) -> dict[str, Any]:
    return {
        size: {
            name: {rule: {key: round(value, 6) for key, value in asdict(one).items()} for rule, one in row.items()}
            for name, row in rows.items()
        }
        for size, rows in found.items()
    }


if __name__ == "__main__":
    sys.exit(main())
