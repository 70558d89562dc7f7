"""What a WebSocket does with bad input, and with clients that are slow, silent or gone."""

import asyncio
import json
import signal
import subprocess
import sys
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from app.api.resume import make_token
from app.api.sent_frame import MAX_FRAME_BYTES
from app.api.stream_pump import Start, StreamPump
from app.contract.vision_pb2 import VideoFrame
from app.core.errors import OverloadedError
from app.core.wire import WireEvent
from app.media.still import decode_still
from load_tests.camfarm import encode_jpeg
from tests.api.fake_host import FakeHost
from tests.api.live_wire import SECRET, WITHIN_S, Client, DeadWire, Replica, client, run, soon
from tests.builders import make_encoded, make_rgb


@pytest.mark.parametrize(
    "query",
    ["?resume=v1.forged.token", "?since=x", "?since=9223372036854775808", "?since=-2", "?resume="],
)
def test_a_bad_token_or_place_is_refused_by_policy(query: str) -> None:
    async def inside() -> None:
        async with Replica(host=FakeHost()).serving() as replica:
            async with client(replica.url, await replica.stream(), query) as there:
                code, reason = await there.ending()
            assert code == 1008
            assert str(reason).startswith("invalid_parameter: ")

    asyncio.run(inside())


def test_unknown_foreign_forged_and_expired_are_all_the_same_policy() -> None:
    async def inside() -> None:
        async with Replica(host=FakeHost()).serving() as replica:
            mine, theirs = await replica.stream(), await replica.stream()
            foreign = await replica.tokens.make(theirs, seq=1)
            expired = make_token(stream_id=mine, seq=1, secret=SECRET, now_s=1000)
            forged = make_token(stream_id=mine, seq=1, secret=b"guessed", now_s=2e9)
            reasons = set()
            for token in (foreign, expired, forged):
                async with client(replica.url, mine, f"?resume={token}") as there:
                    code, reason = await there.ending()
                    assert code == 1008
                    reasons.add(reason)
            assert len(reasons) == 1
            async with client(replica.url, "f" * 32) as there:
                assert await there.ending() == (1008, "not_found: there is no such stream")

    asyncio.run(inside())


def test_another_stream_s_id_in_a_frame_ends_the_connection_and_captures_nothing() -> None:
    async def scenario(replica: Replica, _stream_id: str, there: Client) -> None:
        theirs = await replica.stream()
        await there.send(0, stream_id=theirs)
        code, reason = await there.ending()
        assert code == 1008
        assert theirs not in str(reason)
        assert replica.host.offers == []

    run(scenario)


@pytest.mark.parametrize(
    ("message", "code"),
    [("text", 1003), (b"\xff\xff\xff\xff", 1007), (b"\x00" * (MAX_FRAME_BYTES + 1024**2), 1009)],
)
def test_a_message_that_is_no_frame_ends_the_connection(message: str | bytes, code: int) -> None:
    async def scenario(replica: Replica, _stream_id: str, there: Client) -> None:
        await there.socket.send(message)
        assert (await there.ending())[0] == code
        assert replica.host.offers == []

    run(scenario)


def test_a_frame_of_eight_mebibytes_goes_through() -> None:
    async def scenario(replica: Replica, _stream_id: str, there: Client) -> None:
        await there.send(0, data=b"x" * MAX_FRAME_BYTES)
        await there.results(0)
        assert len(replica.host.offers[0][0].data) == MAX_FRAME_BYTES

    run(scenario)


@pytest.mark.parametrize(
    "fields",
    [
        {"seq": 2**63},
        {"metadata": {"key": "v" * 5000}},
        {"metadata": {str(index): "" for index in range(40)}},
        {"dropped": "bored"},
        {"base_seq": 65_536},
        {"base_seq": 1, "delta_offset": 40_000},
        {"captured_at": Timestamp(seconds=10**15)},
        {"captured_at": Timestamp(nanos=-1)},
    ],
)
def test_a_frame_that_cannot_be_captured_is_refused_and_the_stream_goes_on(fields: dict[str, Any]) -> None:
    async def scenario(replica: Replica, stream_id: str, there: Client) -> None:
        await there.socket.send(VideoFrame(data=b"x", **fields).SerializeToString())
        (refused,) = [await there.read()]
        assert (refused["status"], refused["reason"], refused["event_id"]) == ("error", "invalid_parameter", "")
        await there.send(0)
        await there.until(lambda: there.credit == 6)  # both credits are back
        assert (await replica.host.show(stream_id)).summary.captured == 1

    run(scenario)


def test_a_sender_of_nothing_but_refused_frames_is_cut_off() -> None:
    async def inside() -> None:
        replica = Replica(host=FakeHost())
        pump = StreamPump(await replica.stream(), replica.ports, start=Start())
        bad = VideoFrame(data=b"x", dropped="bored")
        for _ in range(64):
            pump.take(bad)
        with pytest.raises(OverloadedError):
            pump.take(bad)
        await pump.close()

    asyncio.run(inside())


def test_an_empty_message_is_a_sign_of_life_and_no_frame() -> None:
    async def scenario(replica: Replica, stream_id: str, there: Client) -> None:
        await there.socket.send(b"")
        await there.socket.send(VideoFrame(stream_id=stream_id).SerializeToString())
        await there.send(0)
        await there.results(0)
        assert (await replica.host.show(stream_id)).summary.captured == 1

    run(scenario)


