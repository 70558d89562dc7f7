"""How errors and refusals leave over gRPC: as a status with our words, nothing of the inside."""

import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final, Protocol

from grpc import StatusCode

from app.core.errors import InternalError, SightlineError

LOG = logging.getLogger("sightline")
_STATUS: Final = {
    HTTPStatus.BAD_REQUEST: StatusCode.INVALID_ARGUMENT,
    HTTPStatus.NOT_FOUND: StatusCode.NOT_FOUND,
    HTTPStatus.NOT_ACCEPTABLE: StatusCode.INVALID_ARGUMENT,
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

    def set_code(self, code: StatusCode, /) -> None:
        """The status that the call ends with."""

    def set_details(self, details: str, /) -> None:
        """Its words."""

    def set_trailing_metadata(self, trailing_metadata: Sequence[tuple[str, str]], /) -> None:
        """What follows the last message."""


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
