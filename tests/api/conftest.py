import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import pytest

from app.api.application import ApiLimits, create_app
from app.api.bodies import BodyBudget, BodyLimits
from app.api.resume import ResumeTokens
from app.api.stream_pump import PumpPorts
from app.core.tenant import Tenant
from app.pipeline.frame_path import FramePath
from app.pipeline.memory_store import MemoryStore
from app.pipeline.models import FixedModels
from app.pipeline.streams import Streams
from app.pipeline.surroundings import StreamLimits, Surroundings
from app.pipeline.tenants import Tenants
from app.policy.batching import BatchLimits
from app.tracking.parameters import TrackerParameters
from tests.builders import make_spec
from tests.fakes import FakeChain

LIMITS = ApiLimits(
    bodies=BodyLimits(max_image_bytes=1000, max_parts=4, max_multipart_bytes=3000, budget_bytes=5000),
    max_video_bytes=10_000,
)


class Service:
    """The application over a fake chain, spoken to over ASGI."""

    history = 5
    max_streams = 3

    def __init__(self, limits: ApiLimits = LIMITS, *, keys: dict[str, Tenant] | None = None) -> None:
        self.chain = FakeChain()
        path = FramePath(
            self.chain,
            models=FixedModels(make_spec()),
            limits=BatchLimits(max_batch=8, max_in_flight=1, max_waiting=2),
        )
        store = MemoryStore(history=self.history)
        self.streams = Streams(
            Surroundings(
                chain=self.chain,
                store=store,
                models=FixedModels(make_spec()),
                tracker=TrackerParameters(),
                limits=StreamLimits(history=self.history, max_streams=self.max_streams, batch_s=0.5),
            )
        )
        self.ports = PumpPorts(
            host=self.streams,
            tokens=ResumeTokens(store.secret),
            budget=BodyBudget(limits.bodies.budget_bytes),
            draining=asyncio.Event(),
        )
        self.app = create_app(path, self.ports, limits=limits, tenants=Tenants(keys or {}, self.streams))

    def client(self) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://test")

    async def post(self, url: str, **options: Any) -> httpx.Response:
        async with self.client() as client:
            return await client.post(url, **options)

    async def get(self, url: str, **options: Any) -> httpx.Response:
        async with self.client() as client:
            return await client.get(url, **options)


@pytest.fixture
def run() -> Callable[[Callable[[Service], Coroutine[Any, Any, Any]]], Any]:
    """Run a scenario against a fresh service on an event loop of its own."""

    def runner(scenario: Callable[[Service], Coroutine[Any, Any, Any]]) -> Any:
        async def inside() -> Any:
            return await scenario(Service())

        return asyncio.run(inside())

    return runner
