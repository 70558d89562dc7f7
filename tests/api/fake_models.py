"""The models of a service over a real registry and one replica that does at once what it is told."""

from app.core.errors import SightlineError
from app.core.model import ModelSpec
from app.core.routing import Route
from app.pipeline.model_records import ModelStatus, VersionStatus
from app.pipeline.models import FixedModels, Models
from app.policy.lifecycle import Phase
from app.policy.route_table import Ask
from tests.builders import make_spec
from tests.unit.pipeline.registry_world import World, world


class FakeModels:
    """Models. `becomes` is what the replica makes of a version that it loads; None: it does nothing yet.

    `fails` is raised by the next change.
    """

    def __init__(self, *versions: str) -> None:
        self.world: World = world(versions=versions or ("1.0.0", "2.0.0"))
        self.becomes: Phase | None = None
        self.fails: SightlineError | None = None
        self._fixed = FixedModels(make_spec())

    @property
    def default(self) -> ModelSpec:
        return self._fixed.default

    def route(self, ask: Ask, model: str | None = None) -> Route:
        return self._fixed.route(ask, model)

    def spec(self, model: str, version: str) -> ModelSpec:
        return self._fixed.spec(model, version)

    def labels(self, model: str | None = None) -> tuple[str, ...]:
        return self._fixed.labels(model)

    async def describe(self) -> tuple[ModelStatus, ...]:
        if self.becomes is not None:
            self.world.obey("r0", becomes=self.becomes)
        return self.world.registry.describe()

    async def put_version(
        self, model: str, version: str, *, sha256: str, uri: str = "", is_warm: bool = True
    ) -> VersionStatus:
        self._fail()
        return self.world.registry.put_version(model, version, sha256=sha256, uri=uri, is_warm=is_warm)

    async def put_routes(self, model: str, document: object, *, if_match: int) -> ModelStatus:
        self._fail()
        return self.world.registry.put_routes(model, document, if_match=if_match)

    def _fail(self) -> None:
        if self.fails is not None:
            raise self.fails


_CHECKED: type[Models] = FakeModels
"""mypy holds the fake to the protocol."""
