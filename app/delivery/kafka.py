"""Events as Kafka records, keyed by their stream; an event has arrived when all in-sync replicas have it."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from app.core.errors import SightlineError
from app.delivery.carrier import Parcel, Receipt, Refused, Unreachable
from app.delivery.outbox_rows import DeadReason
from app.delivery.parameters import KafkaCluster, secret_in
from app.delivery.retry import RetryPolicy

LOG = logging.getLogger("sightline")

_TOO_LARGE: Final = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG_SIZE})
_REFUSED: Final = frozenset(
    {
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_RECORD,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 - librdkafka's own codes begin with an underscore
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001 - same
        KafkaError._INVALID_ARG,  # noqa: SLF001 - same; the topic's name
    }
)
_POLL_S: Final = 0.1
_GOODBYE_S: Final = 2.0


class KafkaCarrier:
    """One producer for a cluster, made when there is something to deliver.

    The producer is idempotent, has no time-out, and is the one that tries again while the cluster is down, in the
    policy's steps: it keeps the order of a stream over every disconnect, which could not be done from outside. A parcel
    waits for its end that long.
    """

    def __init__(self, cluster: KafkaCluster, *, policy: RetryPolicy) -> None:
        self._cluster = cluster
        self._policy = policy
        self._producing: _Producing | None = None

    async def deliver(self, parcel: Parcel) -> Receipt:
        """Produce the events in their order, and wait until the cluster has said of each what became of it."""
        try:
            if self._producing is None:
                self._producing = _Producing(_configuration(self._cluster, self._policy))
            producing = self._producing
        except (KafkaException, SightlineError, OSError) as error:
            LOG.info("a Kafka cluster is not reachable: %s", type(error).__name__)
            return Receipt(taken=0, failure=Unreachable())
        ends = producing.produce(parcel)
        await asyncio.wait(ends)
        receipt = _receipt(ends)
        if producing.is_broken and self._producing is producing:
            self._producing = None
            await producing.close()
        return receipt

    async def close(self) -> None:
        """Give up what is on its way, and the connections."""
        producing, self._producing = self._producing, None
        if producing is not None:
            await producing.close()


class _Producing:
    """A producer and the thread that hears its answers."""

    def __init__(self, configuration: dict[str, Any]) -> None:
        self._loop = asyncio.get_running_loop()
        self._producer = Producer(configuration, logger=LOG)
        self._is_closed = False
        self._open: set[asyncio.Future[KafkaError | None]] = set()
        self.is_broken = False
        self._thread = threading.Thread(target=self._poll, name="kafka", daemon=True)
        self._thread.start()

    def produce(self, parcel: Parcel) -> list[asyncio.Future[KafkaError | None]]:
        """Hand the events over; a future each, that has the fault or None in the end."""
        ends: list[asyncio.Future[KafkaError | None]] = [self._loop.create_future() for _ in parcel.events]
        for index, (event, end) in enumerate(zip(parcel.events, ends, strict=True)):
            try:
                self._producer.produce(
                    parcel.address,
                    event.body,
                    key=parcel.stream_id,
                    headers=[("event_id", event.event_id.encode()), ("content-type", b"application/json")],
                    on_delivery=self._heard(end),
                )
            except (BufferError, KafkaException) as error:
                for unsent in ends[index:]:  # nothing overtakes the event that did not get in
                    self._settle(unsent, _fault(error))
                break
            self._open.add(end)
        return ends

    def _heard(self, end: asyncio.Future[KafkaError | None]) -> Callable[[KafkaError | None, Message], None]:
        def heard(fault: KafkaError | None, _: Message) -> None:
            self._on_loop(lambda: self._settle(end, fault))

        return heard

    def _on_loop(self, callback: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has gone
            self._loop.call_soon_threadsafe(callback)

    def _settle(self, end: asyncio.Future[KafkaError | None], fault: KafkaError | None) -> None:
        self._open.discard(end)
        self.is_broken = self.is_broken or (fault is not None and fault.fatal())
        if not end.done():
            end.set_result(fault)

    def _poll(self) -> None:
        while not self._is_closed:
            try:
                self._producer.poll(_POLL_S)
            except KafkaException:  # a fault that the producer does not get over; its messages' ends still come
                self.is_broken = True
        with contextlib.suppress(KafkaException):
            self._producer.purge()
            self._producer.flush(_GOODBYE_S)
        self._on_loop(self._settle_rest)

    def _settle_rest(self) -> None:
        for end in list(self._open):
            self._settle(end, KafkaError(KafkaError._DESTROY))  # noqa: SLF001 - librdkafka's own codes

    async def close(self) -> None:
        """Give up what has no answer yet."""
        self._is_closed = True
        await asyncio.to_thread(self._thread.join)


def _fault(error: BufferError | KafkaException) -> KafkaError:
    if isinstance(error, KafkaException):
        fault: KafkaError = error.args[0]
        return fault
    return KafkaError(KafkaError._QUEUE_FULL)  # noqa: SLF001 - librdkafka's own codes


def _receipt(ends: Sequence[asyncio.Future[KafkaError | None]]) -> Receipt:
    for taken, end in enumerate(ends):
        if (fault := end.result()) is not None:
            if fault.code() in _TOO_LARGE:
                return Receipt(taken=taken, failure=Refused(reason=DeadReason.TOO_LARGE))
            if fault.code() in _REFUSED:
                return Receipt(taken=taken, failure=Refused())
            return Receipt(taken=taken, failure=Unreachable())
    return Receipt(taken=len(ends))


def _configuration(cluster: KafkaCluster, policy: RetryPolicy) -> dict[str, Any]:
    first_ms, cap_ms = (max(1, round(1000 * seconds)) for seconds in (policy.first_s, policy.cap_s))
    settings: dict[str, Any] = {
        "bootstrap.servers": ",".join(cluster.servers),
        "client.id": "sightline",
        "enable.idempotence": True,
        "message.timeout.ms": 0,  # none: a message that timed out in here could still arrive, after its successors
        "message.max.bytes": cluster.max_message_bytes,
        "reconnect.backoff.ms": first_ms,
        "reconnect.backoff.max.ms": cap_ms,
        "retry.backoff.ms": first_ms,
        "retry.backoff.max.ms": cap_ms,
        "linger.ms": 5,
        "partitioner": "murmur2_random",  # that of the Java clients: a stream's partition is the same for all
        "security.protocol": ("SASL_" if cluster.username else "") + ("SSL" if cluster.tls else "PLAINTEXT"),
    }
    if cluster.ca_file is not None:
        settings["ssl.ca.location"] = str(cluster.ca_file)
    if cluster.username is not None:
        settings["sasl.mechanism"] = cluster.mechanism
        settings["sasl.username"] = cluster.username
        if cluster.password_file is not None:
            settings["sasl.password"] = secret_in(cluster.password_file).decode()
    return settings
