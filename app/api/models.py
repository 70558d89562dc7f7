"""`/v1/models`: which versions there are, where they stand, and the one table that says which of them answer."""

import re
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from app.api.bodies import BodyBudget, read_body
from app.api.contract import JSON
from app.api.model_body import RoutesBody, VersionBody, shown, shown_version
from app.api.problems import problem
from app.core.errors import ConflictError, InvalidRequestError, NotFoundError
from app.pipeline.model_records import ModelStatus
from app.pipeline.models import Models
from app.policy.model_names import checked_model, checked_version

_MAX_BODY_BYTES: Final = 256 * 1024
_EPOCH: Final = re.compile(r'"([0-9]{1,18})"|([0-9]{1,18})')
_IF_MATCH: Final[dict[str, Any]] = {
    "name": "If-Match",
    "in": "header",
    "required": True,
    "description": "the route_epoch that the change was made from; 0 before the first table",
    "schema": {"type": "string", "example": '"7"'},
}


def router(models: Models, *, budget: BodyBudget) -> APIRouter:
    """The routes over the models; bodies are counted against `budget`."""
    routes = APIRouter()

    async def body_of(request: Request) -> bytes:
        with budget.lease() as lease:
            return await read_body(request, lease, max_bytes=_MAX_BODY_BYTES)

    async def status_of(model: str) -> ModelStatus:
        found = next((status for status in await models.describe() if status.model == model), None)
        if found is None:
            raise NotFoundError("there is no model by that name")
        return found

    @routes.get("/v1/models", summary="The models, their versions and routes")
    async def listed() -> list[dict[str, Any]]:
        """The default model first."""
        return [shown(status) for status in await models.describe()]

    @routes.get("/v1/models/{model}", summary="One model")
    async def one(model: str) -> Response:
        """`ETag` is the route epoch, for the `If-Match` of a change."""
        status = await status_of(model)
        return JSONResponse(shown(status), headers=_tagged(status))

    @routes.put(
        "/v1/models/{model}/versions/{version}",
        status_code=202,
        summary="Load a version beside those that answer",
        openapi_extra=_body(VersionBody),
    )
    async def put(request: Request, model: str, version: str) -> dict[str, Any]:
        """It is loaded and warmed off the serving path; `GET` shows how far it is. The same again changes nothing."""
        checked_model(model)
        checked_version(version)
        given = VersionBody.parse(await body_of(request))
        status = await models.put_version(model, version, sha256=given.sha256, uri=given.uri, is_warm=given.warm)
        return {"model": model, **shown_version(status)}

    @routes.put(
        "/v1/models/{model}/routes",
        summary="Change which versions answer, all at once",
        openapi_extra={"parameters": [_IF_MATCH], **_body(RoutesBody)},
    )
    async def routed(request: Request, model: str) -> Response:
        """All or nothing: 409 when somebody else was first (`ETag` is the epoch now), or a version is not ready."""
        checked_model(model)
        epoch = _epoch_of(request)
        given = RoutesBody.parse(await body_of(request))
        try:
            status = await models.put_routes(model, given.model_dump(), if_match=epoch)
        except ConflictError as error:
            refused = problem(request, error)
            for status in await models.describe():
                refused.headers.update(_tagged(status) if status.model == model else {})
            return refused
        return JSONResponse(shown(status), headers=_tagged(status))

    return routes


def _epoch_of(request: Request) -> int:
    """The epoch in If-Match, one strong tag or the bare number; InvalidRequestError without it.

    400 and not 428: the contract's list of statuses has no 428, and to a client both say that its request is wrong.
    """
    given = request.headers.get("if-match")
    if given is None:
        raise InvalidRequestError("if-match: send the route_epoch that the change was made from")
    # Source: RFC 9110, 13.1.1: weak tags never match here. `*` would write over whatever somebody else has just done.
    found = _EPOCH.fullmatch(given.strip())
    if found is None:
        raise InvalidRequestError('if-match: one route_epoch, such as "7"; no list, no weak tag, no *')
    return int(found[1] or found[2])


def _tagged(status: ModelStatus) -> dict[str, str]:
    return {"ETag": f'"{status.route_epoch}"', "Cache-Control": "no-store"}


def _body(kind: type[VersionBody | RoutesBody]) -> dict[str, Any]:
    schema = kind.model_json_schema()
    parts = schema.pop("$defs", {})
    return {"requestBody": {"required": True, "content": {JSON: {"schema": _inlined(schema, parts)}}}}


def _inlined(schema: Any, parts: dict[str, Any]) -> Any:
    """The schema without references: they would point into a document of its own, which OpenAPI has not."""
    if isinstance(schema, list):
        return [_inlined(item, parts) for item in schema]
    if not isinstance(schema, dict):
        return schema
    named = parts.get(str(schema.get("$ref", "")).rpartition("/")[2])
    return _inlined(named, parts) if named else {key: _inlined(value, parts) for key, value in schema.items()}
