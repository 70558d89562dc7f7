"""The gRPC service behind a real server, over a fake chain."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from app.api.grpc_service import VideoAnalytics
from app.api.stream_pump import PumpPorts
from app.contract.vision_pb2_grpc import VideoAnalyticsStub, add_VideoAnalyticsServicer_to_server
from app.pipeline.frame_path import FramePath
from app.pipeline.models import Models
from app.pipeline.tenants import Tenants
from app.policy.batching import BatchLimits
from tests.fakes import FakeChain


@asynccontextmanager
async def calling(
    models: Models, ports: PumpPorts, *, tenants: Tenants | None = None
) -> AsyncIterator[VideoAnalyticsStub]:
    """A client of it."""
    limits = BatchLimits(max_batch=8, max_in_flight=1, max_waiting=2)
    service = VideoAnalytics(FramePath(FakeChain(), models=models, limits=limits), ports, tenants=tenants)
    server = grpc.aio.server()
    add_VideoAnalyticsServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield VideoAnalyticsStub(channel)
    finally:
        await server.stop(grace=0.5)
