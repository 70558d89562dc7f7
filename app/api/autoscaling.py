"""`/v1/autoscaling`: what decides how many replicas there are, and why it decided so."""

from fastapi import APIRouter
from starlette.responses import JSONResponse

from app.pipeline.scaling import Scaling


def router(scaling: Scaling) -> APIRouter:
    """The route over the port."""
    routes = APIRouter()

    @routes.get("/v1/autoscaling/explain", summary="The last scaling decision, and why")
    async def explained() -> JSONResponse:
        """Each signal, weight and term, the guards, the verdict, and what would change it.

        `enabled` is false where the number of replicas is fixed.
        """
        return JSONResponse(await scaling.explain(), headers={"Cache-Control": "no-store"})

    return routes
