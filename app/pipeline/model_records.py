"""What the registry of models keeps, takes in and tells: plain values, most of them as JSON too."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from app.policy.canary import CanaryParameters, Traffic
from app.policy.lifecycle import GONE, Phase
from app.policy.route_table import RouteTable

VersionKey: TypeAlias = tuple[str, str]
"""Model and version."""
HELD: Final = frozenset({Phase.LOADING, Phase.WARM})
"""What a replica says of a version that takes memory of its; a replica knows nothing of canaries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryParameters:
    """A replica that is silent for over `gone_after_s` is gone. A version drains for `grace_s` at the least.

    `grace_s` must be longer than a frame may take between being routed and reaching a replica. Canaries are judged
    every `window_s` seconds. The last `max_events` events are told, and `max_gone` versions that nobody holds.
    """

    gone_after_s: float = 10.0
    grace_s: float = 30.0
    window_s: float = 5.0
    max_events: int = 256
    max_gone: int = 16
    canary: CanaryParameters = field(default_factory=CanaryParameters)

    def __post_init__(self) -> None:
        if not (self.gone_after_s > 0 and self.grace_s >= 0 and self.window_s > 0):
            raise ValueError("the times of the registry of models must be above 0")
        if min(self.max_events, self.max_gone) < 1:
            raise ValueError("the registry of models tells at least one event and one version")


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a replica reports of one version: `phase` is LOADING, WARM, UNLOADED or FAILED, then with `error`.

    `attempt` is that of the order to load it. `in_flight` frames are in it now. `degraded` says what its answers lack
    there, None where they lack nothing. `card` is whatever the ingresses must
    know of the version, as JSON values; the registry hands it on and does not look into it.
    """

    phase: Phase
    error: str | None = None
    attempt: int = 1
    in_flight: int = 0
    degraded: str | None = None
    card: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """An order to load a version; a copy of an earlier `attempt` counts for nothing and goes first."""

    model: str
    version: str
    uri: str
    sha256: str | None
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Directive:
    """What one replica has to begin now. What is in neither stays as it is."""

    load: tuple[Load, ...] = ()
    unload: tuple[VersionKey, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryEvent:
    """Something that happened to a model, at `at_s` UTC in seconds, under `route_epoch`; `words` say what and why."""

    at_s: float
    model: str
    version: str | None
    kind: str
    words: str
    route_epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateStatus:
    """What was seen of a candidate since its table came; `words` are the last judgement of it.

    `agreement` is its mAP against the primary's answers over `compared` frames, None while there is none.
    """

    traffic: Traffic = field(default_factory=Traffic)
    agreement: float | None = None
    compared: int = 0
    words: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionStatus:
    """One version as it stands. `weight` in [0, 1]; `reason` is why it failed or drains; `replicas` by their ids.

    `degraded` are the words of those whose answers lack something. `candidate` is None for what is not a candidate, and
    before its first window has ended.
    """

    version: str
    phase: Phase
    weight: float
    uri: str
    sha256: str | None
    reason: str | None = None
    replicas: Mapping[str, Phase] = field(default_factory=dict)
    degraded: Mapping[str, str] = field(default_factory=dict)
    candidate: CandidateStatus | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatus:
    """One model as it stands; `routes` is None, and `route_epoch` 0, before its first table."""

    model: str
    route_epoch: int
    routes: RouteTable | None
    versions: tuple[VersionStatus, ...]
    events: tuple[RegistryEvent, ...] = ()


@dataclass(slots=True, kw_only=True)
class VersionRecord:
    """What is kept of one version. `since_s` is when its phase began; `is_released`: replicas are told to unload it."""

    model: str
    version: str
    phase: Phase
    uri: str
    sha256: str | None
    since_s: float
    attempt: int = 1
    reason: str | None = None
    has_failed: bool = False
    is_released: bool = False
    card: Mapping[str, Any] | None = None

    @property
    def key(self) -> VersionKey:
        """Model and version."""
        return self.model, self.version

    @property
    def is_over(self) -> bool:
        """Whether no replica is to hold it."""
        return self.phase in GONE or (self.phase is Phase.DRAINING and self.is_released)


@dataclass(slots=True, kw_only=True)
class ReplicaRecord:
    """What a replica said last, and when."""

    heard_s: float
    held: dict[VersionKey, Held]

    def copy_of(self, record: VersionRecord) -> Held | None:
        """Its copy of that version, of the attempt that counts."""
        held = self.held.get(record.key)
        return held if held is not None and held.attempt == record.attempt else None