def test_the_bytes_decide_and_not_the_hint() -> None:
    def judge(data: bytes | memoryview) -> None:
        decode_still(make_encoded(bytes(data)), model_width_px=64, model_height_px=64)

    jpeg = encode_jpeg(make_rgb(), quality=80)
    access_unit = bytes.fromhex("0000000167640028acd9405005bb011000000300100000030320f183196000000001")

    async def scenario(_replica: Replica, _stream_id: str, there: Client) -> None:
        await there.send(0, data=jpeg, codec_hint="h264")
        await there.send(1, data=access_unit, codec_hint="jpeg")
        await there.send(2, data=access_unit, codec_hint="h264")
        await there.send(3, data=jpeg[:40], codec_hint="jpeg")
        ends = await there.results(0, 1, 2, 3)
        assert [end.get("reason") for end in ends] == [None, "unsupported_media", "unsupported_media", "undecodable"]

    run(scenario, host=FakeHost(judge=judge))


def test_a_frame_that_its_camera_dropped_is_accounted_for() -> None:
    async def scenario(replica: Replica, stream_id: str, there: Client) -> None:
        await there.send(0, data=b"", dropped="sampled")
        (end,) = await there.results(0)
        assert (end["status"], end["reason"]) == ("dropped", "sampled")
        assert (await replica.host.show(stream_id)).summary.dropped == {"sampled": 1}

    run(scenario)


def test_an_internal_fault_says_nothing_of_the_inside_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(FakeHost):
        async def offer(self, stream_id: str, frames: Any, **options: Any) -> Any:
            if frames[0].seq == 13:
                raise RuntimeError("secret")
            return await super().offer(stream_id, frames, **options)

    async def scenario(replica: Replica, _stream_id: str, there: Client) -> None:
        async with client(replica.url, await replica.stream()) as other:
            await there.send(13)
            assert await there.ending() == (1011, "internal: an internal fault; the log has the request id")
            await other.send(0)
            await other.results(0)

    run(scenario, host=Broken())
    assert "secret" in caplog.text


def test_a_client_that_never_reads_is_cut_off_and_what_it_holds_is_freed() -> None:
    async def scenario(replica: Replica, stream_id: str, there: Client) -> None:
        there.socket.transport.pause_reading()
        replica.host.is_slow = True
        await there.send(0, data=b"x" * 1000)
        await soon(lambda: replica.budget.held > 0)
        body = json.dumps({"schema": "sightline.v1.FrameResult", "detail": "x" * 100_000}).encode()
        big = WireEvent(event_id="", kind="StreamState", seq=-1, body=body)
        replica.host.tell(stream_id, *[big] * 200)
        async with asyncio.timeout(WITHIN_S):
            replica.ended.put_nowait(await replica.ended.get())
        assert replica.budget.held == 0

    run(scenario, stalled_s=0.3)


def test_a_client_that_reads_slowly_holds_up_only_itself() -> None:
    async def scenario(replica: Replica, stream_id: str, there: Client) -> None:
        there.socket.transport.pause_reading()
        async with client(replica.url, stream_id) as quick:
            for seq in range(40):
                await quick.until(lambda: quick.credit > seq)  # noqa: B023  awaited at once
                await quick.send(seq)
            await quick.results(39)
        there.socket.transport.resume_reading()
        assert [result["seq"] for result in await there.results(39)] == list(range(40))

    run(scenario)


def test_a_connection_whose_wire_went_dead_is_given_up() -> None:
    async def inside() -> None:
        replica = Replica(host=FakeHost())
        async with replica.serving(ws_ping_interval=0.5, ws_ping_timeout=0.5):
            stream_id = await replica.stream()
            replica.host.is_slow = True
            wire = DeadWire(int(replica.url.rsplit(":", 1)[1]))
            async with wire.laid() as port, client(f"ws://127.0.0.1:{port}", stream_id) as there:
                await there.send(0)
                await soon(lambda: replica.budget.held > 0)
                wire.cut()
                async with asyncio.timeout(WITHIN_S):
                    await replica.ended.get()
                assert replica.budget.held == 0
                there.socket.transport.abort()

    asyncio.run(inside())


DYING = """
import sys
from websockets.sync.client import connect
from app.contract.vision_pb2 import VideoFrame
with connect(sys.argv[1]) as socket:
    socket.recv()
    socket.send(VideoFrame(seq=0, data=b"x" * 1000).SerializeToString())
    print("sent", flush=True)
    socket.recv()
"""


def test_a_client_that_is_killed_leaves_nothing_behind() -> None:
    async def inside() -> None:
        async with Replica(host=FakeHost()).serving() as replica:
            replica.host.is_slow = True
            url = f"{replica.url}/v1/streams/{await replica.stream()}/ws"
            dying = await asyncio.create_subprocess_exec(sys.executable, "-c", DYING, url, stdout=subprocess.PIPE)
            assert dying.stdout is not None
            assert await dying.stdout.readline() == b"sent\n"
            await soon(lambda: replica.budget.held > 0)
            dying.send_signal(signal.SIGKILL)
            await dying.communicate()
            async with asyncio.timeout(WITHIN_S):
                await replica.ended.get()
            assert replica.budget.held == 0

    asyncio.run(inside())
