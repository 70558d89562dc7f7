import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from app.core.errors import InvalidParameterError, UnavailableError
from app.delivery.carrier import Carrier, Unreachable
from app.delivery.deliveries import Deliveries, SinkStats
from app.delivery.parameters import DeliveryParameters, KafkaCluster, WebhookParameters, secret_in
from app.delivery.sinks import Kafka, Mqtt, Sink, Webhook, text_of
from load_tests.outbox import VirtualTime
from tests.unit.delivery.parcels import OTHER_SINK, SINK, FakeCarrier, event, events, until

DOWN = Mqtt(broker="down", topic="events")


class Places:
    """Carriers by destination, opened as they are asked for."""

    def __init__(self) -> None:
        self.carriers: dict[str, FakeCarrier] = {}
        self.unknown: set[str] = set()

    def open(self, sink: Sink) -> Carrier:
        assert sink.kind == "mqtt"
        if sink.broker in self.unknown:
            raise InvalidParameterError("sinks: there is no MQTT broker of that name")
        carrier = self.carriers[sink.broker] = FakeCarrier()
        carrier.answers = lambda parcel: (0, Unreachable()) if sink.broker == "down" else (len(parcel.events), None)
        return carrier


def running(
    folder: Path | None,
    scenario: Callable[[Deliveries, Places, VirtualTime], Awaitable[None]],
    *,
    places: Places | None = None,
    **options: Any,
) -> None:
    async def run() -> None:
        virtual, there = VirtualTime(), places or Places()
        deliveries = Deliveries(
            DeliveryParameters(folder=folder, **options),
            open_carrier=there.open,
            clock=virtual,
            sleep=virtual.sleep,
            jitter=lambda: 0.0,
        )
        await deliveries.start()
        await scenario(deliveries, there, virtual)
        await deliveries.close(0.0)

    asyncio.run(run())


def test_a_sink_that_is_down_holds_up_no_other(tmp_path: Path) -> None:
    async def scenario(deliveries: Deliveries, _: Places, virtual: VirtualTime) -> None:
        await deliveries.put("s", [DOWN, SINK, OTHER_SINK], events("s", 0, 1))
        assert deliveries._outbox is not None
        totals = deliveries._outbox._file.totals
        await until(lambda: totals["delivered", text_of(SINK)] == totals["delivered", text_of(OTHER_SINK)] == 2)
        await virtual.advance(12.0)
        stats = await deliveries.stats()
        assert stats == {
            DOWN: SinkStats(waiting=2, delivered=0, dead={}, oldest_age_s=12.0),
            SINK: SinkStats(waiting=0, delivered=2, dead={}, oldest_age_s=None),
            OTHER_SINK: SinkStats(waiting=0, delivered=2, dead={}, oldest_age_s=None),
        }

    running(tmp_path, scenario)


def test_sinks_of_one_broker_share_its_carrier_and_each_webhook_has_its_own(tmp_path: Path) -> None:
    async def scenario(deliveries: Deliveries, places: Places, _: VirtualTime) -> None:
        await deliveries.put("s", [SINK, OTHER_SINK], events("s", 0))
        await deliveries.settle()
        assert list(places.carriers) == ["site"]
        assert {parcel.address for parcel in places.carriers["site"].parcels} == {"events", "others"}

    running(tmp_path, scenario)


def test_a_destination_that_is_quiet_for_a_while_is_let_go_and_opened_again(tmp_path: Path) -> None:
    async def scenario(deliveries: Deliveries, places: Places, virtual: VirtualTime) -> None:
        await deliveries.put("s", [SINK], events("s", 0))
        await deliveries.settle()
        first = places.carriers["site"]
        while not first.closed:
            await virtual.advance(10.0)
            await asyncio.sleep(0.001)
        await deliveries.put("s", [SINK], events("s", 1))
        await deliveries.settle()
        assert places.carriers["site"] is not first
        assert places.carriers["site"].taken == ["s:0:1"]

    running(tmp_path, scenario)


def test_the_next_process_delivers_what_the_last_one_could_not(tmp_path: Path) -> None:
    async def leaves(deliveries: Deliveries, _places: Places, _virtual: VirtualTime) -> None:
        await deliveries.put("s", [DOWN], events("s", 0, 1))

    async def delivers(deliveries: Deliveries, places: Places, virtual: VirtualTime) -> None:
        await until(lambda: "down" in places.carriers)
        places.carriers["down"].answers = lambda parcel: (len(parcel.events), None)
        settled = asyncio.create_task(deliveries.settle())
        while not settled.done():
            await virtual.advance(60.0)
            await asyncio.wait({settled}, timeout=0.005)
        assert places.carriers["down"].taken == ["s:0:0", "s:0:1"]

    running(tmp_path, leaves)
    running(tmp_path, delivers)


