"""What an ingress knows of the models when views of the registry come in another order than they were made."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from app.pipeline.model_card import card_of
from app.pipeline.model_records import RegistryParameters
from app.policy.route_table import Ask
from deployments.models import ClusterModels
from tests.builders import make_spec


class Book:
    """A registry whose answers come when a test says so."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[dict[str, Any] | None]] = []

    @property
    def view(self) -> "Book":
        return self

    async def remote(self, _after: int, *, wait_s: float) -> dict[str, Any] | None:
        assert wait_s >= 0
        self.asked.append(asyncio.get_running_loop().create_future())
        return await self.asked[-1]

    async def ask(self, call: Callable[["Book"], Awaitable[Any]], *, wait_s: float = 0.0) -> Any:
        assert wait_s >= 0
        return await call(self)


def view(revision: int, *, epoch: int) -> dict[str, Any]:
    spec = make_spec()
    version = {"phase": "PRIMARY", "card": card_of(spec)}
    model = {"route_epoch": epoch, "routes": {"weights": {spec.version: 1.0}}, "versions": {spec.version: version}}
    return {"revision": revision, "default_model": spec.name, "models": {spec.name: model}}


def looks(*, answers: list[tuple[int, dict[str, Any] | None]]) -> int:
    """The epoch that frames are routed under after two looks at once, answered in that order, by number of look."""

    async def scenario() -> int:
        models, book = ClusterModels(make_spec(), RegistryParameters()), Book()
        models._book = book  # type: ignore[assignment]  # the place where the cluster would be
        looking = [asyncio.create_task(models._look(wait_s=0.0)) for _ in range(2)]
        await asyncio.sleep(0)
        for number, answer in answers:
            book.asked[number].set_result(answer)
            await looking[number]
        return models.route(Ask()).epoch

    return asyncio.run(scenario())


def test_a_view_that_comes_late_does_not_take_the_routes_back() -> None:
    assert looks(answers=[(1, view(9, epoch=4)), (0, view(8, epoch=3))]) == 4


def test_views_in_order_each_hold() -> None:
    assert looks(answers=[(0, view(8, epoch=3)), (1, view(9, epoch=4))]) == 4


def test_no_news_changes_nothing() -> None:
    assert looks(answers=[(0, view(8, epoch=3)), (1, None)]) == 3


def test_a_registry_that_began_anew_counts_from_the_start_and_is_followed() -> None:
    async def scenario() -> int:
        models, book = ClusterModels(make_spec(), RegistryParameters()), Book()
        models._book = book  # type: ignore[assignment]  # the place where the cluster would be
        for number, answer in enumerate([view(50, epoch=30), view(2, epoch=1)]):
            looking = asyncio.create_task(models._look(wait_s=0.0))
            await asyncio.sleep(0)
            book.asked[number].set_result(answer)
            await looking
        return models.route(Ask()).epoch

    assert asyncio.run(scenario()) == 1
