"""The knobs of deliveries: where the outbox lies, how much it holds, and which destinations there are."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from app.core.errors import UnavailableError
from app.delivery.retry import RetryPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttBroker:
    """An MQTT 5 broker. `tls` verifies its certificate for `host`, by `ca_file` where the system does not know it."""

    host: str
    port: int = 8883
    tls: bool = True
    ca_file: Path | None = None
    username: str | None = None
    password_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaCluster:
    """A Kafka cluster, by some of its servers as `host:port`. With a `username` it is logged in to by SASL."""

    servers: tuple[str, ...]
    tls: bool = True
    ca_file: Path | None = None
    username: str | None = None
    password_file: Path | None = None
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    max_message_bytes: int = 1_000_000

    def __post_init__(self) -> None:
        if not self.servers:
            raise ValueError("servers: at least one host:port")


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookParameters:
    """Webhooks: none, as long as no host is allowed and no key is there.

    `allowed_hosts` and `allow_private` are those of URLs to fetch. `keys` names lists of files: every POST is signed
    with each key of the list, so that a receiver can change from one to the next. Files are read at each POST.
    """

    allowed_hosts: tuple[str, ...] = ()
    allow_private: bool = False
    keys: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not all(self.keys.values()):
            raise ValueError("keys: each name needs at least one file")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryParameters:
    """Where events go, besides to readers. Without a `folder` they go nowhere, and a stream with sinks is refused.

    `folder` lies on a local disk. A full outbox holds `max_bytes`, counted as 256 bytes an event on top of its body,
    and makes its oldest events dead letters, of which the newest `max_dead_bytes` are kept; with bodies of 1.5 kB the
    file takes a fifth more. A parcel has at most
    `parcel_events` and about `parcel_bytes`; `in_flight` parcels of different streams are on their way to one
    destination at once, and one without an answer in `timeout_s` is offered again. Every `tend_s` seconds the folder
    is searched for outboxes of processes that have died.
    """

    folder: Path | None = None
    max_bytes: int = 2 * 1024**3
    max_dead_bytes: int = 256 * 1024**2
    brokers: Mapping[str, MqttBroker] = field(default_factory=dict)
    clusters: Mapping[str, KafkaCluster] = field(default_factory=dict)
    webhooks: WebhookParameters = field(default_factory=WebhookParameters)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    parcel_events: int = 100
    parcel_bytes: int = 512 * 1024
    in_flight: int = 8
    timeout_s: float = 10.0
    tend_s: float = 10.0

    def __post_init__(self) -> None:
        limits = (self.max_bytes, self.parcel_events, self.parcel_bytes, self.in_flight, self.timeout_s, self.tend_s)
        if not (min(limits) > 0 and self.max_dead_bytes >= 0):
            raise ValueError("the limits of deliveries must be over 0, max_dead_bytes not below")


def secret_in(file: Path) -> bytes:
    """The secret that a file holds, without the newline at its end; UnavailableError when there is none."""
    try:
        secret = file.read_bytes().rstrip(b"\r\n")
    except OSError:
        secret = b""
    if not secret:
        raise UnavailableError("a secret that the settings name is not there")
    return secret
