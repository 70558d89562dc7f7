from collections.abc import Callable

import pytest

from app.core.errors import DeviceMemoryError, OverloadedError, SightlineError, UnavailableError, UndecodableError
from app.pipeline.breaker_gate import BreakerGate
from app.policy.breaker import BreakerState, Signal
from tests.fakes import ManualClock


class Part:
    """What lies behind the gate: fails as it is told, and counts who came."""

    def __init__(self) -> None:
        self.fails: SightlineError | None = None
        self.calls = 0

    def work(self) -> int:
        self.calls += 1
        if self.fails is not None:
            raise self.fails
        return self.calls


class Rig:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.cpu_load = 0.0
        self.part = Part()
        self.gate = BreakerGate(clock=self.clock, cpu_load=lambda: self.cpu_load)

    def call(self, times: int = 1, work: Callable[[], int] | None = None) -> SightlineError | None:
        """The last call's error."""
        last: SightlineError | None = None
        for _ in range(times):
            try:
                self.gate.call(work or self.part.work)
                last = None
            except SightlineError as error:
                last = error
        return last


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_a_part_that_works_is_called_and_its_answer_given(rig: Rig) -> None:
    assert rig.gate.call(rig.part.work) == 1
    assert rig.gate.state is BreakerState.CLOSED


def test_a_part_that_dies_again_and_again_is_not_called_for_30_s_and_callers_learn_when_to_come(rig: Rig) -> None:
    rig.part.fails = UnavailableError()
    rig.call(times=10)
    assert (rig.gate.state, rig.gate.cause) == (BreakerState.OPEN, Signal.UNAVAILABLE)
    rig.clock.now_s = 10.0
    refusal = rig.call(times=50)
    assert isinstance(refusal, UnavailableError)
    assert refusal.retry_after_s == 20.0
    assert rig.part.calls == 10
    rig.clock.now_s = 30.0
    rig.part.fails = None
    assert rig.call() is None
    assert rig.gate.state is BreakerState.CLOSED


def test_a_full_queue_opens_it_only_while_the_cpu_is_hot(rig: Rig) -> None:
    rig.part.fails = OverloadedError()
    rig.call(times=50)
    assert rig.gate.state is BreakerState.CLOSED
    rig.clock.now_s, rig.cpu_load = 100.0, 0.9
    rig.call(times=10)
    assert (rig.gate.state, rig.gate.cause) == (BreakerState.OPEN, Signal.BACKPRESSURE)


def test_bad_pictures_never_open_it(rig: Rig) -> None:
    rig.part.fails = UndecodableError("broken")
    rig.call(times=100)
    assert rig.gate.state is BreakerState.CLOSED


def test_a_part_that_was_started_anew_is_tried_at_once_by_one_caller(rig: Rig) -> None:
    rig.part.fails = UnavailableError()
    rig.call(times=10)
    rig.gate.replace()
    rig.part.fails = None
    assert rig.call() is None
    assert rig.gate.state is BreakerState.CLOSED


def test_a_probe_that_tells_nothing_makes_room_for_the_next(rig: Rig) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    rig.part.fails = UnavailableError()
    rig.call(times=10)
    rig.clock.now_s = 30.0
    with pytest.raises(KeyboardInterrupt):
        rig.gate.call(interrupted)
    assert rig.gate.state is BreakerState.HALF_OPEN
    rig.part.fails = None
    assert rig.call() is None
    assert rig.gate.state is BreakerState.CLOSED


def test_whether_a_call_would_be_let_in_can_be_asked_without_making_it(rig: Rig) -> None:
    rig.part.fails = UnavailableError()
    rig.call(times=10)
    assert not rig.gate.is_due
    rig.clock.now_s = 30.0
    assert rig.gate.is_due
    assert rig.gate.state is BreakerState.OPEN


def test_too_little_memory_is_no_illness_of_the_part(rig: Rig) -> None:
    rig.part.fails = DeviceMemoryError()
    rig.call(times=100)
    assert rig.gate.state is BreakerState.CLOSED


def test_whoever_calls_may_judge_errors_otherwise(rig: Rig) -> None:
    rig.part.fails = UndecodableError("broken")
    with pytest.raises(UndecodableError):
        rig.gate.call(rig.part.work, says=lambda _: Signal.CONNECT_FAILED)
    assert rig.gate.state is BreakerState.OPEN
