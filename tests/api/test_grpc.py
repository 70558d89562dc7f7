"""Images and live streams over gRPC, behind a real server: what goes well, what goes wrong, who suffers."""

import asyncio

import grpc
import pytest

from app.api import grpc_status
from app.api.grpc_call import CallLimits
from app.api.resume import make_token
from app.contract import vision_pb2
from app.contract.messages import from_message
from app.contract.vision_pb2 import Image
from app.contract.vision_pb2_grpc import VideoAnalyticsStub
from app.core.errors import SightlineError
from tests.api.fake_host import FakeHost
from tests.api.live_calls import Call, calling, captured, run
from tests.api.live_wire import QUICK, SECRET, Replica, soon
from tests.e2e.wire import INTERNALS

TOKEN = "t"  # noqa: S105


def test_an_image_is_answered() -> None:
    async def scenario(_replica: Replica, channel: grpc.aio.Channel) -> None:
        result = await VideoAnalyticsStub(channel).Detect(Image(data=b"jpg", conf=0.1, roi=[0, 0, 1, 1], tile=1))
        assert result.status == vision_pb2.STATUS_RESULT
        assert [(found.label, list(found.box)) for found in result.objects] == [("person", [1, 2, 30, 40])]

    run(scenario)


@pytest.mark.parametrize(
    ("image", "code", "words"),
    [
        (Image(data=b"bad"), "INVALID_ARGUMENT", "broken"),
        (Image(data=b"jpg", conf=1.5), "INVALID_ARGUMENT", "conf"),
        (Image(data=b"jpg", roi=[0, 0]), "INVALID_ARGUMENT", "roi"),
        (Image(data=b"jpg", classes=["dragon"]), "INVALID_ARGUMENT", "classes"),
        (Image(data=b"jpg", content_type="text/html"), "INVALID_ARGUMENT", "text/html"),
        (Image(data=b"jpg", deadline_ms=-1), "INVALID_ARGUMENT", "X-Deadline-Ms"),
        (Image(data=b"x" * 9 * 1024**2), "RESOURCE_EXHAUSTED", "larger than max"),
    ],
)
def test_a_bad_image_has_a_status_with_words(image: Image, code: str, words: str) -> None:
    async def scenario(_replica: Replica, channel: grpc.aio.Channel) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await VideoAnalyticsStub(channel).Detect(image)
        assert caught.value.code().name == code
        assert words in str(caught.value.details())
        assert not INTERNALS.search(str(caught.value.details()))

    run(scenario)


def test_the_trailers_name_the_error_s_code() -> None:
    async def scenario(_replica: Replica, channel: grpc.aio.Channel) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await VideoAnalyticsStub(channel).Detect(Image(data=b"bad"))
        assert ("sightline-code", "undecodable") in list(caught.value.trailing_metadata())

    run(scenario)


def test_every_error_has_a_status_of_grpc() -> None:
    def below(kind: type[SightlineError]) -> set[type[SightlineError]]:
        return {kind}.union(*map(below, kind.__subclasses__()))

    kinds = {kind for kind in below(SightlineError) if kind.__module__ == SightlineError.__module__}
    assert len(kinds) > 10
    assert {kind.__name__ for kind in kinds if kind.status not in grpc_status._STATUS} == set()


def test_many_streams_share_one_call_each_in_its_own_order() -> None:
    async def scenario(replica: Replica, channel: grpc.aio.Channel) -> None:
        streams = [await replica.stream() for _ in range(5)]
        call = Call(channel)
        for seq in range(8):
            for stream_id in streams:
                await call.until(lambda: call.credit(stream_id) > seq or seq == 0)  # noqa: B023  awaited at once
                await call.send(stream_id, seq)
        for stream_id in streams:
            await call.until(lambda: len(call.results(stream_id)) == 8)  # noqa: B023  awaited at once
            assert call.seqs(stream_id) == list(range(8))
            assert max(m.ack.seq for m in call.told if m.stream_id == stream_id) == 7
            sent = [from_message(result) for result in call.results(stream_id)]
            assert sent == replica.host.bodies(stream_id)
        await call.rpc.done_writing()
        assert (await call.ending())[0] is grpc.StatusCode.OK

    run(scenario)


def test_half_closing_waits_for_the_ends_of_what_was_sent() -> None:
    async def scenario(replica: Replica, channel: grpc.aio.Channel) -> None:
        stream_id = await replica.stream()
        replica.host.is_slow = True
        call = Call(channel)
        for seq in range(3):
            await call.send(stream_id, seq)
        await call.rpc.done_writing()
        await captured(replica.host, stream_id, 2)
        replica.host.answer(stream_id)
        assert (await call.ending())[0] is grpc.StatusCode.OK
        assert call.seqs(stream_id) == [0, 1, 2]

    run(scenario)


def test_an_unknown_stream_and_a_bad_token_cost_only_themselves() -> None:
    async def scenario(replica: Replica, channel: grpc.aio.Channel) -> None:
        good, other = await replica.stream(), await replica.stream()
        expired = make_token(stream_id=other, seq=0, secret=SECRET, now_s=0)
        call = Call(channel)
        await call.send(good, 0)
        await call.send("f" * 32, 5)
        await call.send(other, 6, resume_token=expired)
        await call.send("", 7)
        await call.until(lambda: len(call.results("f" * 32) + call.results(other) + call.results("")) == 3)
        await call.send(good, 1)
        await call.until(lambda: call.seqs(good) == [0, 1])
        refused = [*call.results("f" * 32), *call.results(other), *call.results("")]
        assert [(end.seq, end.reason, end.event_id) for end in refused] == [
            (5, "not_found", ""),
            (6, "invalid_parameter", ""),
            (7, "invalid_parameter", ""),
        ]
        assert (await replica.host.show(other)).last_seq == -1

    run(scenario)


