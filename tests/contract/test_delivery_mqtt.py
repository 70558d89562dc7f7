"""What Mosquitto adds to the suite of all carriers: who may do what, restarts, its limits, other clients' silence."""

import asyncio
import gc
import socket
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from app.delivery.carrier import Parcel, Receipt, Refused, Unreachable
from app.delivery.deliveries import Deliveries
from app.delivery.mqtt import MqttCarrier
from app.delivery.opening import opener
from app.delivery.outbox_rows import DeadReason
from app.delivery.parameters import DeliveryParameters, MqttBroker, WebhookParameters
from app.delivery.retry import RetryPolicy
from app.delivery.sinks import Mqtt
from app.pipeline.webhook_guard import WebhookGuard
from tests.contract.delivery_places import TOPIC, Subscriber
from tests.servers.mosquitto import ROOT, Mosquitto, NoMosquittoError, install, mosquitto
from tests.unit.delivery.parcels import event, events
from tests.unit.media.web import certificate

UNREACHABLE = Receipt(taken=0, failure=Unreachable())


@pytest.fixture(autouse=True)
def _broker() -> None:
    try:
        install()
    except NoMosquittoError as error:
        pytest.skip(str(error))


def parcel(*seqs: int, topic: str = TOPIC, size: int = 100) -> Parcel:
    return Parcel(address=topic, stream_id="s", events=tuple(events("s", *seqs, size=size)))


def carrying(broker: Mosquitto, scenario: Callable[[MqttCarrier], Awaitable[Any]], **options: Any) -> Any:
    async def run() -> Any:
        settings = {"host": "127.0.0.1", "port": broker.port, "tls": False} | options
        carrier = MqttCarrier(MqttBroker(**settings), timeout_s=3.0)
        try:
            return await scenario(carrier)
        finally:
            await carrier.close()

    return asyncio.run(run())


def test_what_the_broker_does_not_allow_is_refused_and_not_taken_for_delivered(tmp_path: Path) -> None:
    rights = tmp_path / "rights"
    rights.write_text("topic write open/#\n", encoding="utf-8")

    async def scenario(carrier: MqttCarrier) -> None:
        assert await carrier.deliver(parcel(0, 1, topic="open/a")) == Receipt(taken=2)
        assert await carrier.deliver(parcel(0, 1, topic="closed/a")) == Receipt(taken=0, failure=Refused())

    with mosquitto(tmp_path, options=("allow_anonymous true", f"acl_file {rights}")) as broker:
        carrying(broker, scenario)


def test_an_event_over_the_limit_is_named_and_those_before_it_have_arrived(tmp_path: Path) -> None:
    async def scenario(carrier: MqttCarrier) -> None:
        offered = Parcel(address=TOPIC, stream_id="s", events=(event("s", 0), event("s", 1, size=5000), event("s", 2)))
        assert await carrier.deliver(offered) == Receipt(taken=1, failure=Refused(reason=DeadReason.TOO_LARGE))

    with mosquitto(tmp_path, options=("allow_anonymous true", "max_packet_size 2000")) as broker:
        carrying(broker, scenario)


def test_where_one_message_costs_the_connection_it_is_found_and_no_other_is_blamed(tmp_path: Path) -> None:
    """This limit of Mosquitto's is not announced, and its answer is one that no client can read."""

    async def run(broker: Mosquitto) -> None:
        sink = Mqtt(broker="site", topic=TOPIC)
        parameters = DeliveryParameters(
            folder=tmp_path / "outbox",
            brokers={"site": MqttBroker(host="127.0.0.1", port=broker.port, tls=False)},
            retry=RetryPolicy(first_s=0.005, cap_s=0.05, attempts=3),
        )
        deliveries = Deliveries(parameters, open_carrier=opener(parameters, guard=WebhookGuard(WebhookParameters())))
        await deliveries.start()
        for number in range(6):
            await deliveries.put(f"s{number}", [sink], events(f"s{number}", *range(40)))
        await deliveries.put("bad", [sink], [*events("bad", 0, 1, 2), event("bad", 3, size=5000), event("bad", 4)])
        for number in range(6):
            await deliveries.put(f"s{number}", [sink], events(f"s{number}", *range(40, 400)))
        await deliveries.settle()
        assert [letter.event.event_id for letter in await deliveries.dead_letters()] == ["bad:0:3"]
        arrived = {event_id for event_id, _ in await asyncio.to_thread(subscriber.arrived)}
        streams = {f"s{number}:0:{seq}" for number in range(6) for seq in range(400)}
        assert arrived == streams | {f"bad:0:{seq}" for seq in (0, 1, 2, 4)}
        await deliveries.close(1.0)

    with mosquitto(tmp_path, options=("allow_anonymous true", "message_size_limit 2000")) as broker:
        subscriber = Subscriber(broker.port)
        try:
            asyncio.run(run(broker))
        finally:
            subscriber.close()


