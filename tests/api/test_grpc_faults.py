"""What the gRPC calls do when clients, owners or the replica itself go, and what the standard services say."""

import asyncio
import contextlib
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from app.api.grpc_call import CallLimits, messages
from app.api.told import Ack, Credit, GoAway
from app.contract import vision_pb2
from app.contract.events import wire
from app.contract.vision_pb2 import FrameResult, VideoFrame
from app.core.errors import UndecodableError
from app.core.frame import FrameRef
from app.core.result import Gap, StreamState
from app.core.wire import WireEvent
from app.pipeline.results import failure
from tests.api.fake_host import FakeHost
from tests.api.live_calls import Call, captured, run
from tests.api.live_wire import Replica, soon
from tests.e2e.wire import INTERNALS

TOKEN = "t"  # noqa: S105


def test_a_call_that_comes_while_the_replica_drains_is_sent_on_at_once() -> None:
    async def scenario(replica: Replica, channel: grpc.aio.Channel) -> None:
        stream_id = await replica.stream()
        await replica.host.offer(stream_id, [])
        replica.draining.set()
        call = Call(channel)
        with contextlib.suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
            await call.send(stream_id, 0)
        assert (await call.ending())[0] is grpc.StatusCode.UNAVAILABLE
        assert replica.host.last_seq(stream_id) + 1 == len(call.results(stream_id))  # captured and told, or neither

    run(scenario)


def test_an_internal_fault_says_nothing_of_the_inside_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(FakeHost):
        async def offer(self, stream_id: str, frames: Any, **options: Any) -> Any:
            if frames[0].seq == 13:
                raise RuntimeError("secret")
            return await super().offer(stream_id, frames, **options)

    async def scenario(replica: Replica, channel: grpc.aio.Channel) -> None:
        broken, good = await replica.stream(), await replica.stream()
        call = Call(channel)
        await call.send(broken, 13)
        await call.until(lambda: bool(call.results(broken)))
        (end,) = call.results(broken)
        assert (end.reason, INTERNALS.search(end.detail)) == ("internal", None)
        await call.send(good, 0)
        await call.until(lambda: call.seqs(good) == [0])

    run(scenario, host=Broken())
    assert "secret" in caplog.text


def test_a_client_that_cancels_leaves_nothing_behind(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(replica: Replica, channel: grpc.aio.Channel) -> None:
        stream_id = await replica.stream()
        replica.host.is_slow = True
        call = Call(channel)
        await call.send(stream_id, 0, data=b"x" * 1000)
        await captured(replica.host, stream_id, 0)
        call.rpc.cancel()
        await soon(lambda: replica.budget.held == 0)

    run(scenario)
    assert caplog.text == ""


def test_a_client_that_never_reads_holds_no_pictures_for_long_and_its_call_ends() -> None:
    async def scenario(replica: Replica, channel: grpc.aio.Channel) -> None:
        stream_id = await replica.stream()
        call = Call(channel)
        await call.greet(stream_id)
        replica.host.is_slow = True
        await call.send(stream_id, 1000, data=b"x" * 1000)
        await captured(replica.host, stream_id, 1000)
        ends = (failure(FrameRef(stream_id=stream_id, seq=seq), UndecodableError("x" * 100_000)) for seq in range(200))
        replica.host.tell(stream_id, *map(wire, ends))
        await soon(lambda: replica.budget.held == 0)
        code, words = await call.ending()
        assert (code, words) == (grpc.StatusCode.UNAVAILABLE, "nothing was read for too long")

    run(scenario, limits=CallLimits(stalled_s=0.3))


def test_a_call_in_which_nothing_happens_is_given_up() -> None:
    async def scenario(replica: Replica, channel: grpc.aio.Channel) -> None:
        call = Call(channel)
        await call.greet(await replica.stream())
        assert (await call.ending())[0] is grpc.StatusCode.UNAVAILABLE

    run(scenario, limits=CallLimits(idle_s=0.2))


def test_events_of_other_kinds_go_with_the_frame_they_stand_before() -> None:
    end = failure(FrameRef(stream_id="s", seq=3), UndecodableError("broken"))
    state = StreamState(stream_id="s", epoch=0, event_id="s:0:state:1", state="idle", attempt=0)
    gap = Gap(stream_id="s", epoch=0, event_id="s:0:gap:2", after_seq=0, next_seq=3, reason="history")
    told: list[WireEvent | Ack | Credit | GoAway] = [
        wire(gap),
        wire(end),
        wire(state),
        Ack(seq=3),
        Credit(frames=1),
        Credit(frames=2),
        GoAway(resume_token=TOKEN, reason="draining", reconnect_after_s=1.0),
    ]
    first, notes = messages("s", told)
    assert (first.seq, [event.WhichOneof("kind") for event in first.events]) == (3, ["gap"])
    assert notes == FrameResult(
        stream_id="s",
        events=[
            vision_pb2.Event(
                stream_state=vision_pb2.StreamState(
                    schema="sightline.v1.StreamState", stream_id="s", epoch=0, event_id="s:0:state:1", state="idle"
                )
            )
        ],
        ack=vision_pb2.Ack(seq=3),
        credit=vision_pb2.Credit(frames=3),
        go_away=vision_pb2.GoAway(resume_token=TOKEN, reason="draining", reconnect_after_s=1.0),
    )
    (together,) = messages("s", [wire(end), Ack(seq=3)])
    assert (together.seq, together.ack.seq) == (3, 3)
    assert messages("s", [wire(end)]) == [first.__class__.FromString(_without_events(first))]


def _without_events(result: FrameResult) -> bytes:
    copy = FrameResult()
    copy.CopyFrom(result)
    copy.ClearField("events")
    return copy.SerializeToString()


def test_the_health_service_follows_the_draining() -> None:
    async def scenario(replica: Replica, channel: grpc.aio.Channel) -> None:
        stub = health_pb2_grpc.HealthStub(channel)
        ask = health_pb2.HealthCheckRequest(service="sightline.v1.VideoAnalytics")
        assert (await stub.Check(ask)).status == health_pb2.HealthCheckResponse.SERVING
        assert (await stub.Check(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Check(health_pb2.HealthCheckRequest(service="other"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        watch = stub.Watch(ask)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        replica.draining.set()
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert (await stub.Check(ask)).status == health_pb2.HealthCheckResponse.NOT_SERVING

    run(scenario)


def test_reflection_names_the_service_and_its_methods() -> None:
    async def scenario(_replica: Replica, channel: grpc.aio.Channel) -> None:
        asked = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
        await asked.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        listed = await asked.read()
        assert "sightline.v1.VideoAnalytics" in [one.name for one in listed.list_services_response.service]
        await asked.write(reflection_pb2.ServerReflectionRequest(file_containing_symbol="sightline.v1.VideoAnalytics"))
        assert (await asked.read()).file_descriptor_response.file_descriptor_proto
        await asked.done_writing()

    run(scenario)


def test_a_message_without_anything_is_refused_by_name() -> None:
    async def scenario(_replica: Replica, channel: grpc.aio.Channel) -> None:
        call = Call(channel)
        await call.rpc.write(VideoFrame())
        assert (await call.read()).reason == "invalid_parameter"

    run(scenario)
