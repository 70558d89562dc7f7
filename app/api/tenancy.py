"""The door: whose request this is, before anything of it is read."""

from typing import Final

from fastapi import Request
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api import problems
from app.core.errors import ForbiddenError, SightlineError
from app.pipeline.tenants import Client, Tenants

_POLICY_VIOLATION: Final = 1008
_OPEN: Final = ("/healthz", "/readyz", "/docs", "/openapi.json", "/schemas/", "/redoc")
"""What says nothing of any tenant, and probes and documentation have to reach."""
_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Door:
    """Lets in who has a tenant's key, as `Authorization: Bearer KEY`; `client_of` says who it was."""

    def __init__(self, app: ASGIApp, *, tenants: Tenants) -> None:
        self._app = app
        self._tenants = tenants

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] in {"http", "websocket"} and not _is_open(_route(scope)):
            try:
                client = self._tenants.client(Headers(scope=scope).get("authorization"))
                _check(client, scope)
            except SightlineError as error:
                await _refuse(error, scope, receive, send)
                return
            scope.setdefault("state", {})["client"] = client
        await self._app(scope, receive, send)


def client_of(connection: HTTPConnection) -> Client:
    """Whose request or WebSocket this is."""
    client: Client = connection.state.client
    return client


def _route(scope: Scope) -> str:
    """The path as the routes see it: a service may be mounted below a prefix."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _is_open(path: str) -> bool:
    return path == "/" or path.startswith(_OPEN)


def _check(client: Client, scope: Scope) -> None:
    """Models and faults are everybody's: only an operator changes them."""
    path = _route(scope)
    is_change = path.startswith("/v1/models") and scope.get("method") not in _READING
    if (is_change or path.startswith("/v1/admin")) and not client.tenant.is_operator:
        raise ForbiddenError("only an operator's key may do this")


async def _refuse(error: SightlineError, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": f"{error.code}: {error.detail}"})
        return
    response = problems.problem(Request(scope), error)
    if error.status.value == 401:  # noqa: PLR2004  RFC 9110, 11.6.1: it names the scheme
        response.headers["www-authenticate"] = "Bearer"
    await response(scope, receive, send)
