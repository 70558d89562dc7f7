"""The models as an ingress and the owner of streams know them: the newest view of the registry that has come."""

import asyncio
import logging
from contextvars import Context
from typing import Any, Final

from app.core.errors import InvalidParameterError, NotFoundError, SightlineError
from app.core.model import ModelSpec
from app.core.routing import Route
from app.pipeline.model_card import spec_of
from app.pipeline.model_records import ModelStatus, RegistryParameters, VersionStatus
from app.pipeline.models import FixedModels
from app.policy.lifecycle import USABLE, Phase
from app.policy.route_document import parsed
from app.policy.route_table import Ask, RouteTable, choose
from deployments.model_book import ModelBook, View
from deployments.named_actor import NamedActor

LOG = logging.getLogger("sightline")
_WAIT_S: Final = 5.0
_PAUSE_S: Final = 0.5
_GONE: Final = 16
"""Versions that are in no view any more and are still known here: frames may be under way to them."""


def book_of(spec: ModelSpec, parameters: RegistryParameters) -> NamedActor:
    """The cluster's registry of models, for services whose settings name this version.

    Other settings begin with routes of their own; the same find theirs again.
    """
    namespace = f"sightline-models-{spec.name}-{spec.version}"
    return NamedActor(ModelBook, namespace, parameters, name="book", namespace=namespace, what="the registry of models")


class _Known:
    """One model of a view."""

    def __init__(self, view: dict[str, Any]) -> None:
        self.table: RouteTable | None = None
        if view["routes"] is not None:
            self.table = parsed(view["routes"], epoch=view["route_epoch"])
        self.usable = [version for version, one in view["versions"].items() if Phase(one["phase"]) in USABLE]
        self.specs = {version: spec_of(one["card"]) for version, one in view["versions"].items() if one["card"]}


class ClusterModels:
    """Models by the cluster's registry. Until the first view has come, and while none is routed, `spec` answers.

    To be used on one event loop.
    """

    def __init__(self, spec: ModelSpec, parameters: RegistryParameters) -> None:
        self._first = FixedModels(spec)
        self._parameters = parameters
        self._book = book_of(spec, parameters)
        self._models: dict[str, _Known] = {}
        self._default: str = spec.name
        self._specs: dict[tuple[str, str], ModelSpec] = {(spec.name, spec.version): spec}
        self._key = b""
        self._revision = -1
        self._has_view = asyncio.Event()
        self._following: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Follow the registry from now on; twice is once."""
        if self._following is None:
            self._following = asyncio.create_task(self._follow(), context=Context())

    async def meet(self) -> None:
        """Return when the first view has come."""
        self.begin()
        await self._has_view.wait()

    @property
    def default(self) -> ModelSpec:
        """The version that answers who asks for nothing in particular."""
        known = self._models.get(self._default)
        if known is None or known.table is None:
            return self._first.default
        return self._specs[self._default, known.table.primary]

    def route(self, ask: Ask, model: str | None = None) -> Route:
        """Where a frame goes, under the newest table that is known here."""
        name = model or self._default
        known = self._models.get(name)
        if known is None or known.table is None:
            return self._first.route(ask, model)
        version = choose(known.table, ask, key=self._key, usable=known.usable)
        spec = self.spec(name, version)
        return Route(
            model=name,
            version=version,
            epoch=known.table.epoch,
            width_px=spec.input_width_px,
            height_px=spec.input_height_px,
            shadow=known.table.shadow_for(version),
        )

    def spec(self, model: str, version: str) -> ModelSpec:
        """What that version is; one that has gone is still known."""
        spec = self._specs.get((model, version))
        if spec is None:
            raise NotFoundError("there is no such version of this model")
        return spec

    def labels(self, model: str | None = None) -> tuple[str, ...]:
        """Those of the model's primary version."""
        known = self._models.get(model or self._default)
        if known is None or known.table is None:
            return self._first.labels(model)
        return self._specs[model or self._default, known.table.primary].labels

    async def describe(self) -> tuple[ModelStatus, ...]:
        """Every model as it stands."""
        return await self._book.ask(lambda book: book.describe.remote())

    async def put_version(
        self, model: str, version: str, *, sha256: str, uri: str = "", is_warm: bool = True
    ) -> VersionStatus:
        """Have a version loaded by every replica, or by none."""
        what = {"sha256": sha256, "uri": uri, "is_warm": is_warm}
        return await self._book.ask(lambda book: book.put_version.remote(model, version, **what))

    async def put_routes(self, model: str, document: object, *, if_match: int) -> ModelStatus:
        """Change the model's whole table; it holds here as soon as this returns."""
        status: ModelStatus = await self._book.ask(
            lambda book: book.put_routes.remote(model, document, if_match=if_match)
        )
        await self._look(wait_s=0.0)
        return status

    async def _follow(self) -> None:
        spec = self._first.default
        while True:
            try:
                if not self._key:
                    await self._book.ask(
                        lambda book: book.seed.remote(spec.name, spec.version, parameters=self._parameters)
                    )
                    self._key = await self._book.ask(lambda book: book.key.remote())
                await self._look(wait_s=_WAIT_S)
            except InvalidParameterError as error:
                LOG.error("the model of the settings cannot be swapped while it runs: %s", error.detail)  # noqa: TRY400
                self._has_view.set()
                return
            except SightlineError as error:
                LOG.warning("the routes of models are not renewed: %s", error.detail)
                await asyncio.sleep(_PAUSE_S)

    async def _look(self, *, wait_s: float) -> None:
        after = self._revision
        view: View | None = await self._book.ask(lambda book: book.view.remote(after, wait_s=wait_s), wait_s=wait_s)
        if view is None or view["revision"] == self._revision:
            return
        if self._revision != after and view["revision"] < self._revision:
            return  # one that was asked for later came first; alone, a lower number is that of a registry begun anew
        models = {name: _Known(one) for name, one in view["models"].items()}
        for name, known in models.items():
            self._specs |= {(name, version): spec for version, spec in known.specs.items()}
        gone = [
            (name, version) for name, version in self._specs if name not in models or version not in models[name].specs
        ]
        for key in gone[:-_GONE]:
            del self._specs[key]
        self._models, self._revision = models, view["revision"]
        self._has_view.set()
        self._default = view["default_model"] or self._default
