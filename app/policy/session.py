"""The session of one stream: which state follows which event, and what the shell has to do. Source: MISSION.md row 87.

| state      | Start      | Connected | ConnectFailed      | FrameArrived | Lost               | Stopped |
|------------|------------|-----------|--------------------|--------------|--------------------|---------|
| IDLE       | CONNECTING | -         | -                  | -            | -                  | -       |
| CONNECTING | -          | STREAMING | IDLE or CONNECTING | -            | -                  | IDLE    |
| STREAMING  | -          | -         | -                  | STREAMING    | RECOVERING or IDLE | IDLE    |
| RECOVERING | -          | STREAMING | RECOVERING or IDLE | -            | -                  | IDLE    |

`-` is ignored: the session stays the same object and nothing is to be done. `or IDLE`: when the attempts are used up.
`or CONNECTING`: under a policy without bound, which tries the first connection again as well.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias

from app.policy.reconnect import GOOD_FRAMES, ReconnectPolicy, delay_s


class SessionState(StrEnum):
    """Where a session stands."""

    IDLE = "idle"
    CONNECTING = "connecting"  # no connection since the start; waiting for the next try, or in it
    STREAMING = "streaming"
    RECOVERING = "recovering"  # the connection was lost; waiting for the next try, or in it


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One session. `attempt` counts the tries since the first, or since a connection brought `GOOD_FRAMES`.

    `good_frames` came since the last connect. `last_error` is the code of the last failure since the start.
    `announced_s` is the reconnect interval in seconds that the server announced when it last connected.
    """

    state: SessionState = SessionState.IDLE
    attempt: int = 0
    good_frames: int = 0
    last_error: str | None = None
    announced_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The stream is wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """The connection stands, ports and profile are negotiated; `announced_s` is the reconnect interval in the SDP."""

    announced_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectFailed:
    """A try to connect failed or timed out, or no ports and profile could be agreed; `code` says which."""

    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameArrived:
    """A frame came that could be decoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """The connection broke, or no frame came for too long; `code` says which."""

    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """The stream is no longer wanted, or has come to its end."""


Event: TypeAlias = Start | Connected | ConnectFailed | FrameArrived | Lost | Stopped


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """Let go of the connection, of a try under way and of a wait for one; no event of theirs may come after this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connect:
    """Wait `after_s` seconds, then connect and negotiate; answer with `Connected` or `ConnectFailed`."""

    after_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetSequence:
    """Frame numbers start anew: `sequence.reset`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeSequence:
    """Frame numbers go on after a cut: `sequence.resume`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp:
    """The session ended by itself; `code` is that of the last failure."""

    code: str


Effect: TypeAlias = Close | Connect | ResetSequence | ResumeSequence | GiveUp


def transition(
    session: Session, event: Event, *, policy: ReconnectPolicy, jitter: float
) -> tuple[Session, tuple[Effect, ...]]:
    """The session after the event, and what is to be done, in this order. `jitter`: a random number in [0, 1)."""
    match session.state, event:
        case SessionState.IDLE, Start():
            return Session(state=SessionState.CONNECTING), (Connect(after_s=0.0),)
        case SessionState.CONNECTING | SessionState.RECOVERING, Connected(announced_s=announced_s):
            streaming = replace(session, state=SessionState.STREAMING, good_frames=0, announced_s=announced_s)
            return streaming, (ResetSequence() if policy.resets_sequence else ResumeSequence(),)
        case SessionState.STREAMING, FrameArrived():
            good_frames = session.good_frames + 1
            attempt = session.attempt if good_frames < GOOD_FRAMES else 0
            return replace(session, good_frames=good_frames, attempt=attempt), ()
        case (SessionState.CONNECTING | SessionState.RECOVERING, ConnectFailed(code=code)) | (
            SessionState.STREAMING,
            Lost(code=code),
        ):
            return _after_failure(session, code, policy=policy, jitter=jitter)
        case SessionState.CONNECTING | SessionState.STREAMING | SessionState.RECOVERING, Stopped():
            return replace(session, state=SessionState.IDLE), (Close(),)
        case _:
            return session, ()


def _after_failure(
    session: Session, code: str, *, policy: ReconnectPolicy, jitter: float
) -> tuple[Session, tuple[Effect, ...]]:
    """Another try, or the end: when the attempts are used up, or a first connection failed where there is a bound."""
    failed = replace(session, last_error=code)
    is_first = session.state is SessionState.CONNECTING
    if policy.max_attempts is not None and (is_first or session.attempt >= policy.max_attempts):
        return replace(failed, state=SessionState.IDLE), (Close(), GiveUp(code=code))
    after_s = delay_s(policy, session.attempt, jitter=jitter, announced_s=session.announced_s)
    state = SessionState.CONNECTING if is_first else SessionState.RECOVERING
    return replace(failed, state=state, attempt=session.attempt + 1), (Close(), Connect(after_s=after_s))
