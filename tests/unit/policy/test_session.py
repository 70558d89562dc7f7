from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.policy.reconnect import GOOD_FRAMES, POLICIES, Backoff, ReconnectPolicy
from app.policy.session import (
    Close,
    Connect,
    Connected,
    ConnectFailed,
    Effect,
    Event,
    FrameArrived,
    GiveUp,
    Lost,
    ResetSequence,
    ResumeSequence,
    Session,
    SessionState,
    Start,
    Stopped,
    transition,
)

Moved: TypeAlias = tuple[Session, tuple[Effect, ...]]
Step: TypeAlias = Callable[[Session, Event], Moved]

IDLE, CONNECTING, STREAMING, RECOVERING = SessionState
EVENTS: list[Event] = [
    Start(),
    Connected(),
    ConnectFailed(code="timeout"),
    FrameArrived(),
    Lost(code="reset"),
    Stopped(),
]
POLICY = ReconnectPolicy(backoff=Backoff.EXPONENTIAL, max_attempts=3)


def step(session: Session, event: Event, policy: ReconnectPolicy = POLICY) -> Moved:
    return transition(session, event, policy=policy, jitter=0.0)


def at(state: SessionState) -> Session:
    return Session(state=state, attempt=1, good_frames=4, last_error="before", announced_s=2.0)


RETRY = (Close(), Connect(after_s=1.0))
TABLE: dict[tuple[SessionState, type[Event]], Moved] = {
    (IDLE, Start): (Session(state=CONNECTING), (Connect(after_s=0.0),)),
    (CONNECTING, Connected): (
        Session(state=STREAMING, attempt=1, last_error="before"),
        (ResumeSequence(),),
    ),
    (CONNECTING, ConnectFailed): (
        replace(at(IDLE), last_error="timeout"),
        (Close(), GiveUp(code="timeout")),
    ),
    (CONNECTING, Stopped): (at(IDLE), (Close(),)),
    (STREAMING, FrameArrived): (replace(at(STREAMING), good_frames=5), ()),
    (STREAMING, Lost): (replace(at(RECOVERING), attempt=2, last_error="reset"), RETRY),
    (STREAMING, Stopped): (at(IDLE), (Close(),)),
    (RECOVERING, Connected): (
        Session(state=STREAMING, attempt=1, last_error="before"),
        (ResumeSequence(),),
    ),
    (RECOVERING, ConnectFailed): (replace(at(RECOVERING), attempt=2, last_error="timeout"), RETRY),
    (RECOVERING, Stopped): (at(IDLE), (Close(),)),
}
"""Every pair that is not here is ignored."""


def check_table(step: Step, state: SessionState, event: Event) -> None:
    before = at(state)
    assert step(before, event) == TABLE.get((state, type(event)), (before, ()))


@pytest.mark.parametrize(("state", "event"), list(product(SessionState, EVENTS)))
def test_every_event_in_every_state_does_what_the_table_says(state: SessionState, event: Event) -> None:
    check_table(step, state, event)


def test_the_table_finds_an_event_that_is_not_ignored() -> None:
    """Positive control: a machine that takes every loss for one of the stream's."""
    with pytest.raises(AssertionError):
        check_table(lambda session, event: step(replace(session, state=STREAMING), event), RECOVERING, Lost(code="x"))


def test_an_ignored_event_leaves_the_very_same_session() -> None:
    session = at(STREAMING)
    assert step(session, Start())[0] is session


@pytest.mark.parametrize(
    ("state", "event"), [(STREAMING, Lost(code="x")), (RECOVERING, ConnectFailed(code="x"))], ids=["lost", "failed"]
)
def test_a_failure_ends_the_session_when_the_attempts_are_used_up(state: SessionState, event: Event) -> None:
    last, spent = replace(at(state), attempt=2), replace(at(state), attempt=3)
    assert step(last, event)[0].state is RECOVERING
    assert step(spent, event) == (replace(spent, state=IDLE, last_error="x"), (Close(), GiveUp(code="x")))


def test_the_jitter_shortens_the_wait() -> None:
    _, effects = transition(at(STREAMING), Lost(code="x"), policy=POLICY, jitter=0.75)
    assert effects == (Close(), Connect(after_s=0.25))


def after(events: Sequence[Event], *, policy: ReconnectPolicy = POLICY) -> Moved:
    session = Session()
    effects: tuple[Effect, ...] = ()
    for event in events:
        session, effects = step(session, event, policy)
    return session, effects


def test_a_start_forgets_the_session_before() -> None:
    session, _ = after([Start(), Connected(announced_s=5.0), Lost(code="reset"), Stopped(), Start()])
    assert session == Session(state=CONNECTING)


