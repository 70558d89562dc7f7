"""Live streams over every transport, on the real service: through kills of their owner and door, and a redeployment."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import httpx
import pytest
import yaml
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError

from app.api.grpc_service import NAME
from app.client import AsyncSightline, AsyncStream, SessionLimits
from app.client.reading import told
from app.contract.vision_pb2 import FrameResult as FrameEnd
from app.core.result import Event, FrameResult, Summary
from load_tests.camfarm import Camera, Scene, encode_jpeg, render
from load_tests.service import Service
from tests.ray.live_clients import GrpcSender, HttpCaller, Lane, untyped

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]
STREET = Camera(width_px=640, height_px=360, fps=10.0, stream=3)
LINES = [
    {"name": "along", "start": [0.0, 0.6], "end": [1.0, 0.6]},
    {"name": "across", "start": [0.5, 0], "end": [0.5, 1]},
]
START = datetime(2026, 11, 23, tzinfo=UTC)
PACE_S = 0.2
KILL_AT = 15
STAGES = ("Ingress", "Decoder", "Preprocessor", "Detector", "Tracker")
PATIENT = SessionLimits(give_up_s=240.0)
Seen: TypeAlias = list[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class StartedWith:
    """What the service was started with: the file, and the environment of who reads it."""

    config: dict[str, Any]
    environment: dict[str, str]

    @property
    def grpc_address(self) -> str:
        return f"127.0.0.1:{self.config['grpc_options']['port']}"


def started_with(service: Service) -> StartedWith:
    for pid in service.processes():
        command = Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8").split("\0")
        if "run" in command and command[-2].endswith("serve_config.yaml"):
            entries = Path(f"/proc/{pid}/environ").read_text(encoding="utf-8").split("\0")
            environment = dict(entry.partition("=")[::2] for entry in entries if entry)
            return StartedWith(yaml.safe_load(Path(command[-2]).read_text(encoding="utf-8")), environment)
    raise AssertionError("nothing runs `serve run`")


def replicas(service: Service, stage: str) -> set[int]:
    title = f"ray::ServeReplica:sightline:{stage}"
    return {pid for pid, name in service.processes().items() if name.startswith(title)}


def captured_at(seq: int) -> datetime:
    return START + timedelta(seconds=seq / 10)


def seen(results: Iterable[FrameResult | FrameEnd]) -> Seen:
    """Frame by frame what is in it, without the stream's name and the machine's times."""
    return [
        (
            result.seq,
            result.epoch,
            [(found.label, found.track_id or 0, tuple(found.box)) for found in result.objects],
            [(crossing.line, crossing.track_id, crossing.at_s) for crossing in result.crossings],
        )
        for result in results
    ]


def account(summary: Summary) -> tuple[int, int, int]:
    return summary.captured, summary.answered, summary.in_flight


@pytest.fixture(scope="module")
def shots() -> list[bytes]:
    return [encode_jpeg(shot.rgb, quality=85) for shot in render(Scene(seed=23), STREET, frames=40)]


@pytest.fixture(scope="module")
def pushed(staged: Service, shots: list[bytes]) -> Seen:
    """The frames pushed one by one over HTTP."""
    with httpx.Client(base_url=staged.url, timeout=120) as client:
        stream = f"/v1/streams/{client.post('/v1/streams', json={'lines': LINES}).json()['stream_id']}"
        results = []
        for seq, shot in enumerate(shots):
            query = {"seq": str(seq), "captured_at": captured_at(seq).isoformat()}
            answer = client.post(f"{stream}/frames", params=query, content=shot, headers={"content-type": "image/jpeg"})
            result = told(answer.text)
            assert isinstance(result, FrameResult)
            results.append(result)
        client.delete(stream)
    return seen(results)


@dataclass(slots=True, kw_only=True)
class Run:
    """What came of the same frames over a WebSocket and over two streams of one gRPC call."""

    over_websocket: list[FrameResult]
    over_grpc: list[Lane]
    accounts: list[tuple[int, int, int]]
    cuts: int
    calls_ended: list[grpc.StatusCode]
    refused: list[str]


async def streamed(service: Service, shots: list[bytes], disturb: Callable[[int], None]) -> Run:
    """The frames over both transports at a few a second; `disturb` is told each number before it is sent."""
    address = started_with(service).grpc_address
    async with AsyncSightline(service.url, timeout_s=120, limits=PATIENT) as client, GrpcSender(address) as sender:
        stream = await client.open(lines=LINES)
        infos = [await client.create(lines=LINES) for _ in range(2)]
        sender.begin({info.stream_id: info.resume_token or "" for info in infos})
        reading = asyncio.create_task(events_of(stream))
        for seq, shot in enumerate(shots):
            disturb(seq)
            at_s = captured_at(seq).timestamp()
            await stream.send(shot, captured_at=at_s)
            for info in infos:
                sender.send(info.stream_id, seq, data=shot, captured_at_s=at_s)
            await asyncio.sleep(PACE_S)
        async with asyncio.timeout(240):
            await sender.drain()
            summaries = [await stream.finish()]
            summaries += [await client.close_stream(info.stream_id) for info in infos]
            events = await reading
        return Run(
            over_websocket=[event for event in events if isinstance(event, FrameResult)],
            over_grpc=[*sender.lanes.values()],
            accounts=[account(summary) for summary in summaries],
            cuts=stream.cuts,
            calls_ended=sender.endings,
            refused=sender.refused,
        )


async def events_of(stream: AsyncStream) -> list[Event]:
    return [event async for event in stream.events()]


def test_a_websocket_and_a_grpc_call_of_two_streams_tell_what_http_tells(
    staged: Service, shots: list[bytes], pushed: Seen
) -> None:
    run = asyncio.run(streamed(staged, shots, lambda _seq: None))
    assert [frame[0] for frame in pushed] == list(range(len(shots)))
    assert len({found[1] for frame in pushed for found in frame[2] if found[1]}) >= 3
    assert seen(run.over_websocket) == pushed
    assert [(seen(lane.told), lane.doubled) for lane in run.over_grpc] == [(pushed, []), (pushed, [])]
    assert run.accounts == [(len(shots), len(shots), 0)] * 3
    assert (run.cuts, run.calls_ended, run.refused) == (0, [], [])


def test_grpc_says_that_it_serves_and_what(staged: Service) -> None:
    with grpc.insecure_channel(started_with(staged).grpc_address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", NAME):
            answer = health.Check(HealthCheckRequest(service=name), timeout=60)
            assert answer.status == HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as refused:
            health.Check(HealthCheckRequest(service="no.such.Service"), timeout=60)
        assert refused.value.code() == grpc.StatusCode.NOT_FOUND
        described = ProtoReflectionDescriptorDatabase(channel)
        assert {NAME, "grpc.health.v1.Health"} <= set(described.get_services())
        file = described.FindFileContainingSymbol(NAME)
        assert [method.name for method in file.service[0].method] == ["Detect", "StreamingInfer"]


@pytest.mark.parametrize("stage", ["Tracker", "Ingress"])
def test_a_killed_replica_costs_no_frame_of_any_transport_and_none_comes_twice(
    staged: Service, shots: list[bytes], pushed: Seen, stage: str
) -> None:
    def kill(seq: int) -> None:
        for pid in replicas(staged, stage) if seq == KILL_AT else ():
            os.kill(pid, signal.SIGKILL)

    run = asyncio.run(streamed(staged, shots, kill))
    assert seen(run.over_websocket) == pushed
    assert [(seen(lane.told), lane.doubled) for lane in run.over_grpc] == [(pushed, []), (pushed, [])]
    assert run.accounts == [(len(shots), len(shots), 0)] * 3
    is_cut = stage == "Ingress"  # who is connected hears nothing of the owner's death
    assert (run.cuts > 0, len(run.calls_ended) > 0) == (is_cut, is_cut)
    assert run.refused == []


def redeploy(service: Service) -> None:
    """Deploy the application under another setting, which replaces every replica; back once all are new."""
    started, before = started_with(service), {stage: replicas(service, stage) for stage in STAGES}
    (application,) = started.config["applications"]
    application["args"]["service"] = {"ready_s": 5.0 + time.time() % 1}  # another one each time
    folder = Path(started.environment["RAY_AUTH_TOKEN_PATH"]).parent
    changed = folder / "changed.yaml"
    changed.write_text(yaml.safe_dump(started.config), encoding="utf-8")
    command = [str(Path(sys.executable).parent / "serve"), "run", "--non-blocking", str(changed)]
    subprocess.run(command, env=started.environment, cwd=folder, check=True, capture_output=True, timeout=120)
    deadline_s = time.monotonic() + 240
    while any(replicas(service, stage) & before[stage] or not replicas(service, stage) for stage in STAGES):
        assert time.monotonic() < deadline_s, "not every replica was replaced"
        time.sleep(0.5)


@dataclass(slots=True)
class Load:
    """Every kind of caller at once, for as long as `is_on`; `sent` counts the frames of each of the three streams."""

    service: Service
    shots: list[bytes]
    is_on: Callable[[], bool]
    sent: list[int] = field(default_factory=lambda: [0, 0, 0])

    async def paced(self) -> AsyncIterator[tuple[int, bytes, float]]:
        seq = 0
        while self.is_on():
            yield seq, self.shots[seq % len(self.shots)], captured_at(seq).timestamp()
            seq += 1
            await asyncio.sleep(PACE_S)

    async def detect(self, caller: HttpCaller) -> None:
        async for _seq, shot, _at_s in self.paced():
            await caller.post("/v1/detections", shot)

    async def push(self, caller: HttpCaller, stream_id: str) -> None:
        async for seq, shot, _at_s in self.paced():
            query = {"seq": str(seq), "captured_at": captured_at(seq).isoformat()}
            await caller.post(f"/v1/streams/{stream_id}/frames", shot, **query)
            self.sent[0] = seq + 1

    async def send(self, stream: AsyncStream) -> None:
        async for seq, shot, at_s in self.paced():
            await stream.send(shot, captured_at=at_s)
            self.sent[1] = seq + 1

    async def call(self, sender: GrpcSender, stream_id: str) -> None:
        async for seq, shot, at_s in self.paced():
            sender.send(stream_id, seq, data=shot, captured_at_s=at_s)
            self.sent[2] = seq + 1
        await sender.drain()


async def farewell(service: Service, stream_id: str) -> tuple[str, int | None]:
    """The last word that a WebSocket on that stream is told by its replica, and the code that it is closed with."""
    last = ""
    async with connect(f"ws://{service.host}:{service.port}/v1/streams/{stream_id}/ws?since=-1") as socket:
        with contextlib.suppress(ConnectionClosedError):
            async for text in socket:
                last = json.loads(text)["schema"].removeprefix("sightline.v1.")
        return last, socket.close_code


def test_a_redeployment_under_load_costs_no_frame_and_no_caller_an_error_that_is_none_of_ours(
    staged: Service, shots: list[bytes]
) -> None:
    async def scenario() -> None:
        keeping, fresh = httpx.Limits(), httpx.Limits(max_keepalive_connections=0)
        async with (
            httpx.AsyncClient(base_url=staged.url, timeout=120, limits=keeping) as kept,
            httpx.AsyncClient(base_url=staged.url, timeout=120, limits=fresh) as anew,
            AsyncSightline(staged.url, timeout_s=120, limits=PATIENT) as client,
            GrpcSender(started_with(staged).grpc_address) as sender,
        ):
            callers = [HttpCaller(kept), HttpCaller(anew), HttpCaller(kept)]
            stream = await client.open()
            pushed, called = await client.create(), await client.create()
            sender.begin({called.stream_id: called.resume_token or ""})
            redeploying = asyncio.create_task(asyncio.to_thread(redeploy, staged))
            load = Load(staged, shots, lambda: not redeploying.done())
            reading = asyncio.create_task(events_of(stream))
            watching = asyncio.create_task(farewell(staged, pushed.stream_id))
            await asyncio.gather(
                load.detect(callers[0]),
                load.detect(callers[1]),
                load.push(callers[2], pushed.stream_id),
                load.send(stream),
                load.call(sender, called.stream_id),
            )
            await redeploying
            summaries = [await client.close_stream(pushed.stream_id), await stream.finish()]
            summaries.append(await client.close_stream(called.stream_id))
            results = [event for event in await reading if isinstance(event, FrameResult)]
        assert [account(summary) for summary in summaries] == [(sent, sent, 0) for sent in load.sent]
        assert [result.seq for result in results] == list(range(load.sent[1]))
        lane = sender.lanes[called.stream_id]
        assert ([result.seq for result in lane.told], lane.doubled) == (list(range(load.sent[2])), [])
        assert set(sender.farewells) == {called.stream_id}
        assert (stream.cuts >= 1, await watching) == (True, ("GoAway", 1012))
        assert [problem for caller in callers for problem in untyped(caller.refused)] == []
        assert [broken for caller in callers for broken in caller.broken] == []

    asyncio.run(scenario())


def test_what_proxies_say_for_us_is_found_among_the_answers() -> None:
    problem, later = {"content-type": "application/problem+json"}, {"retry-after": "1"}
    ours = httpx.Response(503, headers=problem | later, text="{}")
    others = [httpx.Response(503, headers=later), httpx.Response(503, headers=problem), httpx.Response(500, text="no")]
    assert untyped([ours]) == []
    assert untyped([ours, *others]) == ["503 ", "503 ", "500 no"]


def test_an_event_that_one_call_tells_twice_is_found() -> None:
    lane = Lane("stream", "token")
    ends = [FrameEnd(seq=seq, event_id=f"stream:0:{seq}") for seq in (0, 1)]
    for end in ends:
        lane.note(end)
    lane.begin()
    for end in ends:
        lane.note(end)
    assert lane.doubled == []
    lane.note(ends[0])
    assert ([end.seq for end in lane.told], lane.doubled) == ([0, 1], ["stream:0:0"])
