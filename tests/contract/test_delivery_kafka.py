"""What a Kafka cluster adds to the suite of all carriers: outages, faults that are final, faults that are not."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError

from app.delivery.carrier import Parcel, Receipt, Refused
from app.delivery.kafka import KafkaCarrier
from app.delivery.parameters import KafkaCluster
from app.delivery.retry import RetryPolicy
from tests.contract.delivery_places import TOPIC, consumed
from tests.servers.kafka import MockCluster, mock_cluster
from tests.unit.delivery.parcels import events


def parcel(*seqs: int, topic: str = TOPIC, stream_id: str = "s") -> Parcel:
    return Parcel(address=topic, stream_id=stream_id, events=tuple(events(stream_id, *seqs)))


def carrying(scenario: Callable[[KafkaCarrier, MockCluster], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        with mock_cluster() as cluster:
            settings = KafkaCluster(servers=(f"127.0.0.1:{cluster.port}",), tls=False)
            carrier = KafkaCarrier(settings, policy=RetryPolicy(first_s=0.01, cap_s=0.1))
            try:
                return await scenario(carrier, cluster)
            finally:
                await carrier.close()

    return asyncio.run(run())


def test_a_cluster_that_goes_down_and_comes_back_gets_every_event_in_its_order() -> None:
    async def scenario(carrier: KafkaCarrier, cluster: MockCluster) -> None:
        await carrier.deliver(parcel(0))
        for turn in range(1, 4):
            cluster.go_down()
            waiting = asyncio.create_task(carrier.deliver(parcel(*range(10 * turn, 10 * turn + 10))))
            done, _ = await asyncio.wait({waiting}, timeout=0.1)
            assert not done, "it waits"
            cluster.come_up()
            assert await waiting == Receipt(taken=10)
        came = await asyncio.to_thread(consumed, f"127.0.0.1:{cluster.port}")
        assert list(dict.fromkeys(event_id for event_id, _ in came)) == [f"s:0:{seq}" for seq in (0, *range(10, 40))]

    carrying(scenario)


@pytest.mark.parametrize(
    "code",
    [
        KafkaError.NOT_ENOUGH_REPLICAS,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER,
        KafkaError.UNKNOWN_PRODUCER_ID,
        KafkaError.INVALID_PRODUCER_EPOCH,
    ],
)
def test_a_fault_that_passes_costs_no_event(code: int) -> None:
    async def scenario(carrier: KafkaCarrier, cluster: MockCluster) -> None:
        await carrier.deliver(parcel(0))
        cluster.fail_next_produce(code)
        left = 10
        while left:
            receipt = await carrier.deliver(parcel(*range(11 - left, 11)))
            assert not isinstance(receipt.failure, Refused)
            left -= receipt.taken
        came = await asyncio.to_thread(consumed, f"127.0.0.1:{cluster.port}")
        assert list(dict.fromkeys(event_id for event_id, _ in came)) == [f"s:0:{seq}" for seq in range(11)]

    carrying(scenario)


@pytest.mark.parametrize("code", [KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.TOPIC_EXCEPTION])
def test_a_topic_that_is_not_for_us_is_refused(code: int) -> None:
    async def scenario(carrier: KafkaCarrier, cluster: MockCluster) -> None:
        cluster.refuse("closed", code)
        assert await carrier.deliver(parcel(0, 1, topic="closed")) == Receipt(taken=0, failure=Refused())
        assert await carrier.deliver(parcel(0, 1)) == Receipt(taken=2)

    carrying(scenario)


def test_a_parcel_that_waits_ends_when_the_carrier_is_closed() -> None:
    async def scenario(carrier: KafkaCarrier, cluster: MockCluster) -> None:
        await carrier.deliver(parcel(0))
        cluster.go_down()
        waiting = asyncio.create_task(carrier.deliver(parcel(1, 2)))
        await asyncio.sleep(0)
        await carrier.close()
        receipt = await waiting
        assert receipt.taken == 0
        assert receipt.failure is not None

    carrying(scenario)


def test_records_are_keyed_by_their_stream_and_so_share_a_partition() -> None:
    async def scenario(carrier: KafkaCarrier, cluster: MockCluster) -> None:
        await asyncio.gather(*(carrier.deliver(parcel(*range(20), stream_id=f"s{number}")) for number in range(8)))
        came = await asyncio.to_thread(consumed, f"127.0.0.1:{cluster.port}")
        for number in range(8):
            mine = [event_id for event_id, _ in came if event_id.startswith(f"s{number}:")]
            assert mine == [f"s{number}:0:{seq}" for seq in range(20)]

    carrying(scenario)
