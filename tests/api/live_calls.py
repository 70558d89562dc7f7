"""A real gRPC server over a replica, as Serve would run it, and a client of one call that counts."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from app.api.grpc_call import CallLimits
from app.api.grpc_health import Health
from app.api.grpc_service import NAME, VideoAnalytics
from app.api.sent_frame import MAX_MESSAGE_BYTES
from app.contract.vision_pb2 import FrameResult, VideoFrame
from app.contract.vision_pb2_grpc import VideoAnalyticsStub, add_VideoAnalyticsServicer_to_server
from app.pipeline.frame_path import FramePath
from app.pipeline.models import FixedModels
from app.policy.batching import BatchLimits
from tests.api.fake_host import FakeHost
from tests.api.live_wire import WITHIN_S, Replica, soon
from tests.builders import make_spec
from tests.fakes import FakeChain

UNLIMITED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


@asynccontextmanager
async def calling(replica: Replica, *, limits: CallLimits | None = None) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a server of the replica's own, on a free port."""
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)])
    path = FramePath(
        FakeChain(), models=FixedModels(make_spec()), limits=BatchLimits(max_batch=8, max_in_flight=1, max_waiting=2)
    )
    add_VideoAnalyticsServicer_to_server(VideoAnalytics(path, replica.ports, limits=limits), server)
    health_pb2_grpc.add_HealthServicer_to_server(Health([NAME], draining=replica.draining), server)
    reflection.enable_server_reflection([NAME, reflection.SERVICE_NAME], server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=UNLIMITED) as channel:
            yield channel
    finally:
        await server.stop(grace=0.5)


@dataclass(slots=True)
class Call:
    """One call of StreamingInfer and all that it was told, by stream."""

    channel: grpc.aio.Channel
    told: list[FrameResult] = field(default_factory=list)
    rpc: Any = None

    def __post_init__(self) -> None:
        self.rpc = VideoAnalyticsStub(self.channel).StreamingInfer()

    async def send(self, stream_id: str, seq: int | None = None, *, data: bytes = b"x", **fields: Any) -> None:
        await self.rpc.write(VideoFrame(stream_id=stream_id, seq=seq, data=data, **fields))

    async def greet(self, stream_id: str, **fields: Any) -> None:
        """Open the stream without a frame."""
        await self.send(stream_id, data=b"", **fields)
        await self.until(lambda: self.credit(stream_id) > 0)

    async def read(self) -> FrameResult:
        async with asyncio.timeout(WITHIN_S):
            message = await self.rpc.read()
        if message is grpc.aio.EOF:
            raise EOFError
        self.told.append(message)
        return message

    async def until(self, is_there: Callable[[], bool]) -> None:
        while not is_there():
            await self.read()

    def results(self, stream_id: str) -> list[FrameResult]:
        return [message for message in self.told if message.stream_id == stream_id and message.status]

    def seqs(self, stream_id: str) -> list[int]:
        return [result.seq for result in self.results(stream_id)]

    def credit(self, stream_id: str) -> int:
        return sum(message.credit.frames for message in self.told if message.stream_id == stream_id)

    async def ending(self) -> tuple[grpc.StatusCode, str]:
        """Everything up to the end, then its status and words."""
        try:
            while True:
                await self.read()
        except (EOFError, grpc.aio.AioRpcError):
            return await self.rpc.code(), await self.rpc.details()


Scenario = Callable[[Replica, grpc.aio.Channel], Coroutine[Any, Any, None]]


def run(scenario: Scenario, *, host: FakeHost | None = None, limits: CallLimits | None = None) -> None:
    """One replica and a channel to it; in the end it holds nothing."""

    async def inside() -> None:
        replica = Replica(host=host or FakeHost())
        async with calling(replica, limits=limits) as channel:
            await scenario(replica, channel)
        assert replica.budget.held == 0

    asyncio.run(inside())


async def captured(host: FakeHost, stream_id: str, last_seq: int) -> None:
    """Wait until the stream has that frame."""
    await soon(lambda: host.last_seq(stream_id) >= last_seq)
