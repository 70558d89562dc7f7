"""HTTP calls to a service: bounded in time and tries, their refusals as typed errors."""

import asyncio
import json
import random
from collections.abc import Mapping
from typing import Any, Final

import httpx

from app.client.errors import AnswerError, UnreachableError, refusal
from app.core.errors import InvalidParameterError, OverloadedError, UnavailableError
from app.policy.reconnect import POLICIES, Backoff, delay_s

TRIES: Final = 4
LONGEST_WAIT_S: Final = 10.0
"""No answer's Retry-After keeps a caller waiting longer."""


class HttpCalls:
    """The calls of one client, over connections that are kept.

    A call is tried up to four times where that is safe and may help: when nobody listens, when the service says
    "later", and, of calls that may come twice (`is_repeatable`), when the connection broke in between. One that has no
    answer in time is not.
    """

    def __init__(self, url: str, *, headers: Mapping[str, str], timeout_s: float) -> None:
        self._http = httpx.AsyncClient(base_url=_address(url), headers=dict(headers), timeout=timeout_s)
        self._url = url

    async def close(self) -> None:
        """Let go of every connection."""
        await self._http.aclose()

    async def json(
        self,
        method: str,
        path: str,
        *,
        given: object = None,
        body: bytes | None = None,
        query: Mapping[str, Any] | None = None,
        is_repeatable: bool = True,
    ) -> Any:
        """The answer's JSON; `given` is sent as JSON, `body` as it is.

        Raises the service's error, UnreachableError without an answer, AnswerError for one that is no JSON.
        """
        content = body if given is None else json.dumps(given).encode()
        kind = "application/octet-stream" if given is None else "application/json"
        headers = {} if content is None else {"content-type": kind}
        for attempt in range(TRIES):
            try:
                answer = await self._http.request(method, path, content=content, params=query, headers=headers)
            except httpx.HTTPError as error:
                is_broken = is_repeatable and not isinstance(error, httpx.TimeoutException)
                if not (is_broken or isinstance(error, httpx.ConnectError)) or attempt + 1 == TRIES:
                    raise UnreachableError(f"{self._url}: {_words(error)}") from error
                wait_s = 0.0
            else:
                if answer.is_success:
                    return _content(answer)
                failure = refusal(answer.status_code, answer.content, retry_after=answer.headers.get("retry-after"))
                if not isinstance(failure, OverloadedError | UnavailableError) or attempt + 1 == TRIES:
                    raise failure
                wait_s = min(failure.retry_after_s, LONGEST_WAIT_S)
            jitter = random.random()  # noqa: S311  spreads callers in time
            policy = POLICIES[Backoff.EXPONENTIAL]
            await asyncio.sleep(max(wait_s, delay_s(policy, attempt, jitter=jitter, announced_s=None)))
        raise AssertionError  # the last try returns or raises


def _address(url: str) -> httpx.URL:
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL:
        address = httpx.URL()
    if address.scheme not in {"http", "https"} or not address.host:
        raise InvalidParameterError(f"{url}: the address of a service begins with http:// or https:// and a host")
    return address


def _content(answer: httpx.Response) -> Any:
    try:
        return json.loads(answer.content)
    except (ValueError, RecursionError):
        raise AnswerError(f"{answer.request.url} answered something else than JSON") from None


def _words(error: httpx.HTTPError) -> str:
    return str(error) or type(error).__name__
