"""What Ray wraps around an error, taken off again: callers see our own types and nothing of the inside."""

import logging
from collections.abc import Awaitable
from typing import TypeVar

from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException

from app.core.errors import InternalError, OverloadedError, SightlineError, UnavailableError

T = TypeVar("T")
LOG = logging.getLogger("sightline")


def peel(error: BaseException) -> SightlineError:
    """Our error inside `error`; a dead or missing replica is UnavailableError, a full queue OverloadedError."""
    while isinstance(error, RayTaskError) and isinstance(error.cause, BaseException):
        error = error.cause
    match error:
        case SightlineError():
            return error
        case BackPressureError():
            return OverloadedError("the queue of a stage is full", error.retry_after_s or 1.0)
        case RayActorError() | DeploymentUnavailableError():
            return UnavailableError()
        case RayServeException() if isinstance(error.__cause__, RayActorError):
            return UnavailableError()  # what a call waits for died with its replica
        case RayError():
            LOG.error("a call between stages failed", exc_info=error)
            return UnavailableError()
        case _:
            LOG.error("a stage failed", exc_info=error)
            return InternalError()


async def answer(response: Awaitable[T]) -> T:
    """The value of a response between deployments; raises SightlineError only."""
    try:
        return await response
    except Exception as error:  # noqa: BLE001  every kind of failure of a remote call is peeled here
        raise peel(error) from None
