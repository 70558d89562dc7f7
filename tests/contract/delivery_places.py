"""The three kinds of destination as real servers, each behind a proxy that can break its connections off."""

import asyncio
import contextlib
import queue
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from app.core.wire import WireEvent
from app.delivery.carrier import Carrier
from app.delivery.deliveries import Deliveries
from app.delivery.guard import Guard
from app.delivery.opening import opener
from app.delivery.parameters import DeliveryParameters, KafkaCluster, MqttBroker, WebhookParameters
from app.delivery.retry import RetryPolicy
from app.delivery.sinks import Kafka, Mqtt, Sink, Webhook
from app.media.fetch_guard import FetchParameters, checked, target_of
from app.pipeline.webhook_guard import WebhookGuard
from tests.servers.kafka import mock_cluster
from tests.servers.mosquitto import mosquitto
from tests.servers.proxy import Proxy, proxying
from tests.servers.receiver import event_id_of, receiving

KEY = b"a key of the tests"
TOPIC = "events"
MAX_EVENT_BYTES = 100_000


class ListGuard:
    """The service's rules for addresses, behind a resolver of the test's own."""

    def __init__(self, parameters: FetchParameters, *, resolve: Callable[[str, int], Sequence[str]]) -> None:
        self._parameters = parameters
        self._resolve = resolve

    def check(self, url: str) -> None:
        target_of(url, self._parameters)

    def addresses(self, host: str, port: int) -> list[str]:
        return [str(address) for address in checked(self._resolve(host, port), self._parameters)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A destination. `arrived` gives the id and the bytes of all that came, in order, when no more is on its way."""

    sink: Sink
    proxy: Proxy
    parameters: DeliveryParameters
    guard: Guard
    arrived: Callable[[], Any]

    def deliveries(self, wrap: Callable[[Carrier], Carrier] = lambda carrier: carrier, **options: Any) -> Deliveries:
        """The service's own deliveries to here; `wrap` plants a fault in the carrier."""
        parameters = replace(self.parameters, **options)
        opened = opener(parameters, guard=self.guard)
        return Deliveries(parameters, open_carrier=lambda sink: wrap(opened(sink)))


def parameters(folder: Path, **options: Any) -> DeliveryParameters:
    """Small and quick."""
    return DeliveryParameters(
        folder=folder / "outbox",
        retry=RetryPolicy(first_s=0.005, cap_s=0.05, attempts=2),
        parcel_events=20,
        timeout_s=5.0,
        **options,
    )


@asynccontextmanager
async def webhook(folder: Path) -> AsyncIterator[Place]:
    key_file = folder / "key"
    key_file.write_bytes(KEY + b"\n")
    with receiving([KEY]) as receiver:
        receiver.answer = lambda body: (204, {}) if len(body) <= MAX_EVENT_BYTES else (413, {})
        async with proxying(receiver.port) as proxy:

            async def arrived() -> list[tuple[str, bytes]]:
                return [(event_id_of(line), line) for line in receiver.lines]

            webhooks = WebhookParameters(
                allowed_hosts=(f"127.0.0.1:{proxy.port}",), allow_private=True, keys={"default": (key_file,)}
            )
            yield Place(
                sink=Webhook(url=f"http://127.0.0.1:{proxy.port}/hook"),
                proxy=proxy,
                parameters=parameters(folder, webhooks=webhooks),
                guard=WebhookGuard(webhooks),
                arrived=arrived,
            )


@asynccontextmanager
async def mqtt(folder: Path) -> AsyncIterator[Place]:
    with mosquitto(folder, options=("allow_anonymous true", f"max_packet_size {MAX_EVENT_BYTES}")) as broker:
        async with proxying(broker.port) as proxy:
            subscriber = Subscriber(broker.port)
            try:
                yield Place(
                    sink=Mqtt(broker="site", topic=TOPIC),
                    proxy=proxy,
                    parameters=parameters(
                        folder, brokers={"site": MqttBroker(host="127.0.0.1", port=proxy.port, tls=False)}
                    ),
                    guard=WebhookGuard(WebhookParameters()),
                    arrived=lambda: asyncio.to_thread(subscriber.arrived),
                )
            finally:
                await asyncio.to_thread(subscriber.close)


class Subscriber:
    """Subscribed to the topic in a session that outlives its connection."""

    def __init__(self, port: int) -> None:
        self._inbox: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()
        self._came: list[tuple[str, bytes]] = []
        is_subscribed: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._client = Client(CallbackAPIVersion.VERSION2, client_id="subscriber", protocol=MQTTv5)
        self._client.reconnect_delay_set(min_delay=1, max_delay=1)
        self._client.on_connect = lambda client, *_: client.subscribe(TOPIC, qos=1)
        self._client.on_subscribe = lambda *_: is_subscribed.put(True)
        self._client.on_message = lambda _client, _data, message: self._inbox.put(_of(message))
        expiry = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        expiry.SessionExpiryInterval = 3600
        self._client.connect("127.0.0.1", port, clean_start=False, properties=expiry)
        self._client.loop_start()
        is_subscribed.get(timeout=10)

    def arrived(self) -> list[tuple[str, bytes]]:
        """All that came until a last message of our own, which the broker puts behind everything it has accepted."""
        self._client.publish(TOPIC, b"end", qos=1)
        while (message := self._inbox.get(timeout=20)) != ("", b"end"):
            self._came.append(message)
        return list(self._came)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def _of(message: Any) -> tuple[str, bytes]:
    with contextlib.suppress(AttributeError):
        return dict(message.properties.UserProperty)["event_id"], message.payload
    return "", message.payload


@asynccontextmanager
async def kafka(folder: Path) -> AsyncIterator[Place]:
    with mock_cluster() as cluster:
        async with proxying(cluster.port) as proxy:
            cluster.advertise(proxy.port)
            servers = (f"127.0.0.1:{proxy.port}",)

            def arrived() -> list[tuple[str, bytes]]:
                return consumed(servers[0])

            yield Place(
                sink=Kafka(cluster="site", topic=TOPIC),
                proxy=proxy,
                parameters=parameters(
                    folder,
                    clusters={"site": KafkaCluster(servers=servers, tls=False, max_message_bytes=MAX_EVENT_BYTES)},
                ),
                guard=WebhookGuard(WebhookParameters()),
                arrived=lambda: asyncio.to_thread(arrived),
            )


def consumed(server: str) -> list[tuple[str, bytes]]:
    """The topic from its first record to its last; records of one key are in their order."""
    consumer = Consumer(
        {
            "bootstrap.servers": server,
            "group.id": "reader",
            "enable.partition.eof": True,
        }
    )
    partitions = len(consumer.list_topics(TOPIC, timeout=10).topics[TOPIC].partitions)
    consumer.assign([TopicPartition(TOPIC, number, OFFSET_BEGINNING) for number in range(partitions)])
    came: list[tuple[str, bytes]] = []
    ended: set[int] = set()
    while len(ended) < partitions:
        message = consumer.poll(20)
        assert message is not None, "the cluster is silent"
        fault = message.error()
        if fault is None:
            came.append((dict(message.headers())["event_id"].decode(), message.value()))
        elif fault.code() == KafkaError._PARTITION_EOF:
            ended.add(message.partition())
    consumer.close()
    return came


PLACES = {"webhook": webhook, "mqtt": mqtt, "kafka": kafka}


def shortcomings(sent: Sequence[WireEvent], arrived: Sequence[tuple[str, bytes]]) -> list[str]:
    """Everything that is wrong with what arrived; repetitions of the same event under the same id are not."""
    bodies = {event.event_id: event.body for event in sent}
    first_ids = list(dict.fromkeys(event_id for event_id, _ in arrived))
    wrong = [f"lost {event_id}" for event_id in bodies.keys() - set(first_ids)]
    wrong += [f"changed {event_id}" for event_id, body in arrived if bodies.get(event_id) != body]
    orders: dict[str, list[int]] = {}
    for event_id in first_ids:
        stream_id, _, seq = event_id.split(":")
        orders.setdefault(stream_id, []).append(int(seq))
    wrong += [f"out of order {stream_id}" for stream_id, order in orders.items() if order != sorted(order)]
    return sorted(wrong)
