"""The seam to the models: which version a frame goes to, what it is, and how operators change it."""

from typing import NoReturn, Protocol

from app.core.errors import ConflictError, NotFoundError
from app.core.model import ModelSpec
from app.core.routing import Route
from app.pipeline.model_records import ModelStatus, VersionStatus
from app.policy.lifecycle import Phase
from app.policy.route_table import WHOLE, Ask, RouteTable, choose


class Models(Protocol):
    """The models that are served. `model` None is the default model.

    Every call that names a model raises NotFoundError where there is none by that name, or no such version.
    """

    @property
    def default(self) -> ModelSpec:
        """The version that answers who asks for nothing in particular."""

    def route(self, ask: Ask, model: str | None = None) -> Route:
        """Where a frame goes, under the table of this moment; it never waits.

        NotAcceptableError where no version fits what is wanted, UnavailableError before the first table is known.
        """

    def spec(self, model: str, version: str) -> ModelSpec:
        """What that version is, for reading what it found; a version that was routed is known for a while after."""

    def labels(self, model: str | None = None) -> tuple[str, ...]:
        """The names of the classes of the model's primary version; UnavailableError before there is one."""

    async def describe(self) -> tuple[ModelStatus, ...]:
        """Every model as it stands, the default first."""

    async def put_version(
        self, model: str, version: str, *, sha256: str, uri: str = "", is_warm: bool = True
    ) -> VersionStatus:
        """Have a version loaded by every replica, or by none; ConflictError where its state does not allow that."""

    async def put_routes(self, model: str, document: object, *, if_match: int) -> ModelStatus:
        """Change the model's whole table if its epoch is `if_match`; ConflictError, and no change, where it is not.

        InvalidParameterError for a malformed document; ConflictError where a version in it is not ready.
        """


class FixedModels:
    """One version of one model, for ever: what a single process without a registry serves."""

    EPOCH = 1

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._table = RouteTable(epoch=self.EPOCH, weights=((spec.version, WHOLE),))

    @property
    def default(self) -> ModelSpec:
        """The one spec."""
        return self._spec

    def route(self, ask: Ask, model: str | None = None) -> Route:
        """Always the one version; NotAcceptableError where another is wanted."""
        self._check(model)
        version = choose(self._table, ask, key=b"", usable=(self._spec.version,))
        return Route(
            model=self._spec.name,
            version=version,
            epoch=self.EPOCH,
            width_px=self._spec.input_width_px,
            height_px=self._spec.input_height_px,
        )

    def spec(self, model: str, version: str) -> ModelSpec:
        """The one spec."""
        self._check(model)
        if version != self._spec.version:
            raise NotFoundError("there is no such version of this model")
        return self._spec

    def labels(self, model: str | None = None) -> tuple[str, ...]:
        """Those of the one model."""
        self._check(model)
        return self._spec.labels

    async def describe(self) -> tuple[ModelStatus, ...]:
        """The one model, its version the PRIMARY."""
        spec = self._spec
        version = VersionStatus(version=spec.version, phase=Phase.PRIMARY, weight=1.0, uri="", sha256=None)
        return (ModelStatus(model=spec.name, route_epoch=self.EPOCH, routes=self._table, versions=(version,)),)

    async def put_version(
        self,
        model: str,
        version: str,
        *,
        sha256: str,
        uri: str = "",
        is_warm: bool = True,
    ) -> VersionStatus:
        """ConflictError."""
        _refuse(model, version, sha256, uri, is_warm)

    async def put_routes(self, model: str, document: object, *, if_match: int) -> ModelStatus:
        """ConflictError."""
        _refuse(model, document, if_match)

    def _check(self, model: str | None) -> None:
        if model not in {None, self._spec.name}:
            raise NotFoundError("there is no model by that name")


def spec_on(route: Route | None, models: Models) -> ModelSpec:
    """What answers on that route; without one, what answers who asks for nothing in particular."""
    return models.default if route is None else models.spec(route.model, route.version)


def _refuse(*_asked: object) -> NoReturn:
    raise ConflictError(
        "this process serves the one model of its settings; versions and routes need the model registry"
    )


_CHECKED: type[Models] = FixedModels
"""mypy holds it to the protocol."""
