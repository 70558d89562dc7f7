"""Real servers on loopback for the live transports, a client that counts, and a wire that can go dead."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from app.api import websocket
from app.api.bodies import BodyBudget
from app.api.resume import ResumeTokens
from app.api.sending import SenderLimits
from app.api.stream_pump import PumpLimits, PumpPorts
from app.api.tenancy import Door
from app.contract.vision_pb2 import VideoFrame
from app.pipeline.stream_spec import StreamSpec
from app.pipeline.tenants import Tenants
from tests.api.fake_host import FakeHost

WITHIN_S = 10.0
SECRET = bytes(32)
QUICK = PumpLimits(sender=SenderLimits(surplus_frames=6), busy_wait_s=0.05, idle_wait_s=0.2, drain_s=5.0)


async def secret() -> bytes:
    return SECRET


async def soon(is_there: Callable[[], bool]) -> None:
    """Return when it is; nothing in the service under test tells of it."""
    async with asyncio.timeout(WITHIN_S):
        while not is_there():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@asynccontextmanager
async def behind_uvicorn(app: ASGIApp, **options: Any) -> AsyncIterator[int]:
    """The port of a real server of `app` on loopback, on this event loop."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        config = uvicorn.Config(app, lifespan="off", log_level="error", timeout_graceful_shutdown=1, **options)
        server = uvicorn.Server(config)
        running = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            await running


@dataclass(slots=True, kw_only=True)
class Replica:
    """One ingress replica over a host that it may share with others."""

    host: FakeHost
    limits: PumpLimits = QUICK
    stalled_s: float = 30.0
    budget: BodyBudget = field(default_factory=lambda: BodyBudget(64 * 1024**2))
    draining: asyncio.Event = field(default_factory=asyncio.Event)
    tokens: ResumeTokens = field(default_factory=lambda: ResumeTokens(secret))
    ended: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    """Gets the path of every connection whose handler has returned."""
    url: str = ""

    @property
    def ports(self) -> PumpPorts:
        return PumpPorts(
            host=self.host, tokens=self.tokens, budget=self.budget, draining=self.draining, limits=self.limits
        )

    async def stream(self) -> str:
        return (await self.host.open(StreamSpec())).stream_id

    @asynccontextmanager
    async def serving(self, **options: Any) -> AsyncIterator[Self]:
        """The WebSocket route behind uvicorn, on a free port."""
        app = FastAPI()
        app.add_middleware(Door, tenants=Tenants({}, self.host))
        app.include_router(websocket.router(self.ports, stalled_s=self.stalled_s))
        async with behind_uvicorn(self._watched(app), **options) as port:
            self.url = f"ws://127.0.0.1:{port}"
            yield self

    def _watched(self, app: ASGIApp) -> ASGIApp:
        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await app(scope, receive, send)
            finally:
                self.ended.put_nowait(scope["path"])

        return watched


@dataclass(slots=True)
class Client:
    """One WebSocket client and all that it was told."""

    socket: ClientConnection
    told: list[dict[str, Any]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    async def send(self, seq: int | None = None, *, data: bytes = b"x", **fields: Any) -> None:
        await self.socket.send(VideoFrame(seq=seq, data=data, **fields).SerializeToString())

    async def read(self) -> dict[str, Any]:
        async with asyncio.timeout(WITHIN_S):
            text = await self.socket.recv()
        assert isinstance(text, str)
        self.told.append(json.loads(text))
        self.bodies.append(text.encode())
        return self.told[-1]

    async def until(self, is_there: Callable[[], bool]) -> None:
        while not is_there():
            await self.read()

    async def results(self, *seqs: int) -> list[dict[str, Any]]:
        """The results so far, once those of `seqs` have come."""
        await self.until(lambda: set(seqs) <= {result["seq"] for result in self.of("FrameResult")})
        return self.of("FrameResult")

    async def ending(self) -> tuple[int | None, str | None]:
        """Everything up to the close, then its code and reason."""
        try:
            while True:
                await self.read()
        except ConnectionClosed:
            return self.socket.close_code, self.socket.close_reason

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [item for item in self.told if item["schema"] == f"sightline.v1.{kind}"]

    @property
    def credit(self) -> int:
        return sum(item["frames"] for item in self.of("Credit"))


@asynccontextmanager
async def client(url: str, stream_id: str, query: str = "") -> AsyncIterator[Client]:
    uri = f"{url}/v1/streams/{stream_id}/ws{query}"
    async with connect(uri, compression=None, max_size=None, ping_interval=None, close_timeout=1) as connection:
        yield Client(connection)


class DeadWire:
    """A TCP relay; after `cut` it carries nothing more and closes nothing, like a cable that was pulled."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._is_cut = False
        self._tasks: list[asyncio.Task[None]] = []
        self._writers: list[asyncio.StreamWriter] = []

    @asynccontextmanager
    async def laid(self) -> AsyncIterator[int]:
        """The port to connect to."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for writer in self._writers:
                writer.transport.abort()
            server.close()

    def cut(self) -> None:
        self._is_cut = True

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers += [writer, back]
        self._tasks += [asyncio.create_task(self._carry(reader, back)), asyncio.create_task(self._carry(there, writer))]

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if not self._is_cut:
                writer.write(data)
                await writer.drain()
        if not self._is_cut:
            writer.close()


Scenario = Callable[[Replica, str, Client], Coroutine[Any, Any, None]]


def run(scenario: Scenario, *, query: str = "", host: FakeHost | None = None, **options: Any) -> None:
    """One replica, one stream, one client that was told its first credits."""

    async def inside() -> None:
        async with Replica(host=host or FakeHost(), **options).serving() as replica:
            stream_id = await replica.stream()
            async with client(replica.url, stream_id, query) as there:
                assert (await there.read())["schema"] == "sightline.v1.Credit"
                await scenario(replica, stream_id, there)
            async with asyncio.timeout(WITHIN_S):
                await replica.ended.get()
            assert replica.budget.held == 0

    asyncio.run(inside())
