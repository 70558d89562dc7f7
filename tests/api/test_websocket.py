"""Frames in and events out over a WebSocket, behind a real server: what goes well, what goes wrong, who suffers."""

import asyncio
from datetime import UTC, datetime

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from app.api.resume import ResumeTokens, make_token
from app.api.sending import SenderLimits
from app.api.stream_pump import PumpLimits
from app.core.errors import UnavailableError
from tests.api.fake_host import FakeHost
from tests.api.live_wire import QUICK, SECRET, Client, Replica, client, run, soon


def test_the_first_message_is_a_credit_of_the_stream_s_window() -> None:
    async def scenario(_replica: Replica, _stream_id: str, there: Client) -> None:
        assert there.told == [{"schema": "sightline.v1.Credit", "frames": 5}]

    run(scenario, host=FakeHost(window=5))


def test_each_frame_s_end_is_the_very_bytes_of_the_event_then_come_ack_and_credit() -> None:
    async def scenario(replica: Replica, stream_id: str, there: Client) -> None:
        await there.send(0, metadata={"gate": "north"})
        await there.until(lambda: there.credit == 5)
        event, ack, credit = there.told[1:]
        assert there.bodies[1:2] == replica.host.bodies(stream_id)
        assert (event["seq"], event["status"], event["metadata"]) == (0, "result", {"gate": "north"})
        assert ack == {"schema": "sightline.v1.Ack", "seq": 0}
        assert credit == {"schema": "sightline.v1.Credit", "frames": 1}

    run(scenario)


def test_numbers_and_times_arrive_as_they_were_sent() -> None:
    async def scenario(replica: Replica, stream_id: str, there: Client) -> None:
        at = Timestamp()
        at.FromDatetime(datetime(2026, 11, 23, 12, 0, 0, 250_000, tzinfo=UTC))
        await there.send(7, captured_at=at, stream_id=stream_id)
        await there.send(None)
        await there.send(None, base_seq=11, delta_offset=-1)
        await there.results(7, 8, 10)
        first, second, third = (offer for offers in replica.host.offers for offer in offers)
        assert (first.seq, second.seq, third.seq) == (7, 8, 10)
        assert first.captured_at == at.ToDatetime(tzinfo=UTC).timestamp()
        assert second.captured_at is None

    run(scenario)


def test_a_repeat_is_acknowledged_and_not_captured_again_and_a_leap_is_taken() -> None:
    async def scenario(replica: Replica, stream_id: str, there: Client) -> None:
        for seq in (0, 1):
            await there.send(seq)
        await there.results(0, 1)
        await there.until(lambda: there.credit == 6)
        await there.send(0)
        await there.until(lambda: there.credit == 7)
        assert there.of("Ack")[-1]["seq"] == 1
        await there.send(1_000_000)
        await there.results(1_000_000)
        assert (await replica.host.show(stream_id)).summary.captured == 3

    run(scenario)


def test_frames_over_the_credit_end_as_overloaded_and_only_they() -> None:
    async def scenario(replica: Replica, stream_id: str, there: Client) -> None:
        replica.host.is_slow = True
        for seq in range(7):
            await there.send(seq)
        await soon(lambda: replica.host.last_seq(stream_id) >= 6)
        replica.host.answer(stream_id)
        results = await there.results(*range(7))
        assert [result.get("reason") for result in results] == [None] * 4 + ["overloaded"] * 3
        await there.until(lambda: there.credit - 7 == 4)  # as many as ever

    run(scenario)


def test_a_sender_that_knows_no_bounds_is_cut_off_and_fills_no_memory() -> None:
    big = b"x" * 1024**2

    async def scenario(replica: Replica, _stream_id: str, there: Client) -> None:
        replica.host.is_slow = True
        for seq in range(4 + QUICK.sender.surplus_frames):
            await there.send(seq, data=big)
        await soon(lambda: replica.budget.held > 0)
        assert replica.budget.held <= 4 * len(big)
        await there.send(99, data=big)
        code, reason = await there.ending()
        assert (code, reason) == (1013, "overloaded: more frames were sent than there are credits, and by far")
        assert max(sum(len(offer.data) for offer in offers) for offers in replica.host.offers) <= 4 * len(big)

    run(scenario)


def test_held_pictures_are_bounded_in_bytes_whatever_the_window() -> None:
    limits = PumpLimits(sender=SenderLimits(held_bytes=2500), busy_wait_s=0.05, idle_wait_s=0.2)

    async def scenario(replica: Replica, stream_id: str, there: Client) -> None:
        replica.host.is_slow = True
        for seq in range(4):
            await there.send(seq, data=b"x" * 1000)
        await soon(lambda: replica.host.last_seq(stream_id) >= 3)
        assert replica.budget.held == 2000
        replica.host.answer(stream_id)
        assert [end.get("reason") for end in await there.results(3)] == [None, None, "overloaded", "overloaded"]

    run(scenario, limits=limits)


