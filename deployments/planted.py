"""Faults that are planted in every replica of the detector at once."""

import secrets
from dataclasses import dataclass
from typing import Any

from ray.serve.handle import DeploymentHandle

from app.core.errors import NotFoundError, UnavailableError
from app.pipeline.faults import PlantedFault
from app.policy.fault_plan import Fault
from deployments.faults import peel


@dataclass(frozen=True, slots=True)
class ServeFaults:
    """The port to the faults of the engines behind `detector`; one id for all replicas."""

    detector: DeploymentHandle[Any]

    async def inject(self, fault: Fault, *, expires_s: float) -> PlantedFault:
        """Plant it in those replicas that are there now."""
        planted = await self._all("plant_fault", secrets.token_hex(8), fault, expires_s=expires_s)
        if not planted:
            raise UnavailableError
        found: PlantedFault = planted[0]
        return found

    async def remove(self, fault_id: str) -> PlantedFault:
        """Take it back; NotFoundError when none has that id any more."""
        removed = [one for one in await self._all("remove_fault", fault_id) if one is not None]
        if not removed:
            raise NotFoundError("no fault with that id is planted")
        found: PlantedFault = removed[0]
        return found

    async def planted(self) -> list[PlantedFault]:
        """Those that are planted now, oldest first."""
        by_id = {one.fault_id: one for planted in await self._all("planted_faults") for one in planted}
        return list(by_id.values())

    async def _all(self, method: str, *arguments: Any, **options: Any) -> list[Any]:
        try:
            return list(await self.detector.broadcast(method, *arguments, **options).results_async(timeout_s=5.0))
        except Exception as error:  # noqa: BLE001  every kind of failure of a remote call is peeled here
            raise peel(error) from None
