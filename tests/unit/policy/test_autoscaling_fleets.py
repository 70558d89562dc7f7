"""Many fleets at once decide as each would alone."""

from collections.abc import Sequence
from dataclasses import astuple, fields, replace
from math import inf, nan
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.core.load_signals import LoadSignals
from app.policy.autoscaling import ScalingState, decide
from app.policy.autoscaling_fleets import FleetSignals, FleetStates, decide_fleets
from app.policy.autoscaling_parameters import AutoscalingParameters

PLAIN = AutoscalingParameters(target_qps=100.0, min_replicas=2, max_replicas=60)
Fleet = tuple[LoadSignals, ScalingState, int, int]


@st.composite
def fleets(draw: st.DrawFn) -> list[Fleet]:
    """Loads around every threshold, states of every kind, and now and then what is no number."""
    seed = draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    made: list[Fleet] = []
    for _ in range(40):
        used = float(random.choice([random.random(), 0.96, 1.0]))
        load = LoadSignals(
            qps=float(random.choice([random.uniform(0, 700), 0.0, 65.0, 1e13, nan], p=[0.8, 0.05, 0.05, 0.05, 0.05])),
            vram_used=used,
            vram_dynamic=used * float(random.choice([random.random(), 0.0, 1.0])),
            pcie=float(random.choice([random.random(), 0.9])),
        )
        out_s = float(random.choice([-inf, -1000.0, -100.0, -5.0]))
        state = ScalingState(
            changed_s=max(out_s, float(random.choice([-inf, -100.0, -10.0, -3.0]))),
            out_s=out_s,
            calm=int(random.integers(0, 3)),
            from_replicas=int(random.integers(0, 6)),
            out_pressure=float(random.choice([0.0, random.uniform(0.5, 3)])),
            out_qps=float(random.choice([0.0, random.uniform(1, 2000)])),
        )
        ordered = int(random.choice([0, 2, 3, 7, 58, 60, 70]))
        made.append((load, state, int(random.choice([ordered, 0, 1, ordered + 1])), ordered))
    return made


_NAMES = [one.name for one in fields(ScalingState)]


def columns(rows: Sequence[Any], kind: type[Any]) -> dict[str, NDArray[Any]]:
    """An array of each field of `kind`, which the rows have too."""
    return {one.name: np.array([getattr(row, one.name) for row in rows]) for one in fields(kind)}


def together(chosen: list[Fleet], parameters: AutoscalingParameters) -> list[tuple[int, ScalingState]]:
    """What the arrays say of each fleet."""
    loads, states, running, ordered = zip(*chosen, strict=True)
    replicas, after = decide_fleets(
        FleetSignals(**columns(loads, FleetSignals)),
        FleetStates(**columns(states, FleetStates)),
        parameters,
        now_s=0.0,
        running=np.array(running),
        ordered=np.array(ordered),
    )
    rows = zip(*(getattr(after, name).tolist() for name in _NAMES), strict=True)
    told = [ScalingState(**dict(zip(_NAMES, row, strict=True))) for row in rows]
    return list(zip(replicas.tolist(), told, strict=True))


def alone(chosen: list[Fleet], parameters: AutoscalingParameters) -> list[tuple[int, ScalingState]]:
    decisions = [
        decide(load, state, parameters, now_s=0.0, running=running, ordered=ordered)
        for load, state, running, ordered in chosen
    ]
    return [(decision.replicas, decision.state) for decision in decisions]


@given(fleets(), st.sampled_from([PLAIN, replace(PLAIN, in_confirmations=1, cooldown_s=0.0, in_cooldown_s=0.0)]))
def test_many_fleets_decide_bit_for_bit_as_each_alone(chosen: list[Fleet], parameters: AutoscalingParameters) -> None:
    assert together(chosen, parameters) == alone(chosen, parameters)


@given(fleets())
def test_the_fleets_of_this_test_differ_when_one_threshold_does(chosen: list[Fleet]) -> None:
    """The control of the test above: it would see a rule that has another number in it."""
    other = replace(PLAIN, out_score=0.96, in_confirmations=1, cooldown_s=0.0)
    assert together(chosen, other) != alone(chosen, PLAIN)


def test_fleets_begin_as_one_does() -> None:
    first = FleetStates.of(2)
    assert [getattr(first, name)[1] for name in _NAMES] == list(astuple(ScalingState()))
