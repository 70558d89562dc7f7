"""The standard health service: this replica serves until it is asked to go."""

import asyncio
from collections.abc import AsyncGenerator, Collection

from grpc import StatusCode
from grpc_health.v1.health_pb2 import (  # type: ignore[attr-defined] # the stubs do not know List yet
    HealthCheckRequest,
    HealthCheckResponse,
    HealthListRequest,
    HealthListResponse,
)

from app.api.grpc_status import RpcContext


class Health:
    """`grpc.health.v1.Health` for the process ("") and for each of `services`. Whether pictures go through: /readyz."""

    def __init__(self, services: Collection[str], *, draining: asyncio.Event) -> None:
        self._services = {"", *services}
        self._draining = draining

    async def Check(self, request: HealthCheckRequest, grpc_context: RpcContext) -> HealthCheckResponse:  # noqa: N802
        """SERVING, or NOT_SERVING while the replica drains; NOT_FOUND for other services."""
        if request.service not in self._services:
            grpc_context.set_code(StatusCode.NOT_FOUND)
            grpc_context.set_details("there is no such service")
        return self._answer(request.service)

    async def Watch(  # noqa: N802
        self,
        request: HealthCheckRequest,
        grpc_context: RpcContext,  # noqa: ARG002  the signature is the service's
    ) -> AsyncGenerator[HealthCheckResponse, None]:
        """The same at once, and again when it changes."""
        yield self._answer(request.service)
        if not self._draining.is_set():
            await self._draining.wait()
            yield self._answer(request.service)

    async def List(  # noqa: N802
        self,
        request: HealthListRequest,  # noqa: ARG002  the signature is the service's
        grpc_context: RpcContext,  # noqa: ARG002  same
    ) -> HealthListResponse:
        """All services at once."""
        return HealthListResponse(statuses={service: self._answer(service) for service in self._services})

    def _answer(self, service: str) -> HealthCheckResponse:
        if service not in self._services:
            return HealthCheckResponse(status=HealthCheckResponse.SERVICE_UNKNOWN)
        is_going = self._draining.is_set()
        return HealthCheckResponse(status=HealthCheckResponse.NOT_SERVING if is_going else HealthCheckResponse.SERVING)
