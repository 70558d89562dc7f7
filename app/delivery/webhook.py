"""Events as signed POSTs: one per parcel, `application/x-ndjson`, from the addresses that were checked alone."""

import asyncio
import hashlib
import math
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from email.utils import parsedate_to_datetime
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Final

import httpcore

from app import __version__
from app.core.errors import InvalidParameterError, SightlineError
from app.delivery.carrier import Parcel, Receipt, Refused, Unreachable
from app.delivery.guard import Guard
from app.delivery.outbox_rows import DeadReason
from app.delivery.parameters import secret_in
from app.delivery.signature import HEADER, sign

_WAIT_STATUSES: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_MAX_ANSWER_BYTES: Final = 64 * 1024
"""An answer is read this far, so that its connection can be used again; a longer one costs the connection."""
_QUIET_S: Final = 30.0

_SocketOption = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]


class WebhookCarrier:
    """POSTs to one URL, over few connections that stay open for a while.

    A redirect is a refusal: whoever moves a receiver says so in the stream's sinks, and no answer sends our events
    elsewhere. 2xx takes the whole parcel; 408, 425, 429 and 5xx take nothing for now; any other answer refuses it.
    """

    def __init__(
        self,
        url: str,
        *,
        key_files: Sequence[Path],
        guard: Guard,
        timeout_s: float,
        max_connections: int,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._url = url
        self._key_files = key_files
        self._timeout_s = timeout_s
        self._clock = clock
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls or _system_tls(),
            max_connections=max_connections,
            keepalive_expiry=_QUIET_S,
            network_backend=_Pinned(guard),
        )

    async def deliver(self, parcel: Parcel) -> Receipt:
        """POST the events as one body, a line each."""
        body = b"".join(event.body + b"\n" for event in parcel.events)
        refused = Refused(among=len(parcel.events))
        try:
            headers = self._headers(parcel, body)
            async with asyncio.timeout(self._timeout_s):
                status, retry_after = await self._posted(headers, body)
        except InvalidParameterError:  # the host's addresses may not be spoken to
            return Receipt(taken=0, failure=refused)
        except (SightlineError, OSError, httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException):
            return Receipt(taken=0, failure=Unreachable())
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            return Receipt(taken=len(parcel.events))
        if status in _WAIT_STATUSES or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return Receipt(taken=0, failure=Unreachable(retry_after_s=seconds_asked(retry_after, now_s=self._clock())))
        if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            refused = Refused(reason=DeadReason.TOO_LARGE, among=len(parcel.events))
        return Receipt(taken=0, failure=refused)

    def _headers(self, parcel: Parcel, body: bytes) -> dict[str, str]:
        keys = [secret_in(file) for file in self._key_files]
        ids = "\n".join(event.event_id for event in parcel.events)
        return {
            "User-Agent": f"sightline/{__version__}",
            "Content-Type": "application/x-ndjson",
            "Content-Length": str(len(body)),
            "Idempotency-Key": hashlib.sha256(ids.encode()).hexdigest(),
            HEADER: sign(body, keys=keys, now_s=self._clock()),
        }

    async def _posted(self, headers: dict[str, str], body: bytes) -> tuple[int, str]:
        """The answer's status and its Retry-After."""
        pairs = [(name.encode(), value.encode()) for name, value in (("Host", self._authority), *headers.items())]
        async with self._pool.stream("POST", self._url, headers=pairs, content=body) as response:
            received = 0
            async for piece in response.aiter_stream():
                received += len(piece)
                if received > _MAX_ANSWER_BYTES:
                    break
            wanted = [value for name, value in response.headers if name.lower() == b"retry-after"]
            return response.status, wanted[0].decode("latin-1") if wanted else ""

    @property
    def _authority(self) -> str:
        return self._url.split("//", 1)[1].split("/", 1)[0].split("?", 1)[0]

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.aclose()


@cache
def _system_tls() -> ssl.SSLContext:
    """Trusts whom the system trusts; one for all, because the authorities fill a megabyte."""
    return ssl.create_default_context()


class _Pinned(httpcore.AsyncNetworkBackend):
    """Connects to the addresses that the guard has checked, and resolves nothing again.

    TLS verifies the name in the URL all the same: the pool asks for it after the connection is there.
    """

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[_SocketOption] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = await asyncio.to_thread(self._guard.addresses, host, port)
        failure: Exception = httpcore.ConnectError("no address")
        for address in addresses:
            try:
                return await self._backend.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)


def seconds_asked(retry_after: str, *, now_s: float) -> float | None:
    """What a Retry-After header asks for; None when it is absent or malformed. Source: RFC 9110 10.2.3."""
    value = retry_after.strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        asked_s = parsedate_to_datetime(value).timestamp() - now_s
    except (ValueError, TypeError, OverflowError):
        return None
    return asked_s if math.isfinite(asked_s) else None
