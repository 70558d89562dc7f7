"""The port to the rules for URLs that others name: deliveries do not know where these are written."""

from collections.abc import Sequence
from typing import Protocol


class Guard(Protocol):
    """Which URLs may be posted to, and which addresses spoken to."""

    def check(self, url: str) -> None:
        """Raise InvalidParameterError for a URL that is not allowed, without touching the network."""

    def addresses(self, host: str, port: int) -> Sequence[str]:
        """All addresses of a host, the best first; blocking. OSError when there are none.

        InvalidParameterError unless every one of them may be spoken to.
        """
