"""What a request says about the version that is to answer it."""

from collections.abc import Mapping
from random import random
from typing import Final

from fastapi import Request

from app.policy.accept import wishes_of
from app.policy.route_table import Ask

USER: Final = "x-user-id"
"""Names a user, who stays on one side of a split; it is hashed under the service's key and kept nowhere."""
REGION: Final = "x-region"
"""Set by the edge, from the caller's address."""


def ask_of(request: Request) -> Ask:
    """The request as the route table sees it: `Accept`, headers, user and region, and a draw of its own."""
    return ask_with(request.headers)


def ask_with(headers: Mapping[str, str]) -> Ask:
    """The same of headers, their names in lower case, over whatever protocol they came."""
    return Ask(
        headers=headers,
        user=headers.get(USER),
        region=headers.get(REGION),
        wanted=wishes_of(headers.get("accept", "")),
        draw=random(),  # noqa: S311  a share of the traffic, no secret
    )
