"""The FastAPI application over one frame path."""

import asyncio
import re
import secrets
from dataclasses import dataclass, field

from fastapi import FastAPI, Request, Response
from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import __version__
from app.api import autoscaling as scaling_routes
from app.api import detections, live_preview, models, moments, preview, problems, streams, videos, websocket
from app.api import faults as fault_routes
from app.api.bodies import BodyLimits
from app.api.contract import schemas
from app.api.sources import Sources
from app.api.stream_pump import PumpPorts
from app.api.tenancy import Door
from app.core.errors import DeadlineError, NotFoundError, SightlineError
from app.core.frame import FrameRef
from app.core.metrics import SILENT, Metrics
from app.core.query import Query
from app.media.fetch_guard import FetchParameters
from app.media.limits import DecodeLimits
from app.pipeline.faults import Faults
from app.pipeline.frame_path import FramePath
from app.pipeline.scaling import FixedScaling, Scaling
from app.pipeline.tenants import Tenants
from app.vision.example import example_jpeg

_REQUEST_ID = re.compile(r"[A-Za-z0-9._~+/=:-]{1,128}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiLimits:
    """`bodies` for images, `max_video_bytes` for one upload, `ready_s` for the golden image's way through the path.

    `fetch` says what may come by URL; `decoding` bounds the pictures that are decoded here, for previews.
    """

    bodies: BodyLimits = field(default_factory=BodyLimits)
    fetch: FetchParameters = field(default_factory=FetchParameters)
    decoding: DecodeLimits = field(default_factory=DecodeLimits)
    max_video_bytes: int = 4 * 1024**3
    ready_s: float = 5.0


class _RequestId:
    """Gives every request an id, the caller's own where it is a plain one, and returns it in the answer.

    Ray Serve returns the id by itself, so that behind it (`is_behind_serve`) a second header would be one too many.
    """

    def __init__(self, app: ASGIApp, *, is_behind_serve: bool) -> None:
        self._app = app
        self._is_behind_serve = is_behind_serve

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        own = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(16)
        returned = {} if self._is_behind_serve else {"x-request-id": own}
        scope.setdefault("state", {}).update(request_id=own, returned_headers=returned)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(returned)
            await send(message)

        await self._app(scope, receive, send_with_id)


def create_app(
    path: FramePath,
    ports: PumpPorts,
    *,
    limits: ApiLimits | None = None,
    faults: Faults | None = None,
    scaling: Scaling | None = None,
    tenants: Tenants | None = None,
    metrics: Metrics = SILENT,
    is_behind_serve: bool = False,
) -> FastAPI:
    """Routes of CONTRACT.md §2 over the path of stills and files, and the ports to live streams.

    Without `faults` there is no way to plant any, without `scaling` nobody decides how many replicas there are,
    without `tenants` everybody is one.
    """
    budget = ports.budget
    limits = limits or ApiLimits()
    app = FastAPI(
        title="Sightline",
        version=__version__,
        description="Images and videos into detections and tracks; every frame accounted for.",
    )
    app.add_middleware(Door, tenants=tenants or Tenants({}, ports.host))
    app.add_middleware(_RequestId, is_behind_serve=is_behind_serve)
    problems.install(app, metrics=metrics)
    sources = Sources(limits.bodies, limits.fetch)
    app.include_router(detections.router(path, limits=limits.bodies, budget=budget, sources=sources))
    app.include_router(preview.router(sources, budget=budget, decoding=limits.decoding))
    app.include_router(streams.router(ports, labels=path.spec.labels, sources=sources))
    app.include_router(websocket.router(ports))
    app.include_router(live_preview.router())
    app.include_router(moments.router())
    app.include_router(models.router(path.models, budget=budget))
    app.include_router(scaling_routes.router(scaling or FixedScaling()))
    if faults is not None:
        app.include_router(fault_routes.router(faults, budget=budget))
    app.include_router(videos.router(path, max_bytes=limits.max_video_bytes))
    _add_health(app, path, ready_s=limits.ready_s)

    @app.get("/", include_in_schema=False)
    async def home() -> Response:
        return RedirectResponse("docs")

    documents = schemas()

    @app.get("/schemas/{name}.json", summary="JSON Schema of one event")
    async def schema(name: str) -> Response:
        """`FrameResult` or `Summary`."""
        if name not in documents:
            raise NotFoundError(f"there are the schemas {', '.join(sorted(documents))}")
        return JSONResponse(documents[name], media_type="application/schema+json")

    return app


def _add_health(app: FastAPI, path: FramePath, *, ready_s: float) -> None:
    golden = example_jpeg(width_px=path.spec.input_width_px, height_px=path.spec.input_height_px)

    @app.get("/healthz", summary="The process is alive")
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz", summary="A golden image went the whole way in time")
    async def readyz(request: Request) -> Response:
        """The user's own path, not a flag: 200 when the picture came back within its deadline, 503 otherwise."""
        ref = FrameRef(stream_id="readyz", seq=0)
        try:
            async with asyncio.timeout(ready_s):
                result = await path.detect(golden, ref=ref, query=Query(), kind="probe")
        except TimeoutError:
            return problems.not_ready(request, DeadlineError(f"the golden image took longer than {ready_s} s"))
        except SightlineError as error:
            return problems.not_ready(request, error)
        return JSONResponse({"status": "ready", "total_s": round(result.timings.total_s, 4)})
