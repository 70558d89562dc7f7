"""The whole application behind real servers on loopback, over a fake chain: for clients that want a wire."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from fastapi import FastAPI

from app.api.application import create_app
from app.api.bodies import BodyBudget
from app.api.resume import ResumeTokens
from app.api.sending import SenderLimits
from app.api.stream_pump import PumpLimits, PumpPorts
from app.pipeline.frame_path import FramePath
from app.pipeline.memory_store import MemoryStore
from app.pipeline.models import FixedModels
from app.pipeline.stream_host import StreamHost
from app.pipeline.streams import Streams
from app.pipeline.surroundings import StreamLimits, Surroundings
from app.policy.batching import BatchLimits
from app.tracking.parameters import TrackerParameters
from tests.api.live_wire import behind_uvicorn, secret
from tests.builders import make_spec
from tests.fakes import FakeChain

QUICK = PumpLimits(sender=SenderLimits(), busy_wait_s=0.05, idle_wait_s=0.2, drain_s=2.0)


def real_streams(chain: FakeChain, *, limits: StreamLimits | None = None) -> Streams:
    """The real owner of streams, over that chain. Its mailboxes hold more than a client has open at once."""
    limits = limits or StreamLimits(depth=40)
    return Streams(
        Surroundings(
            chain=chain,
            store=MemoryStore(history=limits.history),
            models=FixedModels(make_spec()),
            tracker=TrackerParameters(),
            limits=limits,
        )
    )


@dataclass(slots=True, kw_only=True)
class Served:
    """One ingress replica: every route of the service, over a host that it may share with others."""

    chain: FakeChain
    host: StreamHost
    draining: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def app(self) -> FastAPI:
        path = FramePath(
            self.chain, models=FixedModels(make_spec()), limits=BatchLimits(max_batch=8, max_in_flight=1, max_waiting=8)
        )
        ports = PumpPorts(
            host=self.host,
            tokens=ResumeTokens(secret),
            budget=BodyBudget(64 * 1024**2),
            draining=self.draining,
            limits=QUICK,
        )
        return create_app(path, ports)


@asynccontextmanager
async def serving(*, chain: FakeChain | None = None, host: StreamHost | None = None) -> AsyncIterator[Served]:
    """A replica on a free port, on this event loop. A host that was not given ends with it."""
    chain = chain or FakeChain()
    own = None if host is not None else real_streams(chain)
    served = Served(chain=chain, host=host or own or real_streams(chain))
    try:
        async with behind_uvicorn(served.app()) as served.port:
            yield served
    finally:
        if own is not None:
            await own.stop()


@contextmanager
def served_apart() -> Iterator[str]:
    """The address of a replica on an event loop in a thread of its own, for clients that block."""
    ready: list[str] = []
    is_ready, is_over = threading.Event(), threading.Event()

    async def serve() -> None:
        async with serving() as served:
            ready.append(served.url)
            is_ready.set()
            await asyncio.to_thread(is_over.wait)

    thread = threading.Thread(target=asyncio.run, args=[serve()])
    thread.start()
    try:
        assert is_ready.wait(20)
        yield ready[0]
    finally:
        is_over.set()
        thread.join()