def test_a_connection_that_breaks_at_once_uses_the_attempts_up() -> None:
    flap: list[Event] = [Connected(), *[FrameArrived()] * (GOOD_FRAMES - 1), Lost(code="reset")]
    assert after([Start(), *flap * 3])[0] == Session(
        state=RECOVERING, attempt=3, good_frames=GOOD_FRAMES - 1, last_error="reset"
    )
    assert after([Start(), *flap * 4])[1] == (Close(), GiveUp(code="reset"))


def test_thirty_good_frames_make_the_attempts_count_anew() -> None:
    flap: list[Event] = [Connected(), *[FrameArrived()] * GOOD_FRAMES, Lost(code="reset")]
    session, effects = after([Start(), *flap * 20])
    assert session.attempt == 1
    assert effects == (Close(), Connect(after_s=0.5))


def test_good_frames_of_two_connections_do_not_add_up() -> None:
    most: list[Event] = [Connected(), *[FrameArrived()] * (GOOD_FRAMES - 1)]
    session, _ = after([Start(), *most, Lost(code="reset"), *most])
    assert (session.good_frames, session.attempt) == (GOOD_FRAMES - 1, 1)


def test_fast_resets_the_sequence_with_every_connection() -> None:
    policy = POLICIES[Backoff.FAST]
    assert after([Start(), Connected()], policy=policy)[1] == (ResetSequence(),)
    assert after([Start(), Connected(), Lost(code="reset"), Connected()], policy=policy)[1] == (ResetSequence(),)


def test_the_delay_is_what_the_server_announced_when_it_last_connected() -> None:
    policy = POLICIES[Backoff.SERVER]
    once: list[Event] = [Start(), Connected(announced_s=7.0), Lost(code="reset")]
    assert after(once, policy=policy)[1] == (Close(), Connect(after_s=7.0))
    assert after([*once, ConnectFailed(code="timeout")], policy=policy)[1] == (Close(), Connect(after_s=7.0))
    assert after([*once, Connected(), Lost(code="reset")], policy=policy)[1] == (Close(), Connect(after_s=1.0))


def check_walk(step: Step, events: Sequence[Event]) -> None:
    """Whatever comes in whatever order, a shell that obeys never has two connections, and none is left over."""
    session, held = Session(), "nothing"
    for event in events:
        before = session
        session, effects = step(session, event)
        if before.state in (CONNECTING, RECOVERING) and session.state is STREAMING:
            held = "connection"
        for effect in effects:
            match effect:
                case Connect():
                    assert held == "nothing", "a second connection"
                    held = "try"
                case Close():
                    held = "nothing"
                case GiveUp():
                    assert session.state is IDLE
        expected = {IDLE: "nothing", CONNECTING: "try", STREAMING: "connection", RECOVERING: "try"}[session.state]
        assert held == expected
        assert 0 <= session.attempt <= POLICY.max_attempts
        ended_by_itself = session.state is IDLE is not before.state and not isinstance(event, Stopped)
        assert ended_by_itself == any(isinstance(effect, GiveUp) for effect in effects)


@given(st.lists(st.sampled_from(EVENTS), max_size=60))
def test_no_order_of_events_leaves_a_connection_over(events: list[Event]) -> None:
    check_walk(step, events)


CUT_AND_BACK: list[Event] = [Lost(code="reset"), Connected()]
LONG: list[Event] = [Start(), Connected(), *CUT_AND_BACK * 5, Stopped()]


def forgets_to_close(session: Session, event: Event) -> Moved:
    moved, effects = step(session, event)
    return moved, tuple(effect for effect in effects if not isinstance(effect, Close))


def counts_without_end(session: Session, event: Event) -> Moved:
    return step(session, event, replace(POLICY, max_attempts=99))


def ends_in_silence(session: Session, event: Event) -> Moved:
    moved, effects = step(session, event)
    return moved, tuple(effect for effect in effects if not isinstance(effect, GiveUp))


@pytest.mark.parametrize("planted", [forgets_to_close, counts_without_end, ends_in_silence])
def test_the_walk_finds_a_planted_fault(planted: Step) -> None:
    check_walk(step, LONG)
    with pytest.raises(AssertionError):
        check_walk(planted, LONG)


CAMERA = POLICIES[Backoff.EXPONENTIAL]


def test_without_a_bound_the_first_connection_is_tried_again_too() -> None:
    session, effects = after([Start(), *[ConnectFailed(code="refused")] * 3], policy=CAMERA)
    assert session == Session(state=CONNECTING, attempt=3, last_error="refused")
    assert effects == (Close(), Connect(after_s=2.0))
    assert after([Start(), ConnectFailed(code="refused"), Connected()], policy=CAMERA)[0].state is STREAMING


def test_without_a_bound_a_camera_that_comes_back_after_a_night_is_found() -> None:
    night: list[Event] = [Start(), Connected(), Lost(code="reset"), *[ConnectFailed(code="refused")] * 10_000]
    session, effects = after(night, policy=CAMERA)
    assert session.state is RECOVERING
    assert effects == (Close(), Connect(after_s=10.0))
