"""Where a stream's events go besides those who ask for them."""

import json
from dataclasses import asdict, dataclass
from typing import Final, Literal, TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """POSTs of events to `url`, signed with the service's key of that name."""

    url: str
    key: str = "default"
    kind: Literal["webhook"] = "webhook"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mqtt:
    """Messages on `topic` at the broker that the settings call `broker`."""

    broker: str
    topic: str
    kind: Literal["mqtt"] = "mqtt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kafka:
    """Records in `topic` at the cluster that the settings call `cluster`."""

    cluster: str
    topic: str
    kind: Literal["kafka"] = "kafka"


Sink: TypeAlias = Webhook | Mqtt | Kafka

_KINDS: Final[dict[str, type[Webhook] | type[Mqtt] | type[Kafka]]] = {"webhook": Webhook, "mqtt": Mqtt, "kafka": Kafka}


def text_of(sink: Sink) -> str:
    """The sink as one line of text, the same for equal sinks."""
    return json.dumps(asdict(sink), sort_keys=True)


def sink_of(text: str) -> Sink:
    """The sink that `text_of` wrote down; ValueError for any other text."""
    try:
        fields = json.loads(text)
        return _KINDS[fields["kind"]](**fields)
    except (KeyError, TypeError, ValueError):
        raise ValueError("not a sink") from None
