"""Tenants at one ingress: who a key belongs to, what is left of its quota, and its own view of the live streams."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from app.core.errors import InvalidParameterError, NotFoundError, QuotaError, UnauthenticatedError
from app.core.outcome import DropReason
from app.core.result import Summary
from app.core.tenant import EVERYBODY, Tenant
from app.core.wire import WireEvent
from app.pipeline.stream_host import EventBatch, Offer, Offered, Picture, StreamHost, StreamStatus
from app.pipeline.stream_spec import StreamSpec
from app.policy.quota import Bucket, QuotaParameters, owed, taken

_REMEMBERED: Final = 65_536
NO_SUCH_STREAM: Final = "there is no such stream"
"""The same words for a stream that is not there and for one of somebody else."""


class Quota:
    """What one tenant may still send here. `clock` gives monotonic seconds; one event loop."""

    def __init__(self, tenant: Tenant, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._parameters: QuotaParameters | None = None
        if tenant.frames_per_s is not None:
            self._parameters = QuotaParameters(frames_per_s=tenant.frames_per_s, burst_frames=tenant.burst_frames)
        self._clock = clock
        self._bucket = Bucket(float(tenant.burst_frames), clock())

    def wait_s(self, frames: int) -> float:
        """0 if `frames` more are within the quota, and then they are spent; else the seconds until they would be."""
        if self._parameters is None:
            return 0.0
        self._bucket, wait_s = taken(self._bucket, frames, now_s=self._clock(), parameters=self._parameters)
        return wait_s

    def pace_s(self, frames: int) -> float:
        """Spend `frames` in any case, and return for how many seconds to wait before the next: for what can wait."""
        if self._parameters is None:
            return 0.0
        self._bucket, wait_s = owed(self._bucket, frames, now_s=self._clock(), parameters=self._parameters)
        return wait_s

    def spend(self, frames: int = 1) -> None:
        """The same; QuotaError when they are not."""
        if (wait_s := self.wait_s(frames)) > 0:
            raise QuotaError(retry_after_s=wait_s)


class TenantStreams:
    """A StreamHost in which there are only the streams of one tenant, and frames over its quota are dropped as such."""

    def __init__(self, host: StreamHost, tenant: Tenant, quota: Quota) -> None:
        self._host = host
        self._tenant = tenant
        self._quota = quota
        self._opening = asyncio.Lock()
        self._own: dict[str, None] = {}  # a stream never changes hands; the oldest are forgotten first

    async def open(self, spec: StreamSpec) -> StreamStatus:
        """A new stream; QuotaError when as many are open as the tenant may have.

        Counted and opened one at a time here; two ingresses at the same moment may both open the last one.
        """
        most = self._tenant.max_streams
        async with self._opening:
            if most is not None and len(await self.all()) >= most:
                raise QuotaError(f"at most {most} streams may be open", retry_after_s=1.0)
            status = await self._host.open(replace(spec, tenant=self._tenant.name))
        self._remember(status.stream_id)
        return status

    async def show(self, stream_id: str) -> StreamStatus:
        """One stream."""
        status = await self._host.show(stream_id)
        if status.spec.tenant != self._tenant.name:
            raise NotFoundError(NO_SUCH_STREAM)
        self._remember(stream_id)
        return status

    async def all(self) -> list[StreamStatus]:
        """Every open stream, in the order of opening."""
        return [status for status in await self._host.all() if status.spec.tenant == self._tenant.name]

    async def patch(self, stream_id: str, spec: StreamSpec) -> StreamStatus:
        """Go on under another spec, of the same source."""
        await self._check(stream_id)
        return await self._host.patch(stream_id, replace(spec, tenant=self._tenant.name))

    async def close(self, stream_id: str) -> Summary:
        """Close a stream: what is still in it ends as `unavailable`, its readers get the summary."""
        await self._check(stream_id)
        return await self._host.close(stream_id)

    async def offer(self, stream_id: str, frames: Sequence[Offer], *, after_seq: int = -1) -> Offered:
        """Capture frames, in this order; those over the quota are captured and dropped."""
        await self._check(stream_id)
        kept = [frame if self._is_within(frame) else _over_quota(frame) for frame in frames]
        return await self._host.offer(stream_id, kept, after_seq=after_seq)

    async def push(self, stream_id: str, frame: Offer) -> WireEvent:
        """Capture one frame and wait for its end; QuotaError, and it is not captured, when it is over the quota."""
        await self._check(stream_id)
        self._quota.spend()
        return await self._host.push(stream_id, frame)

    async def position(self, stream_id: str, *, after_seq: int = -1, after_event: str | None = None) -> int:
        """Where to begin to read."""
        await self._check(stream_id)
        return await self._host.position(stream_id, after_seq=after_seq, after_event=after_event)

    async def events(self, stream_id: str, *, position: int, wait_s: float) -> EventBatch:
        """What was told since `position`."""
        await self._check(stream_id)
        return await self._host.events(stream_id, position=position, wait_s=wait_s)

    async def preview(self, stream_id: str, *, after_seq: int, wait_s: float) -> Picture | None:
        """The newest frame after `after_seq`, drawn."""
        await self._check(stream_id)
        return await self._host.preview(stream_id, after_seq=after_seq, wait_s=wait_s)

    def _is_within(self, frame: Offer) -> bool:
        return frame.dropped is not None or self._quota.wait_s(1) == 0

    async def _check(self, stream_id: str) -> None:
        if stream_id not in self._own:
            await self.show(stream_id)

    def _remember(self, stream_id: str) -> None:
        self._own[stream_id] = None
        if len(self._own) > _REMEMBERED:
            del self._own[next(iter(self._own))]


class Client:
    """A tenant at this ingress: its quota and its streams."""

    def __init__(self, tenant: Tenant, host: StreamHost, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.tenant = tenant
        self.quota = Quota(tenant, clock=clock)
        self.host: StreamHost = host if tenant is EVERYBODY else TenantStreams(host, tenant, self.quota)


class Tenants:
    """The clients by key. `tenants` maps the SHA-256 of each key, 64 hexadecimal digits, to its tenant.

    Keys of one tenant share its quota. Without `tenants` there is one client, who needs no key and may do everything.
    """

    def __init__(
        self, tenants: Mapping[str, Tenant], host: StreamHost, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        clients = {tenant.name: Client(tenant, host, clock=clock) for tenant in tenants.values()}
        self._of_key = {digest: clients[tenant.name] for digest, tenant in tenants.items()}
        self._everybody = None if tenants else Client(EVERYBODY, host, clock=clock)

    def client(self, authorization: str | None) -> Client:
        """Whose header this is, `Bearer KEY`; UnauthenticatedError when it is nobody's.

        Looked up by the key's digest: how long that takes says nothing about other keys.
        """
        if self._everybody is not None:
            return self._everybody
        scheme, _, key = (authorization or "").partition(" ")
        digest = hashlib.sha256(key.strip().encode(errors="replace")).hexdigest()
        found = self._of_key.get(digest)
        if found is None or scheme.lower() != "bearer":
            raise UnauthenticatedError
        return found


def tenants_of(entries: Sequence[tuple[str, Tenant]]) -> dict[str, Tenant]:
    """Tenants by the digests of their keys; InvalidParameterError where two entries contradict each other."""
    found: dict[str, Tenant] = {}
    by_name: dict[str, Tenant] = {}
    for digest, tenant in entries:
        if digest in found:
            raise InvalidParameterError(f"tenants: {tenant.name} has a key that another entry has too")
        if by_name.setdefault(tenant.name, tenant) != tenant:
            raise InvalidParameterError(f"tenants: {tenant.name} is described in two ways")
        found[digest] = tenant
    return found


def _over_quota(frame: Offer) -> Offer:
    return replace(frame, data=b"", dropped=DropReason.OVER_QUOTA)
