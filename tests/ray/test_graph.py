"""The graph on a real local cluster: what no test with direct calls can see."""

import asyncio
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from load_tests.camfarm import Camera, Scene, encode_jpeg, render
from load_tests.camfarm.video import write_mp4
from load_tests.service import Service

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]
JPEG = {"content-type": "image/jpeg"}
MP4 = {"content-type": "video/mp4"}
STREET = Camera(width_px=640, height_px=360, fps=10.0, stream=3)
STAGES = ("Ingress", "Decoder", "Preprocessor", "Detector", "Tracker")


@pytest.fixture(scope="session")
def photo() -> bytes:
    camera = Camera(width_px=1280, height_px=720, fps=10.0, stream=1)
    return encode_jpeg(next(iter(render(Scene(seed=21), camera, frames=1))).rgb, quality=90)


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path: Path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    write_mp4(path, render(Scene(seed=22), Camera(width_px=640, height_px=360, fps=15.0, stream=2), frames=60), 15.0)
    return path.read_bytes()


def replicas(service: Service, stage: str) -> list[int]:
    return [
        pid for pid, title in service.processes().items() if title.startswith(f"ray::ServeReplica:sightline:{stage}")
    ]


def post(service: Service, url: str, content: bytes, headers: dict[str, str]) -> httpx.Response:
    return httpx.post(f"{service.url}{url}", content=content, headers=headers, timeout=60)


def lines(response: httpx.Response) -> list[dict[str, Any]]:
    return [json.loads(line) for line in response.text.splitlines()]


def objects(response: httpx.Response) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = response.json()["objects"]
    return found


def test_every_stage_is_a_process_of_its_own(staged: Service) -> None:
    assert all(len(replicas(staged, stage)) == 1 for stage in STAGES)


def test_an_image_goes_the_whole_way(staged: Service, photo: bytes) -> None:
    response = post(staged, "/v1/detections", photo, JPEG)
    assert response.status_code == 200
    assert len(objects(response)) >= 3
    assert response.json()["timings"]["inference_s"] > 0


