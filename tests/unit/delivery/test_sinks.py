from pathlib import Path

import pytest

from app.core.errors import InvalidParameterError
from app.delivery.opening import check_sink
from app.delivery.parameters import DeliveryParameters, KafkaCluster, MqttBroker, WebhookParameters
from app.delivery.sinks import Kafka, Mqtt, Sink, Webhook, sink_of, text_of
from app.pipeline.webhook_guard import WebhookGuard

SINKS = (Webhook(url="https://a.example/x", key="k"), Mqtt(broker="b", topic="t/ö"), Kafka(cluster="c", topic="t"))
PARAMETERS = DeliveryParameters(
    folder=Path("nowhere"),
    brokers={"b": MqttBroker(host="h")},
    clusters={"c": KafkaCluster(servers=("h:1",))},
    webhooks=WebhookParameters(allowed_hosts=("a.example",), keys={"k": (Path("key"),)}),
)
GUARD = WebhookGuard(PARAMETERS.webhooks)


@pytest.mark.parametrize("sink", SINKS)
def test_a_sink_survives_being_written_down(sink: Sink) -> None:
    assert sink_of(text_of(sink)) == sink


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"kind": "pigeon"}', '{"kind": "mqtt", "topic": "t"}'])
def test_what_is_not_a_sink_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a sink"):
        sink_of(text)


@pytest.mark.parametrize("sink", SINKS)
def test_a_sink_that_the_settings_know_is_accepted(sink: Sink) -> None:
    check_sink(sink, PARAMETERS, guard=GUARD)


@pytest.mark.parametrize(
    "sink",
    [
        Webhook(url="https://a.example/x", key="other"),
        Webhook(url="https://b.example/x", key="k"),
        Webhook(url="file:///etc/passwd", key="k"),
        Webhook(url="https://user:word@a.example/", key="k"),
        Mqtt(broker="other", topic="t"),
        *(Mqtt(broker="b", topic=topic) for topic in ("", "#", "a/+/b", "$SYS/x", "a\0b", "a\nb", "x" * 1025)),
        Kafka(cluster="other", topic="t"),
        *(Kafka(cluster="c", topic=topic) for topic in ("", ".", "..", "a b", "a/b", "x" * 250)),
    ],
)
def test_a_sink_that_leads_nowhere_is_refused_with_words(sink: Sink) -> None:
    with pytest.raises(InvalidParameterError, match=r"^(sinks|url): "):
        check_sink(sink, PARAMETERS, guard=GUARD)


@pytest.mark.parametrize("sink", SINKS)
def test_without_a_folder_every_sink_is_refused(sink: Sink) -> None:
    with pytest.raises(InvalidParameterError, match="no sinks"):
        check_sink(sink, DeliveryParameters(), guard=GUARD)