@pytest.mark.parametrize("dies", [True, False])
def test_frames_that_were_open_when_the_owner_went_are_offered_to_the_next_in_order(*, dies: bool) -> None:
    async def scenario(replica: Replica, stream_id: str, there: Client) -> None:
        host = replica.host
        host.is_slow = True
        for seq in range(4):
            await there.send(seq)
        await soon(lambda: replica.host.last_seq(stream_id) >= 3)
        host.answer(stream_id, frames=2)
        await there.results(0, 1)
        host.die()
        host.is_dead = dies  # else another takes over without a word
        await soon(lambda: not dies or len(host.offers) >= 3)
        host.is_slow, host.is_dead = False, False
        results = await there.results(2, 3)
        assert [result["seq"] for result in results] == [0, 1, 2, 3]
        assert (await host.show(stream_id)).summary.captured == 4
        await there.until(lambda: there.credit == 8)

    run(scenario)


def test_a_frame_that_comes_after_a_takeover_without_a_word_does_not_overtake_those_before_it() -> None:
    patient = PumpLimits(busy_wait_s=60, idle_wait_s=60)

    async def scenario(replica: Replica, stream_id: str, there: Client) -> None:
        host = replica.host
        host.is_slow = True
        for seq in range(2):
            await there.send(seq)
        await soon(lambda: host.last_seq(stream_id) == 1)
        host.forget()
        host.is_slow = False
        await there.send(2)
        assert [result["seq"] for result in await there.results(2)] == [0, 1, 2]

    run(scenario, limits=patient)


def test_an_offer_that_finds_the_owner_moved_is_made_again_at_once() -> None:
    patient = PumpLimits(busy_wait_s=60, idle_wait_s=60)

    async def scenario(replica: Replica, _stream_id: str, there: Client) -> None:
        await soon(lambda: replica.host.polls > 0)
        replica.host.moves = 2
        for seq in range(3):
            await there.send(seq)
        assert [result["seq"] for result in await there.results(0, 1, 2)] == [0, 1, 2]
        assert replica.host.moves == 0

    run(scenario, limits=patient)


def test_a_client_that_comes_while_the_owner_is_gone_waits_for_the_next() -> None:
    async def inside() -> None:
        async with Replica(host=FakeHost()).serving() as replica:
            stream_id = await replica.stream()
            replica.host.is_dead = True
            async with client(replica.url, stream_id) as there:
                await there.send(3)
                await soon(lambda: replica.budget.held > 0)
                replica.host.is_dead = False
                await there.results(3)
                assert there.of("Credit")[0] == {"schema": "sightline.v1.Credit", "frames": 4}

    asyncio.run(inside())


@pytest.mark.parametrize(("query", "expected"), [("", []), ("?since=0", [1, 2]), ("?since=-1", [0, 1, 2])])
def test_reading_begins_now_or_where_the_client_says(query: str, expected: list[int]) -> None:
    async def inside() -> None:
        async with Replica(host=FakeHost()).serving() as replica:
            stream_id = await replica.stream()
            async with client(replica.url, stream_id) as first:
                for seq in range(3):
                    await first.send(seq)
                await first.results(0, 1, 2)
            async with client(replica.url, stream_id, query) as second:
                await second.send(3)
                results = await second.results(3)
                assert [result["seq"] for result in results] == [*expected, 3]

    asyncio.run(inside())


@pytest.mark.parametrize("has_token", [True, False])
def test_a_resumed_client_repeats_what_it_knows_no_end_of_and_nothing_is_captured_twice(*, has_token: bool) -> None:
    async def inside() -> None:
        async with Replica(host=FakeHost()).serving() as replica:
            stream_id = await replica.stream()
            async with client(replica.url, stream_id) as first:
                await first.send(0)
                await first.results(0)
                replica.host.is_slow = True
                for seq in (1, 2, 3):
                    await first.send(seq)
                await soon(lambda: replica.host.last_seq(stream_id) >= 3)
            token = make_token(stream_id=stream_id, seq=0, secret=SECRET, now_s=2e9)
            async with client(replica.url, stream_id, f"?resume={token}" * has_token) as second:
                for seq in (1, 2, 3):
                    await second.send(seq)
                await second.read()
                replica.host.die()  # the owner that had captured them is gone: the new connection holds them
                replica.host.is_dead, replica.host.is_slow = False, False
                results = await second.results(1, 2, 3)
                assert [result["seq"] for result in results] == [1, 2, 3]
                assert (await replica.host.show(stream_id)).summary.captured == 4

    asyncio.run(inside())


