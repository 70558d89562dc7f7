"""The port to planted faults: whoever holds the engines takes them in, the API and the command line ask for them."""

from dataclasses import dataclass
from typing import Final, Protocol

from app.policy.fault_plan import Fault

DEFAULT_EXPIRES_S: Final = 30.0
MAX_EXPIRES_S: Final = 3600.0
"""No planted fault outlives an hour: who planted it may be gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantedFault:
    """A fault that is planted; `expires_in_s` seconds from the answer on it removes itself."""

    fault_id: str
    fault: Fault
    expires_in_s: float


class Faults(Protocol):
    """Faults of one service, wherever its engines run."""

    async def inject(self, fault: Fault, *, expires_s: float) -> PlantedFault:
        """Plant the fault for `expires_s` seconds; OverloadedError when too many are planted."""

    async def remove(self, fault_id: str) -> PlantedFault:
        """Take it back, as it was; NotFoundError when none has that id any more."""

    async def planted(self) -> list[PlantedFault]:
        """Those that are planted now, oldest first."""
