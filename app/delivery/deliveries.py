"""Events on their way to the sinks of their streams: first to disk, then to each destination until it has them."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from app.core.errors import InvalidParameterError, UnavailableError
from app.core.wire import WireEvent
from app.delivery.carrier import Carrier
from app.delivery.outbox import Outbox, OutboxLimits
from app.delivery.outbox_rows import DeadLetter, DeadReason, Lane
from app.delivery.parameters import DeliveryParameters
from app.delivery.route import Route, RouteLimits
from app.delivery.sinks import Sink, sink_of, text_of

LOG = logging.getLogger("sightline")
_BURIED_AT_ONCE: Final = 500

Destination: TypeAlias = tuple[str, ...]
"""What has one connection, and is up or down as a whole: a URL with its key, a broker, a cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkStats:
    """One sink since the process began: events that wait, that arrived, and that were given up by reason.

    `oldest_age_s` is how long the oldest event waits, None when none does.
    """

    waiting: int
    delivered: int
    dead: dict[str, int]
    oldest_age_s: float | None


class Deliveries:
    """Delivers at least once, each stream's events to each sink in their order; `event_id` tells repetitions apart.

    `open_carrier` opens the way to a sink's destination, and raises InvalidParameterError for one that the settings do
    not have. `clock` is UTC in seconds; `sleep` and `jitter` are for tests. All calls happen on one event loop.
    """

    def __init__(
        self,
        parameters: DeliveryParameters,
        *,
        open_carrier: Callable[[Sink], Carrier],
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._parameters = parameters
        self._open_carrier = open_carrier
        self._clock = clock
        self._sleep = sleep
        self._jitter = jitter
        self._outbox: Outbox | None = None
        self._routes: dict[Destination, Route] = {}
        self._was_idle: set[Destination] = set()
        self._tending: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open the outbox, and go on with what processes before this one have left; does nothing without a folder."""
        if self._parameters.folder is None:
            return
        limits = OutboxLimits(max_bytes=self._parameters.max_bytes, max_dead_bytes=self._parameters.max_dead_bytes)
        self._outbox = await asyncio.to_thread(Outbox, self._parameters.folder, limits=limits, clock=self._clock)
        self._tending = asyncio.create_task(self._tend(self._outbox))

    async def put(self, stream_id: str, sinks: Sequence[Sink], events: Sequence[WireEvent]) -> None:
        """Return once the events are on disk for every sink. Putting an event that still waits again changes nothing.

        UnavailableError when they are not on disk: then none of them is.
        """
        if not (sinks and events):
            return
        outbox = self._opened()
        lanes = [Lane(stream_id=stream_id, sink=text_of(sink)) for sink in dict.fromkeys(sinks)]
        await outbox.append(stream_id, [lane.sink for lane in lanes], events)
        for lane in lanes:
            if self._outbox is not None:  # else the next process delivers them
                await self._wake(outbox, lane)

    async def stats(self) -> dict[Sink, SinkStats]:
        """Every sink that something waits for, or went to lately."""
        if self._outbox is None:
            return {}
        oldest_s = await self._outbox.oldest_s()
        now_s = self._clock()
        totals = self._outbox.totals
        return {
            sink_of(sink): SinkStats(
                waiting=totals.get(("waiting", sink), 0),
                delivered=totals.get(("delivered", sink), 0),
                dead={reason: count for reason in DeadReason if (count := totals.get((reason, sink), 0))},
                oldest_age_s=now_s - oldest_s[sink] if sink in oldest_s else None,
            )
            for sink in sorted({sink for _, sink in totals})
            if _is_sink(sink)
        }

    async def dead_letters(self, *, after: int = 0, limit: int = 100) -> list[DeadLetter]:
        """What was given up, oldest first, from behind that position on."""
        return await self._opened().dead_letters(after=after, limit=limit)

    async def settle(self) -> None:
        """Wait until nothing waits any more."""
        while busy := [route for route in self._routes.values() if not route.is_idle]:
            await asyncio.gather(*(route.settle() for route in busy))

    async def close(self, timeout_s: float) -> None:
        """Deliver what can be delivered in that time; the rest stays on disk for the next process."""
        outbox, self._outbox = self._outbox, None
        if outbox is None:
            return
        if self._tending is not None:
            self._tending.cancel()
            await asyncio.gather(self._tending, return_exceptions=True)
        try:
            async with asyncio.timeout(timeout_s):
                await self.settle()
        except TimeoutError:
            LOG.info("deliveries are left for the next process")
        for route in self._routes.values():
            await route.close()
        self._routes.clear()
        await outbox.close()

    def _opened(self) -> Outbox:
        if self._outbox is None:
            raise UnavailableError("deliveries are not running")
        return self._outbox

    async def _wake(self, outbox: Outbox, lane: Lane) -> None:
        """Let the lane's route deliver it; a lane to which no route leads any more is given up."""
        try:
            sink = sink_of(lane.sink)
            route = self._route(outbox, sink)
        except (ValueError, InvalidParameterError):
            LOG.warning("events were given up: the settings do not have their destination")
            while rows := await outbox.head(lane, max_events=_BURIED_AT_ONCE, max_bytes=self._parameters.max_bytes):
                await outbox.bury(lane, rows, reason=DeadReason.NOT_CONFIGURED)
            return
        route.wake(lane, address=sink.url if sink.kind == "webhook" else sink.topic)

    def _route(self, outbox: Outbox, sink: Sink) -> Route:
        destination = destination_of(sink)
        if (route := self._routes.get(destination)) is None:
            carrier = self._open_carrier(sink)
            route = self._routes[destination] = Route(
                carrier,
                outbox,
                limits=RouteLimits(
                    parcel_events=self._parameters.parcel_events,
                    parcel_bytes=self._parameters.parcel_bytes,
                    in_flight=self._parameters.in_flight,
                ),
                policy=self._parameters.retry,
                sleep=self._sleep,
                jitter=self._jitter,
            )
        self._was_idle.discard(destination)
        return route

    async def _tend(self, outbox: Outbox) -> None:
        """Take over what others left, close what is quiet, forget what is empty; again and again."""
        while True:
            try:
                for lane in await outbox.adopt():
                    await self._wake(outbox, lane)
                await outbox.sweep()
            except Exception as error:  # noqa: BLE001 - the next round may be luckier, and must come
                LOG.warning("the outbox could not be tended: %s", type(error).__name__)
            await self._close_quiet()
            await self._sleep(self._parameters.tend_s)

    async def _close_quiet(self) -> None:
        """Close the routes on which nothing was on its way at two looks in a row."""
        idle = {destination for destination, route in self._routes.items() if route.is_idle}
        for destination in idle & self._was_idle:
            await self._routes.pop(destination).close()
        self._was_idle = idle


def _is_sink(text: str) -> bool:
    try:
        sink_of(text)
    except ValueError:
        return False
    return True


def destination_of(sink: Sink) -> Destination:
    """Where the sink's events go."""
    if sink.kind == "webhook":
        return (sink.kind, sink.url, sink.key)
    return (sink.kind, sink.broker if sink.kind == "mqtt" else sink.cluster)
