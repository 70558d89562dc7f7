import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import (
    DeadlineError,
    MovedError,
    OverloadedError,
    SightlineError,
    TooLargeError,
    UnavailableError,
    UndecodableError,
)
from app.policy.breaker import (
    Admission,
    Breaker,
    BreakerParameters,
    BreakerState,
    Signal,
    admit,
    open_for_s,
    replaced,
    settle,
    signal_of,
)

PARAMETERS = BreakerParameters()


class Door:
    """A breaker with its clock and the calls that are out."""

    def __init__(self, *, jitter: float = 0.0) -> None:
        self.breaker = Breaker()
        self.now_s = 0.0
        self.jitter = jitter

    def ask(self) -> Admission:
        self.breaker, admission = admit(self.breaker, now_s=self.now_s, parameters=PARAMETERS)
        return admission

    def end(self, admission: Admission, signal: Signal, *, cpu_load: float = 0.0) -> None:
        self.breaker = settle(
            self.breaker,
            admission,
            signal,
            now_s=self.now_s,
            jitter=self.jitter,
            cpu_load=cpu_load,
            parameters=PARAMETERS,
        )

    def call(self, signal: Signal, *, cpu_load: float = 0.0, times: int = 1) -> None:
        for _ in range(times):
            self.end(self.ask(), signal, cpu_load=cpu_load)

    def trip(self) -> None:
        self.call(Signal.UNAVAILABLE, times=PARAMETERS.min_calls)
        assert self.breaker.state is BreakerState.OPEN


@pytest.mark.parametrize(
    ("error", "signal"),
    [
        (None, Signal.ANSWERED),
        (UnavailableError(), Signal.UNAVAILABLE),
        (OverloadedError(), Signal.BACKPRESSURE),
        (TooLargeError("an oversized message, RESOURCE_EXHAUSTED in gRPC"), Signal.ANSWERED),
        (MovedError(), Signal.ANSWERED),
        (UndecodableError("broken"), Signal.ANSWERED),
        (DeadlineError("late"), Signal.UNKNOWN),
    ],
)
def test_only_our_own_reasons_are_read(error: SightlineError | None, signal: Signal) -> None:
    assert signal_of(error) is signal


def test_nobody_there_is_another_thing_than_one_who_died() -> None:
    assert signal_of(UnavailableError(), has_connected=False) is Signal.CONNECT_FAILED


def test_few_failures_do_not_trip_and_enough_of_enough_do() -> None:
    door = Door()
    door.call(Signal.UNAVAILABLE, times=PARAMETERS.min_calls - 1)
    assert door.breaker.state is BreakerState.CLOSED
    door.call(Signal.UNAVAILABLE)
    assert (door.breaker.state, door.breaker.cause) == (BreakerState.OPEN, Signal.UNAVAILABLE)
    assert not door.ask().is_admitted


def test_a_minority_of_failures_does_not_trip() -> None:
    door = Door()
    for _ in range(100):
        door.call(Signal.ANSWERED, times=2)
        door.call(Signal.UNAVAILABLE)
    assert door.breaker.state is BreakerState.CLOSED


def test_failures_that_are_past_the_window_are_forgotten() -> None:
    door = Door()
    for _ in range(50):
        door.call(Signal.UNAVAILABLE)
        door.now_s += 1.2  # never more than 9 in 10 s
    assert door.breaker.state is BreakerState.CLOSED
    assert len(door.breaker.buckets) <= PARAMETERS.window_s


def test_a_connection_that_cannot_be_made_trips_at_once() -> None:
    door = Door()
    door.call(Signal.CONNECT_FAILED)
    assert (door.breaker.state, door.breaker.cause) == (BreakerState.OPEN, Signal.CONNECT_FAILED)


@pytest.mark.parametrize(("cpu_load", "state"), [(0.85, BreakerState.CLOSED), (0.86, BreakerState.OPEN)])
def test_a_full_queue_counts_only_while_the_cpu_is_hot(cpu_load: float, state: BreakerState) -> None:
    door = Door()
    door.call(Signal.BACKPRESSURE, cpu_load=cpu_load, times=20)
    assert door.breaker.state is state


@pytest.mark.parametrize("signal", [Signal.ANSWERED, Signal.UNKNOWN])
def test_what_is_no_failure_never_trips(signal: Signal) -> None:
    door = Door()
    door.call(signal, cpu_load=1.0, times=1000)
    assert door.breaker.state is BreakerState.CLOSED


def test_it_is_open_for_30_s_and_then_lets_exactly_one_probe_through() -> None:
    door = Door()
    door.trip()
    door.now_s = 29.999
    assert not door.ask().is_admitted
    door.now_s = 30.0
    admissions = [door.ask() for _ in range(100)]
    assert [a.is_admitted for a in admissions] == [True] + [False] * 99
    assert door.breaker.state is BreakerState.HALF_OPEN
    door.end(admissions[0], Signal.ANSWERED)
    assert door.breaker.state is BreakerState.CLOSED
    assert door.ask().is_admitted


