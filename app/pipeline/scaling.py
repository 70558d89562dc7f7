"""The port to whoever decides how many replicas there are."""

from typing import Any, Protocol


class Scaling(Protocol):
    """What a service tells of its autoscaling."""

    async def explain(self) -> dict[str, Any]:
        """The last decision as a document; `enabled` false, and why in `words`, where nobody decides."""


class FixedScaling:
    """One process, or a fixed number of replicas: nobody decides."""

    async def explain(self) -> dict[str, Any]:
        """Say so."""
        return {"enabled": False, "words": "this service is one process: there are no replicas to scale"}