def test_a_stream_opens_without_a_frame_and_tells_its_credits() -> None:
    async def scenario(replica: Replica, channel: grpc.aio.Channel) -> None:
        stream_id = await replica.stream()
        call = Call(channel)
        await call.greet(stream_id)
        assert [message.credit.frames for message in call.told] == [4]
        assert (await replica.host.show(stream_id)).last_seq == -1

    run(scenario)


def test_a_token_says_where_reading_begins() -> None:
    async def scenario(replica: Replica, channel: grpc.aio.Channel) -> None:
        stream_id = await replica.stream()
        first = Call(channel)
        for seq in range(4):
            await first.send(stream_id, seq)
        await first.until(lambda: len(first.results(stream_id)) == 4)
        second = Call(channel)
        await second.greet(stream_id, resume_token=await replica.tokens.make(stream_id, seq=1))
        await second.until(lambda: len(second.results(stream_id)) == 2)
        assert second.seqs(stream_id) == [2, 3]

    run(scenario)


def test_no_more_streams_than_a_call_may_carry() -> None:
    async def scenario(replica: Replica, channel: grpc.aio.Channel) -> None:
        streams = [await replica.stream() for _ in range(4)]
        call = Call(channel)
        for stream_id in streams:
            await call.send(stream_id, 0)
        for stream_id in streams:
            await call.until(lambda: bool(call.results(stream_id)))  # noqa: B023  awaited at once
        assert [call.results(stream_id)[0].reason for stream_id in streams] == ["", "", "", "overloaded"]

    run(scenario, limits=CallLimits(streams=3))


def test_a_message_of_nine_mebibytes_ends_the_call_and_nothing_else() -> None:
    async def scenario(replica: Replica, channel: grpc.aio.Channel) -> None:
        stream_id, other = await replica.stream(), await replica.stream()
        call, neighbour = Call(channel), Call(channel)
        await call.greet(stream_id)
        await neighbour.greet(other)
        await call.send(stream_id, 0, data=b"x" * (9 * 1024**2))
        code, words = await call.ending()
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert not INTERNALS.search(words)
        await neighbour.send(other, 0, data=b"x" * (8 * 1024**2))
        await neighbour.until(lambda: neighbour.seqs(other) == [0])
        assert (await replica.host.show(stream_id)).last_seq == -1

    run(scenario)


def test_a_sender_that_knows_no_bounds_loses_its_stream_and_the_others_go_on() -> None:
    async def scenario(replica: Replica, channel: grpc.aio.Channel) -> None:
        wild, calm = await replica.stream(), await replica.stream()
        replica.host.is_slow = True
        call = Call(channel)
        await call.greet(wild)
        for seq in range(4 + QUICK.sender.surplus_frames + 1):
            await call.send(wild, seq, data=b"x" * 1000)
        await call.until(lambda: bool(call.results(wild)))
        assert call.results(wild)[-1].reason == "overloaded"
        replica.host.is_slow = False
        await call.send(calm, 0)
        await call.until(lambda: call.seqs(calm) == [0])
        assert replica.budget.held == 0

    run(scenario)


def test_an_owner_that_dies_costs_one_stream_time_and_no_frame() -> None:
    async def scenario(replica: Replica, channel: grpc.aio.Channel) -> None:
        stream_id = await replica.stream()
        replica.host.is_slow = True
        call = Call(channel)
        for seq in range(4):
            await call.send(stream_id, seq)
        await captured(replica.host, stream_id, 3)
        replica.host.die()
        await soon(lambda: len(replica.host.offers) >= 3)
        replica.host.is_slow, replica.host.is_dead = False, False
        await call.until(lambda: len(call.results(stream_id)) == 4)
        assert call.seqs(stream_id) == [0, 1, 2, 3]
        assert (await replica.host.show(stream_id)).summary.captured == 4

    run(scenario)


def test_a_deploy_ends_the_call_with_a_token_for_each_stream_and_no_frame_is_lost_or_told_twice() -> None:
    async def inside() -> None:
        host = FakeHost()
        old, new = Replica(host=host), Replica(host=host)
        async with calling(old) as channel, calling(new) as elsewhere:
            streams = [await old.stream(), await old.stream()]
            call = Call(channel)
            for stream_id in streams:
                await call.send(stream_id, 0)
            await call.until(lambda: all(map(call.seqs, streams)))
            host.is_slow = True
            for stream_id in streams:
                await call.send(stream_id, 1)
                await captured(host, stream_id, 1)
            old.draining.set()
            await call.until(lambda: sum(m.HasField("go_away") for m in call.told) == 2)
            host.is_slow = False
            for stream_id in streams:
                host.answer(stream_id)
            code, words = await call.ending()
            assert code is grpc.StatusCode.UNAVAILABLE
            assert "resume" in words
            assert [call.seqs(stream_id) for stream_id in streams] == [[0, 1], [0, 1]]
            again = Call(elsewhere)
            for stream_id in streams:
                (*_, last) = [m.go_away for m in call.told if m.stream_id == stream_id and m.HasField("go_away")]
                await again.send(stream_id, 2, resume_token=last.resume_token)
            await again.until(lambda: all(map(again.seqs, streams)))
            assert [again.seqs(stream_id) for stream_id in streams] == [[2], [2]]

    asyncio.run(inside())
