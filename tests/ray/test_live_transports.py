"""Live streams over every transport, on the real service: through kills of their owner and door, and a redeployment."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
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

from app.api.grpc_service import NAME
from app.client import AsyncSightline, SessionLimits
from app.client.reading import told
from app.contract import vision_pb2
from app.core.result import Event, FrameResult, Summary
from load_tests.camfarm import Camera, Scene, encode_jpeg, render
from load_tests.service import Service
from tests.ray.live_clients import GrpcSender, HttpCaller, untyped

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


def seen(results: Iterable[FrameResult | vision_pb2.FrameResult]) -> Seen:
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
    over_grpc: list[list[vision_pb2.FrameResult]]
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
            over_grpc=[lane.told for lane in sender.lanes.values()],
            accounts=[account(summary) for summary in summaries],
            cuts=stream.cuts,
            calls_ended=sender.endings,
            refused=sender.refused,
        )


async def events_of(stream: Any) -> list[Event]:
    return [event async for event in stream.events()]


def test_a_websocket_and_a_grpc_call_of_two_streams_tell_what_http_tells(
    staged: Service, shots: list[bytes], pushed: Seen
) -> None:
    run = asyncio.run(streamed(staged, shots, lambda _seq: None))
    assert [frame[0] for frame in pushed] == list(range(len(shots)))
    assert len({found[1] for frame in pushed for found in frame[2] if found[1]}) >= 3
    assert seen(run.over_websocket) == pushed
    assert [seen(results) for results in run.over_grpc] == [pushed, pushed]
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
    assert [seen(results) for results in run.over_grpc] == [pushed, pushed]
    assert run.accounts == [(len(shots), len(shots), 0)] * 3
    is_cut = stage == "Ingress"  # who is connected hears nothing of the owner's death
    assert (run.cuts > 0, len(run.calls_ended) > 0) == (is_cut, is_cut)
    assert run.refused == []