def test_both_layouts_see_the_same(staged: Service, colocated: Service, photo: bytes) -> None:
    ours, theirs = (objects(post(service, "/v1/detections", photo, JPEG)) for service in (staged, colocated))
    assert [found["label"] for found in ours] == [found["label"] for found in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        assert mine["box"] == pytest.approx(other["box"], abs=1.0)


def test_a_video_is_tracked_and_every_frame_is_accounted_for(staged: Service, clip: bytes) -> None:
    *frames, summary = lines(post(staged, "/v1/videos", clip, MP4))
    assert [frame["seq"] for frame in frames] == list(range(60))
    assert (summary["captured"], summary["answered"], summary["in_flight"]) == (60, 60, 0)
    lives = Counter(found["track_id"] for frame in frames for found in frame["objects"] if "track_id" in found)
    assert max(lives.values()) >= 45  # one object is followed through three of the four seconds
    assert frames[30]["pts_s"] == pytest.approx(2.0)


def test_both_layouts_track_the_same(staged: Service, colocated: Service, clip: bytes) -> None:
    counts = []
    for service in (staged, colocated):
        *frames, _ = lines(post(service, "/v1/videos", clip, MP4))
        counts.append([len(frame["objects"]) for frame in frames])
    assert counts[0] == counts[1]


def test_target_fps_answers_the_frames_that_are_due_and_counts_the_others(staged: Service, clip: bytes) -> None:
    *frames, summary = lines(post(staged, "/v1/videos?mode=target_fps&fps=5", clip, MP4))
    assert len(frames) == 60
    assert summary["answered"] == 20
    assert summary["dropped"] == {"sampled": 40}


def test_a_broken_image_is_a_422_from_the_decoder_s_process(staged: Service, photo: bytes) -> None:
    response = post(staged, "/v1/detections", photo[: len(photo) // 2], JPEG)
    assert response.status_code == 422
    assert response.json()["code"] == "undecodable"
    assert "Error" not in response.json()["detail"]


def test_many_videos_and_images_at_once_all_come_to_their_end(staged: Service, clip: bytes, photo: bytes) -> None:
    """Concurrent calls with a session from one request would hang (facts/ray-serve.md, finding 1)."""

    async def scenario() -> tuple[list[dict[str, Any]], set[int]]:
        async with httpx.AsyncClient(
            base_url=staged.url, timeout=120, limits=httpx.Limits(max_connections=40)
        ) as client:
            videos = [client.post("/v1/videos", content=clip, headers=MP4) for _ in range(6)]
            images = [client.post("/v1/detections", content=photo, headers=JPEG) for _ in range(30)]
            answers = await asyncio.gather(*videos, *images)
        return [lines(answer)[-1] for answer in answers[:6]], {answer.status_code for answer in answers[6:]}

    summaries, statuses = asyncio.run(scenario())
    assert [summary["answered"] for summary in summaries] == [60] * 6
    assert statuses == {200}


def test_more_than_the_queue_holds_is_refused_and_nobody_is_lost(staged: Service, photo: bytes) -> None:
    async def scenario() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=300)
        async with httpx.AsyncClient(base_url=staged.url, timeout=120, limits=limits) as client:
            return await asyncio.gather(
                *(client.post("/v1/detections", content=photo, headers=JPEG) for _ in range(250))
            )

    answers = asyncio.run(scenario())
    statuses = Counter(answer.status_code for answer in answers)
    assert set(statuses) == {200, 503}
    refused = [answer for answer in answers if answer.status_code == 503]
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert all(answer.headers["content-type"] == "application/problem+json" for answer in refused)


async def killed_half_way(service: Service, clip: bytes, stage: str) -> list[dict[str, Any]]:
    """The second half of the upload waits for the kill: the video cannot end before it. httpx cannot do that."""
    reader, writer = await asyncio.open_connection(service.host, service.port)
    head = f"POST /v1/videos HTTP/1.1\r\nhost: {service.host}\r\ncontent-type: video/mp4\r\nconnection: close\r\n"
    writer.write(f"{head}content-length: {len(clip)}\r\n\r\n".encode() + clip[: len(clip) // 2])
    assert b" 200 " in await reader.readline()
    await reader.readuntil(b"\r\n\r\n")
    text = b""
    is_killed = False
    while size := int(await reader.readline(), 16):
        text += await reader.readexactly(size)
        await reader.readline()
        if not is_killed:
            for pid in replicas(service, stage):
                os.kill(pid, signal.SIGKILL)
            writer.write(clip[len(clip) // 2 :])
            is_killed = True
    writer.close()
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("stage", ["Detector", "Preprocessor", "Tracker"])
def test_a_killed_stage_costs_the_frames_in_it_an_error_each_and_a_killed_tracker_an_epoch(
    staged: Service, clip: bytes, photo: bytes, stage: str
) -> None:
    *frames, summary = asyncio.run(killed_half_way(staged, clip, stage))
    assert [frame["seq"] for frame in frames] == list(range(len(frames)))
    assert len(frames) == summary["captured"] == 60
    errors = Counter(frame["reason"] for frame in frames if frame["status"] == "error")
    assert summary["errors"] == dict(errors)
    assert set(errors) <= ({"unavailable"} if stage != "Tracker" else set())
    assert summary["answered"] + sum(errors.values()) == 60
    ids = [(frame["epoch"], found["track_id"]) for frame in frames for found in frame["objects"] if "track_id" in found]
    assert len({frame["epoch"] for frame in frames}) == 1 + (stage == "Tracker")
    assert len({track_id for _, track_id in ids}) == len(set(ids))  # no identity came again in another epoch
    _wait_until_ready(staged, photo)


def test_a_killed_decoder_ends_the_video_with_a_reason_and_the_service_recovers(
    staged: Service, clip: bytes, photo: bytes
) -> None:
    *frames, summary = asyncio.run(killed_half_way(staged, clip, "Decoder"))
    assert summary["reason"] in {"unavailable", "not_found"}
    assert summary["captured"] == len(frames)
    assert summary["in_flight"] == 0
    _wait_until_ready(staged, photo)


def _wait_until_ready(service: Service, photo: bytes) -> None:
    deadline_s = time.monotonic() + 90
    while post(service, "/v1/detections", photo, JPEG).status_code != 200:
        assert time.monotonic() < deadline_s, "the service did not recover"
        time.sleep(1)


LINES = [
    {"name": "along", "start": [0.0, 0.6], "end": [1.0, 0.6]},
    {"name": "across", "start": [0.5, 0], "end": [0.5, 1]},
]
START = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.fixture(scope="module")
def shots() -> list[bytes]:
    return [encode_jpeg(shot.rgb, quality=85) for shot in render(Scene(seed=23), STREET, frames=40)]


def told(service: Service, shots: list[bytes], *, kill: str | None = None) -> list[dict[str, Any]]:
    """Everything that is told of the frames, pushed one by one; a frame without an answer is sent again."""
    with httpx.Client(base_url=service.url, timeout=60) as client:
        stream = f"/v1/streams/{client.post('/v1/streams', json={'lines': LINES}).json()['stream_id']}"
        deadline_s = time.monotonic() + 120
        for seq, shot in enumerate(shots):
            for pid in replicas(service, kill) if kill and seq == 15 else ():
                os.kill(pid, signal.SIGKILL)
            at = (START + timedelta(seconds=seq / 10)).isoformat()
            while not is_answered(client, stream, shot, {"seq": str(seq), "captured_at": at}):
                assert time.monotonic() < deadline_s, "the stream did not recover"
                time.sleep(0.2)
        with client.stream("GET", f"{stream}/events") as response:
            events = [json.loads(line) for line in lines_until(response, seq=len(shots) - 1)]
        account = client.delete(stream).json()
    assert (account["captured"], account["answered"], account["in_flight"]) == (len(shots), len(shots), 0)
    for event in events:
        event.pop("timings", None)
        event["event_id"] = event["event_id"].removeprefix(event.pop("stream_id"))
    return [event for event in events if event["schema"] != "sightline.v1.StreamState"]


def alike(value: Any, other: Any) -> bool:
    """Whether two answers say the same; numbers may differ in the last place told, as they do in another batch."""
    if isinstance(value, float) and isinstance(other, float):
        return value == pytest.approx(other, rel=0, abs=0.011 if value > 1 else 2e-4)
    if isinstance(value, dict) and isinstance(other, dict):
        return value.keys() == other.keys() and all(alike(value[key], other[key]) for key in value)
    if isinstance(value, list) and isinstance(other, list):
        return len(value) == len(other) and all(map(alike, value, other))
    return bool(value == other)


def test_what_differs_in_more_than_the_last_place_is_not_alike() -> None:
    said = [{"seq": 1, "objects": [{"score": 0.3751, "box": [50.77, 0.0], "track_id": 6}]}]
    assert alike(said, [{"seq": 1, "objects": [{"score": 0.3752, "box": [50.78, 0.0], "track_id": 6}]}])
    for other in (
        {"seq": 1, "objects": [{"score": 0.3761, "box": [50.77, 0.0], "track_id": 6}]},
        {"seq": 1, "objects": [{"score": 0.3751, "box": [50.87, 0.0], "track_id": 6}]},
        {"seq": 1, "objects": [{"score": 0.3751, "box": [50.77, 0.0], "track_id": 7}]},
        {"seq": 1, "objects": [{"score": 0.3751, "box": [50.77, 0.0]}]},
        {"seq": 2, "objects": [{"score": 0.3751, "box": [50.77, 0.0], "track_id": 6}]},
        {"seq": 1, "objects": []},
    ):
        assert not alike(said, [other])


def is_answered(client: httpx.Client, stream: str, shot: bytes, query: dict[str, str]) -> bool:
    try:
        response = client.post(f"{stream}/frames", params=query, content=shot, headers=JPEG)
    except httpx.TransportError:  # the ingress died with the request in it
        return False
    assert response.status_code in {200, 503, 500}, response.text
    return response.status_code == 200


def lines_until(response: httpx.Response, *, seq: int) -> Iterator[str]:
    for line in response.iter_lines():
        yield line
        event = json.loads(line)
        if event["schema"] == "sightline.v1.FrameResult" and event["seq"] == seq:
            return


@pytest.fixture(scope="module")
def undisturbed(colocated: Service, shots: list[bytes]) -> list[dict[str, Any]]:
    return told(colocated, shots)


def test_a_live_stream_is_told_alike_in_both_layouts(
    staged: Service, undisturbed: list[dict[str, Any]], shots: list[bytes]
) -> None:
    results = [event for event in undisturbed if event["schema"] == "sightline.v1.FrameResult"]
    assert [result["seq"] for result in results] == list(range(len(shots)))
    assert len({found["track_id"] for result in results for found in result["objects"] if "track_id" in found}) >= 3
    assert any(event["schema"] == "sightline.v1.LineCrossed" for event in undisturbed)
    assert alike(told(staged, shots), undisturbed)


@pytest.mark.parametrize("stage", ["Tracker", "Detector", "Preprocessor", "Decoder", "Ingress"])
def test_a_killed_replica_changes_nothing_that_is_told_of_a_live_stream(
    staged: Service, undisturbed: list[dict[str, Any]], shots: list[bytes], photo: bytes, stage: str
) -> None:
    assert alike(told(staged, shots, kill=stage), undisturbed)
    _wait_until_ready(staged, photo)
