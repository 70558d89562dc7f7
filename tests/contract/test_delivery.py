"""What every carrier owes: nothing is lost, repetitions carry the same id, and a stream's events keep their order."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from app.core.wire import WireEvent
from app.delivery.carrier import Carrier, Parcel, Receipt
from app.delivery.outbox_rows import DeadReason
from tests.contract.delivery_places import MAX_EVENT_BYTES, PLACES, Place, shortcomings
from tests.servers.mosquitto import NoMosquittoError, install

CUTS = 100
STREAMS, EVENTS, EVENT_BYTES = 6, 1500, 600


def event(stream_id: str, seq: int, *, size: int = EVENT_BYTES) -> WireEvent:
    """An event whose body is as long as `size` says."""
    event_id = f"{stream_id}:0:{seq}"
    body = json.dumps({"event_id": event_id, "filler": ""}).encode()
    body = body[:-2] + b"x" * (size - len(body)) + body[-2:]
    return WireEvent(event_id=event_id, kind="frame_result", seq=seq, body=body)


@pytest.fixture(params=PLACES)
def at_place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Any]:
    """Runs a scenario at each kind of destination."""
    if request.param == "mqtt":
        try:
            install()
        except NoMosquittoError as error:
            pytest.skip(str(error))

    def run(scenario: Callable[[Place], Awaitable[Any]]) -> Any:
        async def inside() -> Any:
            async with PLACES[request.param](tmp_path) as place:
                return await scenario(place)

        return asyncio.run(inside())

    return run


def test_events_arrive_unchanged_once_and_in_the_order_of_their_stream(at_place: Callable[..., Any]) -> None:
    async def scenario(place: Place) -> None:
        deliveries = place.deliveries()
        await deliveries.start()
        sent = [event(f"s{number % 3}", number // 3) for number in range(300)]
        for told in sent:
            await deliveries.put(told.event_id.split(":")[0], [place.sink], [told])
        await deliveries.settle()
        arrived = await place.arrived()
        stats = (await deliveries.stats())[place.sink]
        await deliveries.close(1.0)
        assert shortcomings(sent, arrived) == []
        assert len(arrived) == 300
        assert (stats.delivered, stats.waiting, stats.dead, stats.oldest_age_s) == (300, 0, {}, None)
        assert list((place.parameters.folder or Path()).iterdir()) == []

    at_place(scenario)


async def through_cuts(place: Place, wrap: Callable[[Carrier], Carrier], *, cuts: int) -> list[str]:
    """What is wrong after a flow of events during which so many connections were broken off at random places."""
    deliveries = place.deliveries(wrap)
    await deliveries.start()
    place.proxy.cuts_left = cuts
    numbers = random.Random(1)
    sent: list[WireEvent] = []
    seqs: Counter[str] = Counter()
    while place.proxy.cuts_left or len(sent) < EVENTS:
        stream_id = f"s{numbers.randrange(STREAMS)}"
        told = []
        for _ in range(numbers.randint(1, 10)):
            told.append(event(stream_id, seqs[stream_id]))
            seqs[stream_id] += 1
        await deliveries.put(stream_id, [place.sink], told)
        sent += told
        if len(sent) > EVENTS:
            await deliveries.settle()  # the cuts are not used up yet: go on when all of this has arrived
    await deliveries.settle()
    arrived = await place.arrived()
    await deliveries.close(1.0)
    assert place.proxy.cuts == cuts
    return shortcomings(sent, arrived)


def test_a_hundred_random_disconnects_lose_nothing(at_place: Callable[..., Any]) -> None:
    assert at_place(lambda place: through_cuts(place, lambda carrier: carrier, cuts=CUTS)) == []


class Hasty:
    """A carrier with the fault that matters most: it takes for delivered what it has sent, whatever came of it."""

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier

    async def deliver(self, parcel: Parcel) -> Receipt:
        await self._carrier.deliver(parcel)
        return Receipt(taken=len(parcel.events))

    async def close(self) -> None:
        await self._carrier.close()


@pytest.mark.parametrize("at_place", ["webhook", "mqtt"], indirect=True)
def test_the_check_sees_a_carrier_that_acknowledges_too_soon(at_place: Callable[..., Any]) -> None:
    wrong = at_place(lambda place: through_cuts(place, Hasty, cuts=10))
    assert any(words.startswith("lost") for words in wrong)


def test_the_check_sees_loss_change_and_disorder() -> None:
    sent = [event("s", seq) for seq in range(3)]
    good = [(told.event_id, told.body) for told in sent]
    assert shortcomings(sent, good + good) == []
    assert shortcomings(sent, good[:2]) == ["lost s:0:2"]
    assert shortcomings(sent, [*good, ("s:0:1", b"{}")]) == ["changed s:0:1"]
    assert shortcomings(sent, [good[0], good[2], good[1]]) == ["out of order s"]


def test_what_cannot_be_delivered_yet_waits_and_is_delivered_later(at_place: Callable[..., Any]) -> None:
    async def scenario(place: Place) -> None:
        place.proxy.is_closed = True
        deliveries = place.deliveries()
        await deliveries.start()
        sent = [event("s", seq) for seq in range(100)]
        await deliveries.put("s", [place.sink], sent)
        await deliveries.put("s", [place.sink], sent)
        stats = (await deliveries.stats())[place.sink]
        assert (stats.waiting, stats.delivered) == (100, 0)
        assert stats.oldest_age_s is not None
        place.proxy.is_closed = False
        await deliveries.settle()
        assert shortcomings(sent, await place.arrived()) == []
        await deliveries.close(1.0)

    at_place(scenario)


def test_an_event_that_is_too_large_becomes_a_dead_letter_and_holds_up_nothing(at_place: Callable[..., Any]) -> None:
    async def scenario(place: Place) -> None:
        deliveries = place.deliveries()
        await deliveries.start()
        sent = [event("s", seq) for seq in range(30)]
        sent[11] = event("s", 11, size=MAX_EVENT_BYTES + 1)
        await deliveries.put("s", [place.sink], sent)
        await deliveries.settle()
        arrived = await place.arrived()
        stats = (await deliveries.stats())[place.sink]
        [dead] = await deliveries.dead_letters()
        await deliveries.close(1.0)
        assert shortcomings([told for told in sent if told is not sent[11]], arrived) == []
        assert stats.dead == {DeadReason.TOO_LARGE: 1}
        assert dead.event == sent[11]
        assert dead.reason == DeadReason.TOO_LARGE

    at_place(scenario)


def test_deliveries_that_end_while_the_other_side_is_down_are_gone_on_with(at_place: Callable[..., Any]) -> None:
    async def scenario(place: Place) -> None:
        place.proxy.is_closed = True
        deliveries = place.deliveries()
        await deliveries.start()
        sent = [event("s", seq) for seq in range(100)]
        await deliveries.put("s", [place.sink], sent)
        await deliveries.close(0.05)
        place.proxy.is_closed = False
        later = place.deliveries()
        await later.start()
        await later.put("s", [place.sink], [event("s", 100)])
        while (await later.stats())[place.sink].delivered < 101:
            await later.settle()
        assert {event_id for event_id, _ in await place.arrived()} == {f"s:0:{seq}" for seq in range(101)}
        await later.close(1.0)
        assert list((place.parameters.folder or Path()).iterdir()) == []

    at_place(scenario)
