"""The models of a service, for those who run it: what there is, a version more, another route table."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

from app.client.calls import HttpCalls
from app.client.reading import read
from app.client.sightline import TIMEOUT_S, URL
from app.policy.route_table import HeaderRule, UserRule

_MODELS: Final = "/v1/models"


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateInfo:
    """What was seen of a candidate since its route table came; `agreement` is an mAP over `compared` frames."""

    answered: int = 0
    errors: int = 0
    slow: int = 0
    agreement: float | None = None
    compared: int = 0
    words: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionInfo:
    """One version at the service. `state` is one of CONTRACT.md §2; `replicas` are theirs, by id."""

    version: str
    state: str
    weight: float = 0.0
    uri: str = ""
    sha256: str | None = None
    reason: str | None = None
    replicas: dict[str, str] = field(default_factory=dict)
    candidate: CandidateInfo | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutesInfo:
    """One route table, as `PUT …/routes` takes it."""

    weights: dict[str, float]
    headers: tuple[HeaderRule, ...] = ()
    users: tuple[UserRule, ...] = ()
    regions: dict[str, str] = field(default_factory=dict)
    shadow: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEvent:
    """Something that happened to a model; `at` is RFC 3339."""

    at: str
    kind: str
    version: str | None = None
    route_epoch: int
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """One model at the service; `routes` is None, and `route_epoch` 0, before its first table."""

    model: str
    route_epoch: int
    versions: tuple[VersionInfo, ...]
    routes: RoutesInfo | None = None
    events: tuple[ModelEvent, ...] = ()


class AsyncModels:
    """A client of `/v1/models`. Close it, or use it as a context manager; every call raises the service's errors."""

    def __init__(
        self, url: str = URL, *, headers: Mapping[str, str] | None = None, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._url = url.rstrip("/")
        self._headers = dict(headers or {})
        self._timeout_s = timeout_s
        self._calls = HttpCalls(self._url, headers=self._headers, timeout_s=timeout_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of every connection."""
        await self._calls.close()

    async def all(self) -> list[ModelInfo]:
        """Every model, the default first."""
        answer = await self._calls.json("GET", _MODELS)
        return [read(ModelInfo, one) for one in (answer if isinstance(answer, list) else [answer])]

    async def show(self, model: str) -> ModelInfo:
        """One model; NotFoundError when there is none."""
        return read(ModelInfo, await self._calls.json("GET", _path(model)))

    async def add(
        self, model: str, version: str, *, sha256: str, uri: str = "", should_be_warm: bool = True
    ) -> VersionInfo:
        """Have a version loaded, or unloaded; how far it is tells `show`."""
        given = {"uri": uri, "sha256": sha256, "warm": should_be_warm}
        path = f"{_path(model)}/versions/{quote(version, safe='')}"
        return read(VersionInfo, await self._calls.json("PUT", path, given=given))

    async def route(self, model: str, routes: Mapping[str, Any], *, epoch: int) -> ModelInfo:
        """Change the whole table that had this epoch; ConflictError when it is another by now.

        Not tried again when the connection breaks in between: the second try would lose the race against the first.
        """
        headers = {**self._headers, "If-Match": f'"{epoch}"'}
        calls = HttpCalls(self._url, headers=headers, timeout_s=self._timeout_s)
        try:
            answer = await calls.json("PUT", f"{_path(model)}/routes", given=dict(routes), is_repeatable=False)
        finally:
            await calls.close()
        return read(ModelInfo, answer)


def _path(model: str) -> str:
    return f"{_MODELS}/{quote(model, safe='')}"
