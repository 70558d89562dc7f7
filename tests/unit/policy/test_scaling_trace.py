"""A recorded load replayed: as it was decided, and as it would have gone."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import InvalidRequestError
from app.core.load_signals import LoadSignals
from app.policy.autoscaling import Guard, ScalingState, Verdict, decide
from app.policy.autoscaling_parameters import AutoscalingParameters
from app.policy.scaling_trace import COLUMNS, Recorded, as_row, read_trace, replay, replay_as_recorded, spread

PLAIN = AutoscalingParameters(target_qps=100.0, max_replicas=100)


def load_of(total_qps: float, *, until_s: int, period_s: int = 5, begins_s: int = 0) -> list[Recorded]:
    """One replica that has it all."""
    return [
        Recorded(time_s=float(at_s), signals=LoadSignals(qps=total_qps), running=1, ordered=1)
        for at_s in range(begins_s, until_s, period_s)
    ]


@given(
    st.lists(
        st.builds(
            LoadSignals,
            qps=st.floats(0, 1e4),
            vram_used=st.floats(0, 1),
            vram_dynamic=st.floats(0, 1),
            pcie=st.floats(0, 1),
        ),
        max_size=20,
    )
)
def test_what_is_written_is_read_again(loads: list[LoadSignals]) -> None:
    trace = [
        Recorded(time_s=float(place), signals=load, running=place + 1, ordered=place + 2)
        for place, load in enumerate(loads)
    ]
    file = io.StringIO(newline="")
    rows = csv.writer(file)
    rows.writerow(COLUMNS)
    rows.writerows(as_row(one) for one in trace)
    file.seek(0)
    assert read_trace(file) == trace


def test_a_trace_of_two_columns_is_one_replica_without_a_device() -> None:
    [row] = read_trace(["time_s,qps", "0,12.5"])
    assert row == Recorded(time_s=0.0, signals=LoadSignals(qps=12.5), running=1, ordered=1)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["time_s", "0"], "no column qps"),
        ([], "no column qps and no column time_s"),
        (["time_s,qps", "0,many"], "line 2"),
        (["time_s,qps", "0,1", "1,"], "line 3"),
        (["time_s,qps", "0,1", "1"], "line 3"),
        (["time_s,qps", "0,nan"], "line 2"),
        (["time_s,qps", "inf,1"], "line 2"),
        (["time_s,qps,pcie", "0,1,-1"], "line 2"),
        (["time_s,qps", "1,1", "1,1"], "line 3 of the trace is not later"),
    ],
)
def test_a_trace_that_is_none_is_refused_with_its_line(lines: list[str], words: str) -> None:
    with pytest.raises(InvalidRequestError, match=words):
        read_trace(lines)


def test_a_replay_of_what_was_decided_decides_the_same() -> None:
    """The live loop: each decision changes what is ordered, which is recorded; the replay comes to the same ones."""
    state, ordered, trace, verdicts = ScalingState(), 1, [], []
    for at_s in range(0, 1800, 5):
        total_qps = 600.0 if 300 <= at_s < 900 else 50.0
        signals = LoadSignals(qps=total_qps / ordered)
        decision = decide(signals, state, PLAIN, now_s=float(at_s), running=ordered, ordered=ordered)
        trace.append(Recorded(time_s=float(at_s), signals=signals, running=ordered, ordered=ordered))
        verdicts.append(decision.verdict)
        state, ordered = decision.state, decision.replicas
    assert {Verdict.OUT, Verdict.IN} <= set(verdicts)
    assert [one.decision.verdict for one in replay_as_recorded(trace, PLAIN)] == verdicts
    assert [one.decision.verdict for one in replay(trace, PLAIN)] == verdicts


def test_a_load_that_jumps_is_held_after_one_period_when_replicas_start_at_once() -> None:
    trace = [*load_of(50.0, until_s=60), *load_of(600.0, until_s=120, begins_s=60)]
    ordered = [one.decision.replicas for one in replay(trace, PLAIN)]
    assert ordered[:12] == [1] * 12
    assert ordered[12] == 3


def test_replicas_that_start_slowly_are_waited_for_and_not_ordered_again() -> None:
    trace = load_of(600.0, until_s=400)
    replays = list(replay(trace, PLAIN, start_s=180.0))
    assert replays[0].decision.replicas == 3
    assert {one.question.running for one in replays} == {1, 3}
    assert {one.decision.replicas for one in replays} == {3}


def test_a_replay_begins_with_as_many_as_it_is_told() -> None:
    [first, second, *_] = replay(load_of(50.0, until_s=60), PLAIN, first=5)
    assert (first.question.running, first.decision.stopped_by) == (5, Guard.CONFIRMATION)
    assert second.decision.replicas == 1


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 50), st.integers(1, 50))
def test_a_load_that_is_spread_keeps_its_sum_and_its_weights(
    used: float, pcie: float, over: int, instead_of: int
) -> None:
    load = LoadSignals(qps=40.0, vram_used=used, vram_dynamic=used / 2, pcie=pcie)
    one = spread(load, over=over, instead_of=instead_of)
    assert one.qps * over == pytest.approx(load.qps * instead_of)
    assert one.vram_used - one.vram_dynamic == pytest.approx(used / 2)
    assert max(one.vram_used, one.pcie) <= 1 + 1e-9
