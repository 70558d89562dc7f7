"""From a sink to the way there: is it in the settings, and what carries to it."""

import re
from collections.abc import Callable
from typing import Final

from app.core.errors import InvalidParameterError
from app.delivery.carrier import Carrier
from app.delivery.guard import Guard
from app.delivery.parameters import DeliveryParameters
from app.delivery.sinks import Kafka, Mqtt, Sink, Webhook

_MAX_TOPIC_BYTES: Final = 1024
_NOT_IN_MQTT: Final = re.compile(r"[+#\x00-\x1f\x7f-\x9f]|^\$|^$")
"""Wildcards, control characters, the broker's own tree. Source: MQTT 5.0, 4.7."""
_KAFKA_TOPIC: Final = re.compile(r"(?!\.{1,2}$)[a-zA-Z0-9._-]{1,249}")
"""Source: org.apache.kafka.common.internals.Topic."""


def check_sink(sink: Sink, parameters: DeliveryParameters, *, guard: Guard) -> None:
    """Raise InvalidParameterError for a sink that nothing can be delivered to, without touching the network."""
    if parameters.folder is None:
        raise _wrong("this service delivers to no sinks; read the events instead")
    match sink:
        case Webhook():
            if sink.key not in parameters.webhooks.keys:
                raise _wrong("there is no webhook key of that name")
            guard.check(sink.url)
        case Mqtt():
            if sink.broker not in parameters.brokers:
                raise _wrong("there is no MQTT broker of that name")
            if _NOT_IN_MQTT.search(sink.topic) or len(sink.topic.encode(errors="replace")) > _MAX_TOPIC_BYTES:
                raise _wrong(f"an MQTT topic has 1 to {_MAX_TOPIC_BYTES} bytes, no wildcards, and no $ in front")
        case Kafka():
            if sink.cluster not in parameters.clusters:
                raise _wrong("there is no Kafka cluster of that name")
            if not _KAFKA_TOPIC.fullmatch(sink.topic):
                raise _wrong("a Kafka topic has 1 to 249 letters, digits, dots, dashes and underscores")


def opener(parameters: DeliveryParameters, *, guard: Guard) -> Callable[[Sink], Carrier]:
    """What opens the carriers of a service."""

    def opened(sink: Sink) -> Carrier:
        check_sink(sink, parameters, guard=guard)
        match sink:
            case Webhook():
                from app.delivery.webhook import WebhookCarrier

                return WebhookCarrier(
                    sink.url,
                    key_files=parameters.webhooks.keys[sink.key],
                    guard=guard,
                    timeout_s=parameters.timeout_s,
                    max_connections=parameters.in_flight,
                )
            case Mqtt():
                from app.delivery.mqtt import MqttCarrier

                return MqttCarrier(parameters.brokers[sink.broker], timeout_s=parameters.timeout_s)
            case Kafka():
                from app.delivery.kafka import KafkaCarrier

                return KafkaCarrier(parameters.clusters[sink.cluster], policy=parameters.retry)

    return opened


def _wrong(words: str) -> InvalidParameterError:
    return InvalidParameterError(f"sinks: {words}")