def test_what_a_process_leaves_for_a_destination_that_is_gone_from_the_settings_becomes_dead_letters(
    tmp_path: Path,
) -> None:
    async def leaves(deliveries: Deliveries, _places: Places, _virtual: VirtualTime) -> None:
        await deliveries.put("s", [DOWN], events("s", 0, 1))

    async def gives_up(deliveries: Deliveries, _places: Places, _virtual: VirtualTime) -> None:
        assert deliveries._outbox is not None
        totals = deliveries._outbox._file.totals
        await until(lambda: totals["not_configured", text_of(DOWN)] == 2)
        letters = await deliveries.dead_letters()
        assert [(letter.event.event_id, letter.reason) for letter in letters] == [
            ("s:0:0", "not_configured"),
            ("s:0:1", "not_configured"),
        ]
        assert (await deliveries.stats())[DOWN].dead == {"not_configured": 2}

    places = Places()
    places.unknown.add("down")
    running(tmp_path, leaves)
    running(tmp_path, gives_up, places=places)


def test_closing_delivers_what_can_be_delivered(tmp_path: Path) -> None:
    async def run() -> None:
        places = Places()
        deliveries = Deliveries(DeliveryParameters(folder=tmp_path), open_carrier=places.open)
        await deliveries.start()
        await deliveries.put("s", [SINK], events("s", *range(50)))
        await deliveries.close(10.0)
        assert len(places.carriers["site"].taken) == 50
        assert places.carriers["site"].closed == 1
        with pytest.raises(UnavailableError):
            await deliveries.put("s", [SINK], events("s", 50))

    asyncio.run(run())
    assert list(tmp_path.iterdir()) == []


def test_without_a_folder_there_is_nothing_to_run_and_nothing_to_put(tmp_path: Path) -> None:
    async def scenario(deliveries: Deliveries, _places: Places, _virtual: VirtualTime) -> None:
        await deliveries.put("s", [], events("s", 0))
        await deliveries.put("s", [SINK], [])
        assert await deliveries.stats() == {}
        with pytest.raises(UnavailableError):
            await deliveries.put("s", [SINK], events("s", 0))

    running(None, scenario)
    assert list(tmp_path.iterdir()) == []


def test_no_log_line_holds_an_event_or_a_secret(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(deliveries: Deliveries, places: Places, virtual: VirtualTime) -> None:
        await deliveries.put("secret-stream", [DOWN], [event("secret-stream", 0)])
        places.carriers["down"].answers = lambda parcel: 1 // len(parcel.events[0].body[:0])
        for _ in range(20):
            await virtual.advance(60.0)
            await asyncio.sleep(0.001)

    caplog.set_level(logging.DEBUG)
    running(tmp_path, scenario)
    assert "ZeroDivisionError" in caplog.text
    assert "secret-stream" not in caplog.text
    assert "filler" not in caplog.text


def test_a_secret_is_read_without_the_newline_and_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes(b" s e c \r\n")
    (tmp_path / "empty").write_bytes(b"\n")
    assert secret_in(tmp_path / "good") == b" s e c "
    for name in ("empty", "missing"):
        with pytest.raises(UnavailableError) as caught:
            secret_in(tmp_path / name)
        assert str(tmp_path) not in caught.value.detail


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: DeliveryParameters(max_bytes=0),
        lambda: DeliveryParameters(in_flight=0),
        lambda: DeliveryParameters(timeout_s=0),
        lambda: KafkaCluster(servers=()),
        lambda: WebhookParameters(keys={"default": ()}),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"over 0|at least one"):
        wrong()


def test_sinks_of_the_same_destination_are_told_apart_by_their_address(tmp_path: Path) -> None:
    opened: list[Sink] = []

    def opens(sink: Sink) -> Carrier:
        opened.append(sink)
        return FakeCarrier()

    async def run() -> None:
        deliveries = Deliveries(DeliveryParameters(folder=tmp_path), open_carrier=opens)
        await deliveries.start()
        hooks = [Webhook(url="https://a.example/1"), Webhook(url="https://a.example/2")]
        topics = [Kafka(cluster="c", topic="1"), Kafka(cluster="c", topic="2")]
        await deliveries.put("s", [*hooks, *topics, *topics], events("s", 0))
        await deliveries.settle()
        assert opened == [*hooks, topics[0]]
        assert {stats.delivered for stats in (await deliveries.stats()).values()} == {1}
        await deliveries.close(1.0)

    asyncio.run(run())
