"""Who uses the service, and how much of it."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """One party that the service tells apart from others: it sees its own streams only.

    `frames_per_s` are images and frames at each ingress replica, over it by `burst_frames` at once; `max_streams` may
    be open. None is without a limit of its own. An `is_operator` tenant may change models and plant faults.
    """

    name: str
    frames_per_s: float | None = None
    burst_frames: int = 60
    max_streams: int | None = None
    is_operator: bool = False


EVERYBODY: Final = Tenant(name="", is_operator=True)
"""The one tenant of a service that tells nobody apart."""
