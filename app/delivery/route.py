"""The way to one destination: lanes deliver side by side, each in its order, and wait while the other side is down."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from app.core.errors import SightlineError
from app.delivery.carrier import Carrier, Parcel, Receipt, Refused, Unreachable
from app.delivery.outbox import Outbox
from app.delivery.outbox_rows import Lane, Waiting
from app.delivery.retry import RetryPolicy, delay_s

LOG = logging.getLogger("sightline")


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteLimits:
    """The most that one parcel holds, and how many parcels are on their way at once."""

    parcel_events: int
    parcel_bytes: int
    in_flight: int


@dataclass(slots=True)
class _Run:
    """One lane while it has events. `has_more` says that some came since it last looked."""

    task: asyncio.Task[None] | None = None
    has_more: bool = False


class Route:
    """Delivers the lanes of one destination from the outbox; `jitter` gives random numbers in [0, 1).

    A lane whose event is refused waits aside. One that found the destination down waits in its place among the few that
    may deliver, and then lets the next lane try: so few knock at a closed door, and where only some streams are
    answered badly, the others get through.
    """

    def __init__(
        self,
        carrier: Carrier,
        outbox: Outbox,
        *,
        limits: RouteLimits,
        policy: RetryPolicy,
        sleep: Callable[[float], Awaitable[None]],
        jitter: Callable[[], float],
    ) -> None:
        self._carrier = carrier
        self._outbox = outbox
        self._limits = limits
        self._policy = policy
        self._sleep = sleep
        self._jitter = jitter
        self._slots = asyncio.Semaphore(limits.in_flight)
        self._runs: dict[Lane, _Run] = {}

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits here."""
        return not self._runs

    def wake(self, lane: Lane, *, address: str) -> None:
        """Deliver what is in the lane by now."""
        if (run := self._runs.get(lane)) is None:
            run = self._runs[lane] = _Run()
            run.task = asyncio.create_task(self._run(lane, run, address=address))
        run.has_more = True

    async def _run(self, lane: Lane, run: _Run, *, address: str) -> None:
        """Empty the lane."""
        parcels = _Parcels(self._limits.parcel_events)
        try:
            while run.has_more:
                run.has_more = False
                while await self._step(lane, parcels, address=address):
                    pass
        finally:
            del self._runs[lane]

    async def _step(self, lane: Lane, parcels: "_Parcels", *, address: str) -> bool:
        """Offer one parcel, and wait if that is what it takes; False when the lane is empty."""
        try:
            async with self._slots:
                rows = await self._outbox.head(lane, max_events=parcels.max_events, max_bytes=self._limits.parcel_bytes)
                if not rows:
                    return False
                receipt = await self._offered(lane, rows, address=address)
                await self._outbox.delivered(lane, rows[: receipt.taken])
                parcels.observe(receipt)
                if isinstance(receipt.failure, Unreachable):
                    await self._wait(parcels.failures, asked_s=receipt.failure.retry_after_s)
            if isinstance(receipt.failure, Refused) and parcels.is_refused_alone:
                await self._refused(lane, rows[receipt.taken], parcels, failure=receipt.failure)
        except SightlineError as error:  # the outbox; the same events come again
            LOG.warning("a delivery waits: %s", error.code)
            parcels.failures += 1
            await self._wait(parcels.failures)
        return True

    async def _offered(self, lane: Lane, rows: Sequence[Waiting], *, address: str) -> Receipt:
        parcel = Parcel(address=address, stream_id=lane.stream_id, events=tuple(row.event for row in rows))
        try:
            return await self._carrier.deliver(parcel)
        except Exception as error:  # noqa: BLE001 - a carrier's fault must not end the lane
            # Its words may hold anything, an event too; its type does not.
            LOG.error("a carrier failed with %s", type(error).__name__)  # noqa: TRY400
            return Receipt(taken=0, failure=Unreachable())

    async def _refused(self, lane: Lane, row: Waiting, parcels: "_Parcels", *, failure: Refused) -> None:
        if parcels.refusals < self._policy.attempts:
            await self._wait(parcels.refusals)
            return
        LOG.warning("an event was given up: %s", failure.reason)
        await self._outbox.bury(lane, [row], reason=failure.reason)
        parcels.refusals = 0

    async def _wait(self, failures: int, *, asked_s: float | None = None) -> None:
        await self._sleep(delay_s(self._policy, failures - 1, jitter=self._jitter(), asked_s=asked_s))

    async def settle(self) -> None:
        """Wait until nothing waits here any more."""
        while tasks := [run.task for run in self._runs.values() if run.task is not None]:
            await asyncio.wait(tasks)

    async def close(self) -> None:
        """Stop at once; what was on its way stays in the outbox."""
        tasks = [run.task for run in self._runs.values() if run.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._carrier.close()


class _Parcels:
    """How large a lane's next parcel may be, and what became of the last ones.

    After a refusal among several the next parcel is half as large, until the one event that is refused stands alone.
    """

    def __init__(self, max_events: int) -> None:
        self._largest = max_events
        self.max_events = max_events
        self.failures = 0
        self.refusals = 0
        self.is_refused_alone = False

    def observe(self, receipt: Receipt) -> None:
        """Take note of one parcel."""
        failure = receipt.failure
        if receipt.taken:
            self.failures = self.refusals = 0
            self.max_events = min(2 * self.max_events, self._largest)
        if isinstance(failure, Unreachable):
            self.failures += 1
        self.is_refused_alone = isinstance(failure, Refused) and failure.among == 1
        if isinstance(failure, Refused):
            self.max_events = max(1, failure.among // 2)
            self.refusals += self.is_refused_alone
