"""Request bodies: bounded while they are read, counted against one budget, and given up when the client goes."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from app.core.errors import InvalidRequestError, OverloadedError, TooLargeError

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyLimits:
    """`max_image_bytes` for one image body, `max_parts` images in one multipart of at most `max_multipart_bytes`.

    `budget_bytes` bounds what all bodies of one ingress replica hold in memory together.
    """

    max_image_bytes: int = 32 * 1024**2
    max_parts: int = 64
    max_multipart_bytes: int = 128 * 1024**2
    budget_bytes: int = 512 * 1024**2


@dataclass(slots=True)
class BodyBudget:
    """Bytes of request bodies that are in memory now; `total` of them at the most."""

    total: int
    held: int = field(default=0, init=False)

    @contextmanager
    def lease(self) -> Iterator["Lease"]:
        """A lease that grows with the body and is given back at the end, however that comes."""
        lease = Lease(self)
        try:
            yield lease
        finally:
            lease.release()


@dataclass(slots=True)
class Lease:
    """One body's part of the budget."""

    budget: BodyBudget
    held: int = field(default=0, init=False)

    def grow(self, size: int) -> None:
        """Take `size` bytes more; OverloadedError when all bodies together would hold too much."""
        if self.budget.held + size > self.budget.total:
            raise OverloadedError("the bodies being received fill their memory")
        self.budget.held += size
        self.held += size

    def hand_over(self) -> "Lease":
        """The same bytes as a lease that outlives this one."""
        heir = Lease(self.budget)
        heir.held, self.held = self.held, 0
        return heir

    def release(self) -> None:
        """Give everything back."""
        self.budget.held -= self.held
        self.held = 0


class LeasedStream(StreamingResponse):
    """A streamed answer that holds its request's lease until it has been sent, or the client has gone."""

    def __init__(self, lines: AsyncIterator[bytes], *, media_type: str, lease: Lease) -> None:
        super().__init__(lines, media_type=media_type)
        self._lease = lease

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the lines, then give the lease back."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._lease.release()


async def chunks_of(request: Request, lease: Lease, *, max_bytes: int) -> AsyncGenerator[bytes, None]:
    """The body piece by piece; TooLargeError as soon as it is known to pass `max_bytes`."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > max_bytes:
        raise TooLargeError(f"the body has {declared} bytes; at most {max_bytes} are taken")
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > max_bytes:
            raise TooLargeError(f"the body has more than {max_bytes} bytes")
        lease.grow(len(chunk))
        yield chunk


async def read_body(request: Request, lease: Lease, *, max_bytes: int) -> bytes:
    """The whole body; copied once if it came in several pieces, else not at all."""
    pieces = [chunk async for chunk in chunks_of(request, lease, max_bytes=max_bytes) if chunk]
    if not pieces:
        raise InvalidRequestError("the body is empty")
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def unless_disconnected(request: Request, work: Awaitable[T]) -> T:
    """The result of `work`, which is cancelled when the client goes away first. The body must have been read."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return await task
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