def test_a_deploy_sends_the_client_elsewhere_and_no_frame_is_lost_or_told_twice() -> None:
    async def inside() -> None:
        host = FakeHost()
        async with Replica(host=host).serving() as old, Replica(host=host).serving() as new:
            stream_id = await old.stream()
            async with client(old.url, stream_id) as first:
                await first.send(0)
                await first.results(0)
                host.is_slow = True
                await first.send(1)
                await soon(lambda: host.last_seq(stream_id) >= 1)
                old.draining.set()
                await first.until(lambda: bool(first.of("GoAway")))
                assert first.of("GoAway")[0]["reason"] == "draining"
                assert 0 < first.of("GoAway")[0]["reconnect_after_s"] < 2
                await first.send(2)  # too late: it is not captured here
                host.answer(stream_id)
                code, _ = await first.ending()
                assert code == 1012
                assert [result["seq"] for result in first.of("FrameResult")] == [0, 1]
                assert (await host.show(stream_id)).last_seq == 1
            host.is_slow = False
            token = first.of("GoAway")[-1]["resume_token"]
            async with client(new.url, stream_id, f"?resume={token}") as second:
                await second.send(2)
                assert [result["seq"] for result in await second.results(2)] == [2]

    asyncio.run(inside())


def test_a_frame_that_does_not_end_in_time_does_not_hold_up_a_deploy() -> None:
    limits = PumpLimits(drain_s=0.1, idle_wait_s=0.2, busy_wait_s=0.1)

    async def scenario(replica: Replica, stream_id: str, there: Client) -> None:
        replica.host.is_slow = True
        await there.send(0)
        await soon(lambda: replica.host.last_seq(stream_id) >= 0)
        replica.draining.set()
        assert (await there.ending())[0] == 1012
        assert there.of("Ack") == []

    run(scenario, limits=limits)


@pytest.mark.parametrize("has_token", [True, False])
def test_a_deploy_while_the_owner_is_gone_gives_back_what_the_client_came_with(*, has_token: bool) -> None:
    async def inside() -> None:
        limits = PumpLimits(drain_s=0.1)
        async with Replica(host=FakeHost(), limits=limits).serving() as replica:
            stream_id = await replica.stream()
            token = await replica.tokens.make(stream_id, seq=5) if has_token else ""
            replica.host.is_dead = True
            async with client(replica.url, stream_id, f"?resume={token}" * has_token) as there:
                replica.draining.set()
                assert (await there.ending())[0] == 1012
                assert [away["resume_token"] for away in there.of("GoAway")] == [token]

    asyncio.run(inside())


def test_a_client_is_sent_away_without_a_token_when_the_secret_cannot_be_had() -> None:
    async def gone() -> bytes:
        raise UnavailableError

    async def scenario(replica: Replica, _stream_id: str, there: Client) -> None:
        replica.draining.set()
        assert (await there.ending())[0] == 1012
        assert [away["resume_token"] for away in there.of("GoAway")] == [""]

    run(scenario, tokens=ResumeTokens(gone))


def test_since_counts_where_it_is_later_than_the_token() -> None:
    async def inside() -> None:
        async with Replica(host=FakeHost()).serving() as replica:
            stream_id = await replica.stream()
            token = await replica.tokens.make(stream_id, seq=-1)
            async with client(replica.url, stream_id) as first:
                for seq in range(3):
                    await first.send(seq)
                await first.results(2)
            async with client(replica.url, stream_id, f"?resume={token}&since=1") as second:
                assert [result["seq"] for result in await second.results(2)] == [2]

    asyncio.run(inside())


def test_a_client_that_comes_back_after_its_stream_was_closed_still_gets_the_end_of_it() -> None:
    async def inside() -> None:
        async with Replica(host=FakeHost()).serving() as replica:
            stream_id = await replica.stream()
            async with client(replica.url, stream_id) as first:
                for seq in range(3):
                    await first.send(seq)
                await first.results(0)
            await replica.host.close(stream_id)
            async with client(replica.url, stream_id, "?since=0") as second:
                await second.send(3)
                assert (await second.ending())[0] == 1000
                assert [result["seq"] for result in second.of("FrameResult")] == [1, 2]
                assert [summary["captured"] for summary in second.of("Summary")] == [3]

    asyncio.run(inside())


def test_a_stream_that_is_closed_under_a_sender_s_hands_ends_with_its_summary() -> None:
    async def scenario(replica: Replica, stream_id: str, there: Client) -> None:
        replica.host.is_slow = True
        for seq in range(2):
            await there.send(seq)
        await soon(lambda: replica.host.last_seq(stream_id) == 1)
        await replica.host.close(stream_id)
        await there.send(2)
        assert (await there.ending())[0] == 1000
        assert [summary["captured"] for summary in there.of("Summary")] == [2]

    run(scenario)


def test_a_stream_that_is_closed_ends_with_its_summary() -> None:
    async def scenario(replica: Replica, stream_id: str, there: Client) -> None:
        await there.send(0)
        await there.results(0)
        await replica.host.close(stream_id)
        assert (await there.ending())[0] == 1000
        assert [summary["captured"] for summary in there.of("Summary")] == [1]

    run(scenario)