def test_a_failed_probe_opens_it_again_for_longer() -> None:
    door = Door()
    door.trip()
    door.now_s = 30.0
    door.call(Signal.UNAVAILABLE)
    assert (door.breaker.state, door.breaker.trips) == (BreakerState.OPEN, 2)
    assert door.breaker.until_s == 30.0 + 60.0


def test_a_probe_that_never_comes_back_is_given_up_for_another_and_its_late_word_is_not_heard() -> None:
    door = Door()
    door.trip()
    door.now_s = 30.0
    lost = door.ask()
    door.now_s = 39.9
    assert not door.ask().is_admitted
    door.now_s = 40.0
    second = door.ask()
    assert second.is_probe
    door.end(lost, Signal.ANSWERED)
    assert door.breaker.state is BreakerState.HALF_OPEN
    door.end(second, Signal.ANSWERED)
    assert door.breaker.state is BreakerState.CLOSED


def test_a_probe_whose_caller_ran_out_of_time_makes_room_for_the_next() -> None:
    door = Door()
    door.trip()
    door.now_s = 30.0
    door.call(Signal.UNKNOWN)
    assert door.ask().is_probe


def test_calls_from_before_the_trip_neither_close_it_nor_open_it_again() -> None:
    door = Door()
    early = [door.ask() for _ in range(30)]
    door.trip()
    tripped = door.breaker
    for admission in early:
        door.end(admission, Signal.UNAVAILABLE)
        door.end(admission, Signal.ANSWERED)
    assert door.breaker == tripped


def test_a_part_that_was_replaced_gets_its_probe_at_once() -> None:
    door = Door()
    door.trip()
    door.now_s = 15.0
    door.breaker = replaced(door.breaker, now_s=door.now_s)
    assert [door.ask().is_admitted for _ in range(3)] == [True, False, False]
    assert replaced(Breaker(), now_s=3.0) == Breaker()


def test_repeated_trips_are_forgotten_after_a_quiet_minute() -> None:
    door = Door()
    for _ in range(3):
        door.trip()
        door.now_s = door.breaker.until_s
        door.call(Signal.ANSWERED)
    assert door.breaker.trips == 3
    door.now_s += PARAMETERS.forget_s
    door.trip()
    assert door.breaker.trips == 1


@given(trips=st.integers(1, 10_000), jitter=st.floats(0, 1, exclude_max=True))
def test_the_time_open_is_30_s_at_first_and_bounded(trips: int, jitter: float) -> None:
    assert open_for_s(1, jitter=jitter, parameters=PARAMETERS) == 30.0
    assert 30.0 <= open_for_s(trips, jitter=jitter, parameters=PARAMETERS) <= 300.0


def test_the_jitter_is_full_over_what_doubling_adds() -> None:
    waits = [open_for_s(3, jitter=step / 1000, parameters=PARAMETERS) for step in range(1000)]
    assert waits[0] == 120.0
    assert 30.0 < waits[-1] < 30.1
    assert abs(sum(waits) / 1000 - 75.0) < 0.1


@pytest.mark.parametrize(("trips", "jitter"), [(0, 0.5), (1, 1.0), (1, -0.1)])
def test_a_number_out_of_range_is_refused(trips: int, jitter: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        open_for_s(trips, jitter=jitter, parameters=PARAMETERS)


class Crowd(Door):
    """Callers who ask, come back or not in any order, while the part is replaced now and then."""

    def __init__(self) -> None:
        super().__init__(jitter=0.5)
        self.out: list[Admission] = []
        self.wrongly_let_in = 0

    def play(self, action: str, signal: Signal, *, which: int, cpu_load: float) -> None:
        before = self.breaker
        if action == "ask":
            admission = self.ask()
            self.out += [admission] * admission.is_admitted
            is_right = before.state is BreakerState.CLOSED or (admission.is_probe and self.now_s >= before.until_s)
            self.wrongly_let_in += admission.is_admitted and not is_right
        elif action == "end" and self.out:
            self.end(self.out.pop(which % len(self.out)), signal, cpu_load=cpu_load)
        elif action == "replace":
            self.breaker = replaced(self.breaker, now_s=self.now_s)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "end", "replace"]),
        st.sampled_from(Signal),
        st.floats(0, 20),
        st.integers(0, 5),
        st.floats(0, 1),
    ),
    max_size=120,
)


@given(STEPS)
def test_under_any_history_at_most_one_probe_is_out_and_nothing_passes_while_open(
    steps: list[tuple[str, Signal, float, int, float]],
) -> None:
    crowd = Crowd()
    for action, signal, pause_s, which, cpu_load in steps:
        crowd.now_s += pause_s
        crowd.play(action, signal, which=which, cpu_load=cpu_load)
        probes = [a for a in crowd.out if a.is_probe and a.generation == crowd.breaker.generation]
        assert len(probes) <= 1
        assert len(crowd.breaker.buckets) <= PARAMETERS.window_s
    assert crowd.wrongly_let_in == 0
