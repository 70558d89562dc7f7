"""What a decoder process and its owner say to each other: one JSON list a datagram, read as if by a stranger."""

import json
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from math import isfinite
from typing import Any, Final, TypeAlias

from app.media.limits import DecodeLimits
from app.media.pull.parameters import PullParameters
from app.media.pull.source_url import SourceUrl

MAX_BYTES: Final = 32_768
"""A job with its URL and lists of hosts fits; so does everything else."""
MAX_COUNT: Final = 100_000
"""No picture is so wide, and no hand-over loses so many frames before it tells: an hour at 30 a second."""

CONNECT: Final = b"connect"
"""The owner's one command; anything else that it says is the number of a slot that is free again."""


class Reason(StrEnum):
    """Why a connection did not come about or broke, or why frames were lost."""

    REFUSED = "refused"  # nobody listens there
    UNREACHABLE = "unreachable"  # no such host, no way to it, or it broke off
    FORBIDDEN = "forbidden"  # not on our lists: the host's address, or what the source refers to
    UNAUTHORIZED = "unauthorized"  # the server wants another user or password
    NOT_FOUND = "not_found"
    REDIRECTED = "redirected"  # by RTSP, which is not followed
    TIMEOUT = "timeout"  # not connected in time
    UNSUPPORTED = "unsupported"  # no video in it that is read here
    TOO_LARGE = "too_large"  # over the limit of pixels
    UNDECODABLE = "undecodable"  # broken, or not what it claims to be
    CLOSED = "closed"  # the server ended the connection
    ENDED = "ended"  # the file or the recording is over
    STALLED = "stalled"  # no frame for too long; the decoder is well
    HUNG = "hung"  # no frame for too long; the decoder is stuck
    CRASHED = "crashed"  # the decoder died
    SUPERSEDED = "superseded"  # newer frames were there
    SAMPLED = "sampled"  # not due at the rate that is asked for
    STOPPED = "stopped"  # nobody wants the stream any more


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a decoder process is for; it never changes. A picture is shrunk until it fits into `fit_*_px`."""

    source: SourceUrl
    parameters: PullParameters
    limits: DecodeLimits
    fit_width_px: float
    fit_height_px: float
    slot_bytes: int
    fps: float | None = None

    def encode(self) -> bytes:
        """As one datagram; it holds the password."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, datagram: bytes) -> "Job":
        """The job that its owner sent."""
        values: dict[str, Any] = json.loads(datagram)
        parameters = values.pop("parameters")
        for name in ("allowed_hosts", "allowed_folders"):
            parameters[name] = tuple(parameters[name])
        return cls(
            source=SourceUrl(**values.pop("source")),
            parameters=PullParameters(**parameters),
            limits=DecodeLimits(**values.pop("limits")),
            **values,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Alive:
    """The process runs; said once a second, when no commands come. `busy_s` seconds ago it called the decoder."""

    busy_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The source is connected; `announced_s` is the reconnect interval that its SDP names."""

    announced_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotOpened:
    """The source cannot be connected."""

    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """The connection is over; all that came over it has been told."""

    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Shed:
    """So many frames were taken in and will not come, for that reason."""

    count: int
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """A frame lies in `slot`. `pts_s` and `ntp_s` are its stamps in the source's clocks, None where it has none.

    `arrived_s` is when its last byte was here, monotonic, and `arrived_at` the same in UTC.
    """

    slot: int
    width_px: int
    height_px: int
    source_width_px: int
    source_height_px: int
    pts_s: float | None
    ntp_s: float | None
    arrived_s: float
    arrived_at: float
    decode_s: float


Message: TypeAlias = Alive | Opened | NotOpened | Broken | Shed | Filled
_KINDS: Final = {kind.__name__: kind for kind in (Alive, Opened, NotOpened, Broken, Shed, Filled)}


def encode(message: Message) -> bytes:
    """The message as one datagram."""
    return json.dumps([type(message).__name__, asdict(message)]).encode()


def decode(datagram: bytes) -> Message:
    """The message in a datagram; ValueError for anything that is not one, each value of its type and finite."""
    try:
        name, values = json.loads(datagram)
        kind = _KINDS[name]
        types = {field.name: field.type for field in fields(kind)}
        checked: dict[str, Any] = {name: _value(types[name], value) for name, value in values.items()}
        return kind(**checked)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError("not a message") from error


def _value(kind: object, value: object) -> object:
    if kind is Reason and isinstance(value, str):
        return Reason(value)
    if kind is int and type(value) is int and 0 <= value <= MAX_COUNT:
        return value
    if kind == float | None and value is None:
        return None
    if kind in (float, float | None) and isinstance(value, int | float) and isfinite(value):
        return float(value)
    raise ValueError(f"{value!r} is no {kind}")
