"""An ingress that tells every listener when its replica is being stopped."""

from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from ray import serve
from ray.serve import Application

from deployments.draining import drained


class Bell:
    def __init__(self, version: str) -> None:
        self._version = version

    def __serve_build_asgi_app__(self) -> FastAPI:
        app = FastAPI()
        app.get("/version")(self.version)
        app.get("/listen")(self.listen)
        return app

    async def version(self) -> str:
        return self._version

    async def listen(self) -> StreamingResponse:
        """The name of this replica, then, when its draining begins, a farewell."""

        async def lines() -> AsyncIterator[str]:
            yield f"{serve.get_replica_context().replica_tag}\n"
            await drained()
            yield "goaway\n"

        return StreamingResponse(lines(), media_type="application/x-ndjson")


def build(args: dict[str, str]) -> Application:
    """The bell of `args["version"]`."""
    bell = serve.deployment(
        name="Bell", max_ongoing_requests=20, ray_actor_options={"num_cpus": 0}, graceful_shutdown_wait_loop_s=0.2
    )
    return bell(serve.ingress()(Bell)).bind(args["version"])
