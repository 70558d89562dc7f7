"""What a client's calls raise: the service's own errors by their codes, and two of the client's."""

import json
import math
from http import HTTPStatus
from typing import Any

from app.core import errors
from app.core.errors import InternalError, OverloadedError, SightlineError, UnavailableError


class UnreachableError(SightlineError):
    """No connection to the service, or none that lasted, for as long as was allowed; the last failure is the cause."""

    status = HTTPStatus.BAD_GATEWAY
    code = "unreachable"
    title = "Not reachable"


class AnswerError(SightlineError):
    """The answer is none of this service, or of a version that this client cannot read."""

    status = HTTPStatus.BAD_GATEWAY
    code = "answer"
    title = "Not understood"


_BY_CODE = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, SightlineError) and kind is not SightlineError
}
_BY_STATUS = {int(kind.status): kind for kind in reversed(_BY_CODE.values())} | {
    HTTPStatus.INTERNAL_SERVER_ERROR: InternalError,
    HTTPStatus.BAD_GATEWAY: UnavailableError,
    HTTPStatus.SERVICE_UNAVAILABLE: UnavailableError,
    HTTPStatus.NOT_FOUND: UnavailableError,
}
"""For answers without a code of ours. What is not there we say with one: a bare 404 is a proxy that knows no route yet,
for seconds after it was started anew."""


def refusal(status: int, body: bytes, *, retry_after: str | None = None) -> SightlineError:
    """The error that an answer with that status means; `retry_after` is the header. Any body will do."""
    problem = _problem(body)
    kind = _BY_CODE.get(str(problem.get("code"))) or _BY_STATUS.get(status)
    detail = str(problem.get("detail") or f"the server answered {status}")
    if kind is None:
        return AnswerError(detail)
    error = kind(detail)
    if isinstance(error, OverloadedError | UnavailableError) and (wait_s := _seconds(retry_after)) is not None:
        error.retry_after_s = wait_s
    return error


def named(code: str, detail: str) -> SightlineError | None:
    """The error of that code; None when there is none."""
    kind = _BY_CODE.get(code)
    return None if kind is None else kind(detail)


def _problem(body: bytes) -> dict[str, Any]:
    try:
        problem = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return problem if isinstance(problem, dict) else {}


def _seconds(text: str | None) -> float | None:
    """None for what is no number of seconds; a date, which ours never send, is one of those."""
    try:
        wait_s = float(text or "")
    except ValueError:
        return None
    return wait_s if math.isfinite(wait_s) and wait_s >= 0 else None
