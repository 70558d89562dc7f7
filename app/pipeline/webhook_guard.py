"""The rules for URLs to fetch, for URLs to post to."""

import socket
from collections.abc import Sequence

from app.core.errors import InvalidParameterError
from app.delivery.parameters import WebhookParameters
from app.media.fetch_guard import FetchParameters, checked, target_of


class WebhookGuard:
    """A `Guard` of deliveries: the same lists and the same addresses as for pictures, with lists of its own."""

    def __init__(self, parameters: WebhookParameters) -> None:
        self._fetch = FetchParameters(allowed_hosts=parameters.allowed_hosts, allow_private=parameters.allow_private)

    def check(self, url: str) -> None:
        """Raise InvalidParameterError for a URL that is not allowed, without touching the network."""
        if not self._fetch.allowed_hosts:
            raise InvalidParameterError("url: this service posts to no host")
        target_of(url, self._fetch)

    def addresses(self, host: str, port: int) -> Sequence[str]:
        """All addresses of a host, the best first; blocking. OSError when there are none.

        InvalidParameterError unless every one of them may be spoken to.
        """
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return [str(address) for address in checked([str(entry[4][0]) for entry in found], self._fetch)]
