"""The public face as a deployment: HTTP, WebSocket and gRPC over a chain of stages."""

import asyncio
import gc
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress
from contextvars import Context
from typing import Any

from fastapi import FastAPI
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from app import assembly
from app.api.application import ApiLimits, create_app
from app.api.bodies import BodyBudget, BodyLimits
from app.api.grpc_health import Health
from app.api.grpc_service import NAME, VideoAnalytics
from app.api.grpc_status import RpcContext
from app.api.resume import ResumeTokens
from app.api.stream_pump import PumpPorts
from app.contract.vision_pb2 import FrameResult, Image, VideoFrame
from app.core import metrics as table
from app.core.frame import FrameRef
from app.core.gpu import GpuMeter
from app.core.model import ModelSpec
from app.core.query import Query
from app.pipeline.chain import Chain
from app.pipeline.detector import Detector
from app.pipeline.detector_metrics import DetectorLook
from app.pipeline.fault_inbox import LocalFaults
from app.pipeline.faults import Faults
from app.pipeline.stream_host import StreamHost
from app.pipeline.stream_metrics import StreamsLook
from app.pipeline.streams import Streams, new_stream_id
from app.pipeline.tally import Tally
from app.pipeline.tenants import Tenants
from app.settings import Settings
from app.vision.example import example_jpeg
from deployments.chain import ServeChain
from deployments.draining import drained
from deployments.keeper import Keeper
from deployments.logs import write_as_serve_does
from deployments.metrics import sampler_of
from deployments.models import ClusterModels
from deployments.planted import ServeFaults
from deployments.scaling_board import ServeScaling
from deployments.stream_store import RayStreamStore
from deployments.streams import ServeStreams
from deployments.tracing import in_the_trace
from deployments.version_link import VersionLink, ladder_of
from engines.ladder import EngineLadder

_MEET_S = 10.0


class Ingress:
    """Serves the routes; with `stages`, the handles of ServeChain, they are other deployments, without, all is here."""

    def __init__(self, settings: Settings, spec: ModelSpec, **stages: Any) -> None:
        write_as_serve_does()
        self._settings = settings
        self._spec = spec
        self._tally = Tally()
        looks: list[Callable[[], None]] = [self._look]
        meter: GpuMeter | None = None
        store = RayStreamStore(history=settings.streams.history)
        self._models = ClusterModels(spec, settings.registry)
        self._owner: Streams | None = None
        self._link: VersionLink | None = None
        self._faults: Faults | None = None
        if stages:
            self._chain: Chain = ServeChain(**stages)
            self._faults = ServeFaults(stages["detector"])
            self._host: StreamHost = ServeStreams(stages["tracker"], store)
        else:
            ladder = ladder_of(self._settings)
            self._chain, detector = self._colocated(ladder)
            meter = ladder.meter()
            self._host = self._owner = assembly.streams(
                settings, self._chain, self._models, store=store, metrics=self._tally
            )
            looks += [DetectorLook(detector, self._tally), StreamsLook(self._owner, self._tally)]
        self._keeper = Keeper(self._host, store)
        self._ports = PumpPorts(
            host=self._host,
            tokens=ResumeTokens(store.secret),
            budget=BodyBudget(settings.service.body_budget_bytes),
            draining=asyncio.Event(),
        )
        self._path = assembly.frame_path(settings, self._chain, self._models, metrics=self._tally, context=in_the_trace)
        self._tenants = Tenants(settings.tenants(), self._host)
        self._grpc = VideoAnalytics(self._path, self._ports, tenants=self._tenants)
        self._health = Health([NAME], draining=self._ports.draining)
        self._watching: asyncio.Task[None] | None = None
        sampler = sampler_of(self._tally, settings.telemetry, meter=meter)
        for look in looks:
            sampler.watch(look)

    def _colocated(self, ladder: EngineLadder) -> tuple[Chain, Detector]:
        engine = ladder.open_here(self._settings.model.file)
        chain = assembly.local_chain(self._settings, engine, metrics=self._tally)
        self._link = VersionLink(chain.detector, self._settings, ladder=ladder, metrics=self._tally)
        self._faults = LocalFaults(ladder.inbox)
        return chain, chain.detector

    def _look(self) -> None:
        self._tally.set(table.INGRESS_WAITING, to=self._path.waiting_stills)

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Called by Serve once the replica is constructed."""
        service = self._settings.service
        bodies = BodyLimits(
            max_image_bytes=service.max_image_bytes,
            max_parts=service.max_parts,
            max_multipart_bytes=service.max_multipart_bytes,
            budget_bytes=service.body_budget_bytes,
        )
        limits = ApiLimits(
            bodies=bodies,
            max_video_bytes=self._settings.decoder.max_video_bytes,
            ready_s=service.ready_s,
            fetch=service.fetch,
            decoding=self._settings.decoder.limits,
        )
        app = create_app(
            self._path,
            self._ports,
            limits=limits,
            faults=self._faults if self._settings.faults else None,
            scaling=ServeScaling(),
            tenants=self._tenants,
            metrics=self._tally,
            is_behind_serve=True,
        )
        gc.collect()
        gc.freeze()  # what is here now stays: no collection walks through it again
        return app

    async def check_health(self) -> None:
        """Asked every few seconds from the start on: streams that lost their owner get one, here or elsewhere."""
        self._keeper.begin()
        self._models.begin()
        if self._owner is not None:
            await self._owner.begin()
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch(), context=Context())
            await self._meet()

    async def _meet(self) -> None:
        """Reach every stage once before anybody is sent here: the first call to each takes seconds on a busy machine.

        At the first start of all they may take longer than this waits; then this replica is up before they are.
        """
        golden = example_jpeg(width_px=self._spec.input_width_px, height_px=self._spec.input_height_px)
        nobody = new_stream_id()
        with suppress(TimeoutError):
            async with asyncio.timeout(_MEET_S):
                await self._models.meet()
                if self._link is not None:
                    await self._link.meet()
                await asyncio.gather(
                    self._path.detect(golden, ref=FrameRef(stream_id=nobody, seq=0), query=Query(), kind="probe"),
                    self._chain.close_video(nobody),
                    self._ports.tokens.make(nobody, seq=0),
                    return_exceptions=True,
                )

    async def _watch(self) -> None:
        """Send those who are connected elsewhere, as soon as this replica is to go."""
        await drained()
        self._ports.draining.set()

    async def Detect(self, request: Image, grpc_context: RpcContext) -> FrameResult:  # noqa: N802  the RPC's name
        """One image in, its result out."""
        return await self._grpc.Detect(request, grpc_context)

    async def StreamingInfer(  # noqa: N802  the RPC's name
        self, request_stream: AsyncIterator[VideoFrame], grpc_context: RpcContext
    ) -> AsyncGenerator[FrameResult, None]:
        """Frames of any number of live streams in, the end of each of them out."""
        async for answer in self._grpc.StreamingInfer(request_stream, grpc_context):
            yield answer

    async def Check(self, request: HealthCheckRequest, grpc_context: RpcContext) -> HealthCheckResponse:  # noqa: N802
        """Whether this replica serves; of grpc.health.v1."""
        return await self._health.Check(request, grpc_context)

    async def List(self, request: Any, grpc_context: RpcContext) -> Any:  # noqa: N802
        """The same of every service."""
        return await self._health.List(request, grpc_context)

    async def Watch(  # noqa: N802
        self, request: HealthCheckRequest, grpc_context: RpcContext
    ) -> AsyncGenerator[HealthCheckResponse, None]:
        """The same, and again when it changes."""
        async for answer in self._health.Watch(request, grpc_context):
            yield answer
