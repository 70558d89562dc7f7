"""How errors and refusals leave over gRPC: as a status with our words, nothing of the inside."""

import logging
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Final, Protocol

from grpc import StatusCode

from app.core.errors import InternalError, SightlineError

LOG = logging.getLogger("sightline")
_STATUS: Final = {
    HTTPStatus.BAD_REQUEST: StatusCode.INVALID_ARGUMENT,
    HTTPStatus.UNAUTHORIZED: StatusCode.UNAUTHENTICATED,
    HTTPStatus.FORBIDDEN: StatusCode.PERMISSION_DENIED,
    HTTPStatus.TOO_MANY_REQUESTS: StatusCode.RESOURCE_EXHAUSTED,
    HTTPStatus.NOT_FOUND: StatusCode.NOT_FOUND,
    HTTPStatus.NOT_ACCEPTABLE: StatusCode.NOT_FOUND,  # the version that was asked for; the words name those there are
    HTTPStatus.CONFLICT: StatusCode.FAILED_PRECONDITION,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: StatusCode.RESOURCE_EXHAUSTED,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: StatusCode.INVALID_ARGUMENT,
    HTTPStatus.UNPROCESSABLE_ENTITY: StatusCode.INVALID_ARGUMENT,
    HTTPStatus.SERVICE_UNAVAILABLE: StatusCode.UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT: StatusCode.DEADLINE_EXCEEDED,
    HTTPStatus.INTERNAL_SERVER_ERROR: StatusCode.INTERNAL,
}


class RpcContext(Protocol):
    """What grpc.aio and Ray Serve both give to a method beside the request."""

    def invocation_metadata(self) -> Iterable[tuple[str, str | bytes]] | None:
        """What the client sent beside the request: names in lower case, bytes under those that end in `-bin`."""

    def set_code(self, code: StatusCode, /) -> None:
        """The status that the call ends with."""

    def set_details(self, details: str, /) -> None:
        """Its words."""

    def set_trailing_metadata(self, trailing_metadata: Sequence[tuple[str, str]], /) -> None:
        """What follows the last message."""


def headers_of(context: RpcContext) -> dict[str, str]:
    """The request's metadata as HTTP headers: names that come again are one, their values in a list with commas."""
    headers: dict[str, str] = {}
    for name, value in context.invocation_metadata() or ():
        if isinstance(value, str):
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def known(error: Exception) -> SightlineError:
    """The error, if it has words for the caller; else it goes to the log, and an InternalError to the caller."""
    if isinstance(error, SightlineError):
        return error
    LOG.error("a gRPC call failed", exc_info=error)
    return InternalError()


def end_in(context: RpcContext, error: SightlineError) -> None:
    """End the call in `error`: trailing metadata name its code, and when to come again where it says so."""
    context.set_code(_STATUS[error.status])
    context.set_details(error.detail)
    trailing = [("sightline-code", error.code)]
    if (wait_s := getattr(error, "retry_after_s", None)) is not None:
        trailing.append(("retry-after-s", f"{wait_s:g}"))
    context.set_trailing_metadata(trailing)
