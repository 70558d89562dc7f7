"""The JSON of models: what operators may send, and how a model is shown."""

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, StrictStr, ValidationError

from app.api.parameters import wrong
from app.core.errors import InvalidRequestError
from app.pipeline.model_records import CandidateStatus, ModelStatus, RegistryEvent, VersionStatus
from app.policy.model_names import VERSION
from app.policy.route_document import MAX_RULES, to_document
from app.policy.route_table import BUCKETS

_Version = Annotated[StrictStr, Field(pattern=rf"^{VERSION}$", examples=["2.1.0"])]
_Bucket = Annotated[StrictInt, Field(ge=0, lt=BUCKETS)]


class _Body(BaseModel):
    """A JSON object with these keys and no others."""

    model_config = ConfigDict(extra="forbid")

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """The body; InvalidRequestError when it is no JSON or says one thing twice, else InvalidParameterError."""
        try:
            given = json.loads(body, object_pairs_hook=_once)
        except (ValueError, RecursionError):
            raise InvalidRequestError("the body is not JSON, or it has a key twice") from None
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise wrong(error) from None


class VersionBody(_Body):
    """The JSON of `PUT /v1/models/{model}/versions/{version}`."""

    uri: Annotated[
        StrictStr, Field(max_length=512, description="a name in the model store; default: by its number")
    ] = ""
    sha256: Annotated[StrictStr, Field(pattern=r"^[0-9a-f]{64}$", description="of the version's manifest")]
    warm: Annotated[bool, Field(strict=True, description="false: no replica shall have it")] = True


class HeaderBody(_Body):
    """Requests with this header and value go to the version."""

    name: Annotated[StrictStr, Field(max_length=64)]
    value: Annotated[StrictStr, Field(max_length=256)]
    version: _Version


class UserBody(_Body):
    """Users whose bucket lies in `first`..`last`, both included, go to the version."""

    first: _Bucket
    last: _Bucket
    version: _Version


class RoutesBody(_Body):
    """The JSON of `PUT /v1/models/{model}/routes`: the whole table."""

    weights: Annotated[
        dict[_Version, StrictInt | StrictFloat],
        Field(description="shares by version in steps of 0.01, 1.00 together", examples=[{"1.0.0": 0.9, "2.0.0": 0.1}]),
    ]
    headers: Annotated[list[HeaderBody] | None, Field(max_length=MAX_RULES)] = None
    users: Annotated[list[UserBody] | None, Field(max_length=MAX_RULES)] = None
    regions: dict[str, _Version] | None = None
    shadow: Annotated[_Version | None, Field(description="sees what others answer; nobody gets its answers")] = None


def shown(status: ModelStatus) -> dict[str, Any]:
    """One model as it stands."""
    return {
        "model": status.model,
        "route_epoch": status.route_epoch,
        "routes": None if status.routes is None else to_document(status.routes),
        "versions": [shown_version(version) for version in status.versions],
        "events": [_shown_event(event) for event in status.events],
    }


def shown_version(status: VersionStatus) -> dict[str, Any]:
    """One version as it stands."""
    return {
        "version": status.version,
        "state": status.phase.value,
        "weight": status.weight,
        "uri": status.uri,
        "sha256": status.sha256,
        "reason": status.reason,
        "replicas": {replica: phase.value for replica, phase in status.replicas.items()},
        "degraded": dict(status.degraded),
        "candidate": None if status.candidate is None else _shown_candidate(status.candidate),
    }


def _shown_candidate(status: CandidateStatus) -> dict[str, Any]:
    return {
        "answered": status.traffic.answered,
        "errors": status.traffic.errors,
        "slow": status.traffic.slow,
        "agreement": None if status.agreement is None else round(status.agreement, 4),
        "compared": status.compared,
        "words": status.words,
    }


def _shown_event(event: RegistryEvent) -> dict[str, Any]:
    at = datetime.fromtimestamp(event.at_s, tz=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {
        "at": at,
        "kind": event.kind,
        "version": event.version,
        "route_epoch": event.route_epoch,
        "words": event.words,
    }


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """ValueError for a key that comes twice: one of the two would be passed over."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key comes twice")
    return found