def test_a_name_and_a_password_are_needed_where_the_broker_wants_them(tmp_path: Path) -> None:
    passwords, secret = tmp_path / "passwords", tmp_path / "secret"
    secret.write_text("good\n", encoding="utf-8")
    passwords.write_text("camera:good\n", encoding="utf-8")
    program = ROOT / "usr" / "bin" / "mosquitto_passwd"
    subprocess.run([str(program), "-U", str(passwords)], check=True)

    async def is_delivered(carrier: MqttCarrier) -> Receipt:
        return await carrier.deliver(parcel(0))

    with mosquitto(tmp_path, options=("allow_anonymous false", f"password_file {passwords}")) as broker:
        named = {"username": "camera", "password_file": secret}
        assert carrying(broker, is_delivered, **named) == Receipt(taken=1)
        assert carrying(broker, is_delivered) == UNREACHABLE
        secret.write_text("bad\n", encoding="utf-8")
        assert carrying(broker, is_delivered, **named) == UNREACHABLE
        secret.unlink()
        assert carrying(broker, is_delivered, **named) == UNREACHABLE


# paho 2.2 leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning")
def test_over_tls_the_certificate_must_be_the_broker_s(tmp_path: Path) -> None:
    file = certificate("localhost", tmp_path)

    async def is_delivered(carrier: MqttCarrier) -> Receipt:
        return await carrier.deliver(parcel(0))

    options = ("allow_anonymous true", f"certfile {file}", f"keyfile {file}")
    with mosquitto(tmp_path, options=options) as broker:
        assert carrying(broker, is_delivered, host="localhost", tls=True, ca_file=file) == Receipt(taken=1)
        assert carrying(broker, is_delivered, host="127.0.0.1", tls=True, ca_file=file) == UNREACHABLE
        assert carrying(broker, is_delivered, host="localhost", tls=True) == UNREACHABLE
    gc.collect()


def test_a_broker_that_is_restarted_again_and_again_gets_everything(tmp_path: Path) -> None:
    async def scenario(carrier: MqttCarrier) -> None:
        sent = events("s", *range(400))
        left = list(sent)
        restarts = [300, 200, 100]
        while left:
            receipt = await carrier.deliver(Parcel(address=TOPIC, stream_id="s", events=tuple(left[:20])))
            left = left[receipt.taken :]
            while restarts and len(left) <= restarts[0]:
                restarts.pop(0)
                await asyncio.to_thread(broker.stop)
                assert await carrier.deliver(parcel(0)) == UNREACHABLE
                await asyncio.to_thread(broker.start)
        arrived = await asyncio.to_thread(subscriber.arrived)
        assert list(dict.fromkeys(event_id for event_id, _ in arrived)) == [told.event_id for told in sent]

    with mosquitto(tmp_path) as broker:
        subscriber = Subscriber(broker.port)
        try:
            carrying(broker, scenario)
        finally:
            subscriber.close()


def test_a_broker_that_says_nothing_costs_the_time_out() -> None:
    async def run(port: int) -> None:
        carrier = MqttCarrier(MqttBroker(host="127.0.0.1", port=port, tls=False), timeout_s=0.3)
        assert await carrier.deliver(parcel(0)) == UNREACHABLE
        await carrier.close()

    with socket.create_server(("127.0.0.1", 0)) as silent:  # the system accepts for it; nobody reads
        asyncio.run(run(silent.getsockname()[1]))


def test_a_password_is_in_no_log_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a-very-secret-word", encoding="utf-8")
    caplog.set_level("DEBUG")

    async def scenario(carrier: MqttCarrier) -> None:
        await carrier.deliver(parcel(0))
        await asyncio.to_thread(broker.stop)
        assert await carrier.deliver(parcel(1)) == UNREACHABLE

    with mosquitto(tmp_path) as broker:
        carrying(broker, scenario, username="camera", password_file=secret)
    assert "not reachable" in caplog.text
    assert "a-very-secret-word" not in caplog.text
    assert "filler" not in caplog.text
