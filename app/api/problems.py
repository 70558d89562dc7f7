"""Errors as RFC 9457 problem+json: words for the caller, nothing of the inside."""

import json
import logging
import math
from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app.core import metrics as table
from app.core.errors import InternalError, InvalidParameterError, SightlineError
from app.core.metrics import SILENT, Metrics

LOG = logging.getLogger("sightline")
PROBLEM_JSON = "application/problem+json"
CLIENT_CLOSED_REQUEST = 499
"""For the log alone: nobody is there to read it. Source: nginx."""


def request_id(request: Request) -> str:
    """The id that this request is known by: the caller's own, or ours."""
    return str(request.state.request_id)


def problem(request: Request, error: SightlineError) -> Response:
    """The answer for `error`, with Retry-After where it says when to come again."""
    headers = {}
    if (wait_s := getattr(error, "retry_after_s", None)) is not None:
        headers["Retry-After"] = str(math.ceil(wait_s))
    return _answer(request, error.status, code=error.code, title=error.title, detail=error.detail, headers=headers)


def not_ready(request: Request, error: SightlineError) -> Response:
    """503 whatever the cause: readiness has one question."""
    return _answer(request, HTTPStatus.SERVICE_UNAVAILABLE, code=error.code, title="Not ready", detail=error.detail)


def _answer(
    request: Request, status: int, *, code: str, title: str, detail: str, headers: dict[str, str] | None = None
) -> Response:
    body = {
        "type": f"urn:sightline:error:{code}",
        "title": title,
        "status": int(status),
        "detail": detail,
        "code": code,
        "request_id": request_id(request),
    }
    metrics: Metrics = request.app.state.metrics
    metrics.count(table.INGRESS_PROBLEMS, (code,))
    # Set here too: the answer to an unforeseen error is sent from outside our middleware.
    kept = {**(headers or {}), **request.state.returned_headers}
    return Response(json.dumps(body), status_code=int(status), media_type=PROBLEM_JSON, headers=kept)


def install(app: FastAPI, *, metrics: Metrics = SILENT) -> None:
    """Answer every error of `app` as a problem, and count them."""
    app.state.metrics = metrics

    async def sightline_error(request: Request, error: Exception) -> Response:
        if not isinstance(error, SightlineError):
            raise error
        return problem(request, error)

    async def validation_error(request: Request, error: Exception) -> Response:
        if not isinstance(error, RequestValidationError):
            raise error
        words = "; ".join(f"{'.'.join(map(str, e['loc'][1:]))}: {e['msg']}" for e in error.errors())
        return problem(request, InvalidParameterError(words))

    async def http_error(request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        phrase = HTTPStatus(error.status_code).phrase
        code = phrase.lower().replace(" ", "_")
        return _answer(
            request, error.status_code, code=code, title=phrase, detail=phrase, headers=dict(error.headers or {})
        )

    async def client_left(_request: Request, _error: Exception) -> Response:
        return Response(status_code=CLIENT_CLOSED_REQUEST)

    async def unforeseen(request: Request, error: Exception) -> Response:
        LOG.error("request %s failed", request_id(request), exc_info=error)
        return problem(request, InternalError())

    app.add_exception_handler(SightlineError, sightline_error)
    app.add_exception_handler(RequestValidationError, validation_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(ClientDisconnect, client_left)
    app.add_exception_handler(Exception, unforeseen)
