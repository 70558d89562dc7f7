"""`/v1/admin/faults`: faults planted on purpose. Whoever does not want that does not include the router."""

import json
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError, with_config

from app.api.bodies import BodyBudget, read_body
from app.api.contract import JSON
from app.api.parameters import wrong
from app.core.errors import InvalidRequestError
from app.pipeline.faults import DEFAULT_EXPIRES_S, MAX_EXPIRES_S, Faults, PlantedFault
from app.policy.fault_plan import FAULTS, Fault

_MAX_BODY_BYTES = 4096
_STRICT = ConfigDict(extra="forbid")
for _fault in FAULTS:
    with_config(_STRICT)(_fault)


class FaultBody(BaseModel):
    """A fault by its `kind`, with its numbers, and how long it stays."""

    model_config = _STRICT

    fault: Annotated[Fault, Field(discriminator="kind")]
    expires_s: Annotated[float, Field(gt=0, le=MAX_EXPIRES_S, description="then it removes itself")] = DEFAULT_EXPIRES_S

    @classmethod
    def parse(cls, body: bytes) -> "FaultBody":
        """The body as JSON; InvalidRequestError when it is none, InvalidParameterError names what is wrong."""
        try:
            given = json.loads(body)
        except (ValueError, RecursionError):
            raise InvalidRequestError("the body is not JSON") from None
        try:
            return cls.model_validate_json(json.dumps(given))
        except ValidationError as error:
            raise wrong(error) from None


def shown(planted: PlantedFault) -> dict[str, Any]:
    """One planted fault."""
    return {
        "fault_id": planted.fault_id,
        "fault": asdict(planted.fault),
        "expires_in_s": round(planted.expires_in_s, 3),
    }


def router(faults: Faults, *, budget: BodyBudget) -> APIRouter:
    """The routes over the port. They have no lock of their own: the configuration decides whether they exist."""
    routes = APIRouter()
    schema = {"requestBody": {"required": True, "content": {JSON: {"schema": FaultBody.model_json_schema()}}}}

    @routes.post("/v1/admin/faults", status_code=201, summary="Plant a fault", openapi_extra=schema)
    async def injected(request: Request) -> dict[str, Any]:
        """It strikes the engines of this service until it expires or is removed."""
        with budget.lease() as lease:
            body = FaultBody.parse(await read_body(request, lease, max_bytes=_MAX_BODY_BYTES))
        return shown(await faults.inject(body.fault, expires_s=body.expires_s))

    @routes.get("/v1/admin/faults", summary="The planted faults")
    async def listed() -> list[dict[str, Any]]:
        return [shown(one) for one in await faults.planted()]

    @routes.delete("/v1/admin/faults/{fault_id}", summary="Take a planted fault back")
    async def removed(fault_id: str) -> dict[str, Any]:
        """What it broke stays broken until it is repaired: a context that is lost needs a new process."""
        return shown(await faults.remove(fault_id))

    return routes
