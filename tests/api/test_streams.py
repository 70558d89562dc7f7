"""Live streams over HTTP: opened, pushed to, read from any point, closed; each frame with one end."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest
import simplejpeg

from app.api.stream_body import StreamBody, shown
from app.core.errors import UnavailableError
from app.core.frame import EncodedFrame
from app.delivery.sinks import Webhook
from app.pipeline.stream_spec import StreamSpec
from tests.api.conftest import Service

Run = Callable[[Callable[[Service], Any]], Any]
JPEG = {"content-type": "image/jpeg"}


async def opened(service: Service, **body: Any) -> str:
    response = await service.post("/v1/streams", json=body)
    assert response.status_code == 201
    stream_id: str = response.json()["stream_id"]
    return stream_id


async def push(service: Service, stream_id: str, query: str = "", *, body: bytes = b"jpeg") -> httpx.Response:
    return await service.post(f"/v1/streams/{stream_id}/frames{query}", content=body, headers=JPEG)


async def events(service: Service, stream_id: str, query: str = "", **headers: str) -> list[dict[str, Any]]:
    response = await service.get(f"/v1/streams/{stream_id}/events{query}", headers=headers)
    assert response.status_code == 200
    found = [json.loads(line) for line in response.text.splitlines()]
    return [event for event in found if event["schema"] != "sightline.v1.StreamState"]


async def closing(service: Service, stream_id: str, *, after_s: float = 0.05) -> dict[str, Any]:
    await asyncio.sleep(after_s)
    async with service.client() as client:
        account: dict[str, Any] = (await client.delete(f"/v1/streams/{stream_id}")).json()
        return account


def test_frames_are_answered_in_order_with_tracks_and_an_account(run: Run) -> None:
    async def scenario(service: Service) -> None:
        stream_id = await opened(service, label="gate")
        ends = [(await push(service, stream_id)).json() for _ in range(3)]
        assert [(end["seq"], end["status"]) for end in ends] == [(0, "result"), (1, "result"), (2, "result")]
        assert all(end["captured_at"] for end in ends)
        shown = (await service.get(f"/v1/streams/{stream_id}")).json()
        assert (shown["label"], shown["captured"], shown["answered"], shown["in_flight"]) == ("gate", 3, 3, 0)
        assert [stream["stream_id"] for stream in (await service.get("/v1/streams")).json()] == [stream_id]

    run(scenario)


def test_a_frame_sent_again_gets_the_end_that_it_had(run: Run) -> None:
    async def scenario(service: Service) -> None:
        stream_id = await opened(service)
        first = await push(service, stream_id, "?seq=7&captured_at=2026-11-23T10:00:00Z")
        again = await push(service, stream_id, "?seq=7")
        assert first.json() == again.json()
        assert first.json()["captured_at"] == "2026-11-23T10:00:00Z"
        before = await push(service, stream_id, "?seq=6")
        assert (before.status_code, before.json()["code"]) == (409, "conflict")
        assert (await service.get(f"/v1/streams/{stream_id}")).json()["captured"] == 1

    run(scenario)


def test_a_frame_sent_again_while_it_is_under_way_gets_the_same_end(run: Run) -> None:
    async def scenario(service: Service) -> None:
        stream_id = await opened(service)
        service.chain.gate.clear()
        both = [asyncio.create_task(push(service, stream_id, "?seq=3")) for _ in range(2)]
        await asyncio.sleep(0.05)
        service.chain.gate.set()
        one, other = await asyncio.gather(*both)
        assert one.json() == other.json()
        assert sum(map(len, service.chain.batches)) == 1

    run(scenario)


def test_a_broken_frame_is_a_typed_error_in_its_own_result(run: Run) -> None:
    async def scenario(service: Service) -> None:
        stream_id = await opened(service)
        broken = await push(service, stream_id, body=b"bad picture")
        assert broken.status_code == 200
        assert (broken.json()["status"], broken.json()["reason"]) == ("error", "undecodable")
        assert (await push(service, stream_id)).json()["status"] == "result"

    run(scenario)


def test_readers_go_on_where_they_stopped(run: Run) -> None:
    async def scenario(service: Service) -> None:
        stream_id = await opened(service)
        for _ in range(4):
            await push(service, stream_id)
        reading = asyncio.create_task(events(service, stream_id, "?since=1"))
        resuming = asyncio.create_task(events(service, stream_id, **{"last-event-id": f"{stream_id}:0:2"}))
        await closing(service, stream_id)
        *results, summary = await reading
        assert [result["seq"] for result in results] == [2, 3]
        assert (summary["captured"], summary["answered"]) == (4, 4)
        assert [result["seq"] for result in (await resuming)[:-1]] == [3]

    run(scenario)


def test_server_sent_events_carry_ids_and_names(run: Run) -> None:
    async def scenario(service: Service) -> None:
        stream_id = await opened(service)
        await push(service, stream_id)
        reading = asyncio.create_task(
            service.get(f"/v1/streams/{stream_id}/events", headers={"accept": "text/event-stream"})
        )
        await closing(service, stream_id)
        response = await reading
        assert response.headers["content-type"].startswith("text/event-stream")
        state, first, last = response.text.strip().split("\n\n")
        assert "event: StreamState" in state
        assert first.startswith(f"id: {stream_id}:0:0\nevent: FrameResult\ndata: {{")
        assert "event: Summary" in last

    run(scenario)


def test_a_reader_behind_the_history_is_told_of_the_gap(run: Run) -> None:
    async def scenario(service: Service) -> None:
        stream_id = await opened(service)
        for _ in range(service.history + 3):
            await push(service, stream_id)
        reading = asyncio.create_task(events(service, stream_id))
        resuming = asyncio.create_task(events(service, stream_id, **{"last-event-id": f"{stream_id}:0:gap:2"}))
        await closing(service, stream_id)
        gap, *results, _summary = await reading
        assert gap["event_id"] == f"{stream_id}:0:gap:2"
        assert (await resuming)[:-1] == results
        assert (gap["schema"], gap["after_seq"], gap["next_seq"]) == ("sightline.v1.Gap", -1, 3)
        assert [result["seq"] for result in results] == list(range(3, service.history + 3))

    run(scenario)


def test_a_flood_is_dropped_with_a_reason_and_latest_keeps_the_newest(run: Run) -> None:
    async def flood(service: Service, mode: str) -> dict[str, Any]:
        stream_id = await opened(service, mode=mode)
        service.chain.gate.clear()
        pushes = [asyncio.create_task(push(service, stream_id, f"?seq={seq}")) for seq in range(60)]
        await asyncio.sleep(0.1)
        service.chain.gate.set()
        ends = [(await task).json() for task in pushes]
        assert [end["seq"] for end in ends] == list(range(60))
        account: dict[str, Any] = (await service.get(f"/v1/streams/{stream_id}")).json()
        assert account["captured"] == 60 == account["answered"] + sum(account["dropped"].values())
        assert ends[-1]["status"] == ("result" if mode == "latest_frame" else "dropped")
        return account

    async def scenario(service: Service) -> None:
        assert set((await flood(service, "every_frame"))["dropped"]) == {"overloaded"}
        assert set((await flood(service, "latest_frame"))["dropped"]) == {"superseded"}

    run(scenario)


def test_a_batch_lost_before_the_tracker_ends_in_its_error_and_the_epoch_goes_on(run: Run) -> None:
    async def scenario(service: Service) -> None:
        stream_id = await opened(service)
        await push(service, stream_id)

        def gone(_frames: list[EncodedFrame]) -> None:
            raise UnavailableError

        service.chain.on_detect = gone
        lost = (await push(service, stream_id)).json()
        assert (lost["status"], lost["reason"], lost["epoch"]) == ("error", "unavailable", 0)
        service.chain.on_detect = lambda _frames: None
        after = (await push(service, stream_id)).json()
        assert (after["status"], after["epoch"], after["seq"]) == ("result", 0, 2)

    run(scenario)


def test_a_part_that_hangs_costs_its_batch_after_a_while(run: Run) -> None:
    async def scenario(service: Service) -> None:
        stream_id = await opened(service)
        service.chain.gate.clear()
        hung = (await push(service, stream_id)).json()
        assert (hung["status"], hung["reason"]) == ("error", "unavailable")
        service.chain.gate.set()
        assert (await push(service, stream_id)).json()["status"] == "result"

    run(scenario)


def test_closing_ends_what_is_under_way(run: Run) -> None:
    async def scenario(service: Service) -> None:
        stream_id = await opened(service)
        service.chain.gate.clear()
        pushing = asyncio.create_task(push(service, stream_id))
        account = await closing(service, stream_id)
        assert account["errors"] == {"unavailable": 1}
        assert account["in_flight"] == 0
        assert (await pushing).json()["reason"] == "unavailable"
        for response in (await push(service, stream_id), await service.get(f"/v1/streams/{stream_id}")):
            assert (response.status_code, response.json()["code"]) == (404, "not_found")
        assert [event["schema"] for event in await events(service, stream_id)][-1] == "sightline.v1.Summary"

    run(scenario)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 422),
        (b'{"speed": 1}', 422),
        (b'{"mode": "some"}', 422),
        (b'{"mode": "target_fps"}', 422),
        (b'{"fps": "NaN", "mode": "target_fps"}', 422),
        (b'{"label": "' + b"x" * 300 + b'"}', 422),
        (b" " * 80_000, 413),
        (b"", 201),
    ],
)
def test_a_wrong_description_opens_nothing(run: Run, body: bytes, status: int) -> None:
    async def scenario(service: Service) -> None:
        response = await service.post("/v1/streams", content=body, headers={"content-type": "application/json"})
        assert response.status_code == status
        assert len((await service.get("/v1/streams")).json()) == (status == 201)

    run(scenario)


@pytest.mark.parametrize(
    "query",
    [
        "?seq=-1",
        "?seq=x",
        f"?seq={2**63}",
        "?captured_at=yesterday",
        "?captured_at=2026-11-23T10:00:00",
        "?captured_at=9999-12-31T23:59:59.9999999Z",
    ],
)
def test_wrong_parameters_capture_nothing(run: Run, query: str) -> None:
    async def scenario(service: Service) -> None:
        stream_id = await opened(service)
        assert (await push(service, stream_id, query)).status_code == 422
        assert (await service.get(f"/v1/streams/{stream_id}")).json()["captured"] == 0

    run(scenario)


@pytest.mark.parametrize("last", ["", "x", "3", "{}:0:-1", "{}:0:summary", "{}:0:" + "9" * 40, "0" * 32 + ":0:3"])
def test_a_forged_event_id_is_refused(run: Run, last: str) -> None:
    async def scenario(service: Service) -> None:
        stream_id = await opened(service)
        response = await service.get(
            f"/v1/streams/{stream_id}/events", headers={"last-event-id": last.format(stream_id)}
        )
        assert (response.status_code, response.json()["code"]) == (422, "invalid_parameter")

    run(scenario)


def test_more_streams_than_may_be_open_are_refused(run: Run) -> None:
    async def scenario(service: Service) -> None:
        for _ in range(service.max_streams):
            await opened(service)
        response = await service.post("/v1/streams")
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")

    run(scenario)


GATE = {"name": "gate", "start": [0.5, 0.0], "end": [0.5, 1.0]}
YARD = {"name": "yard", "polygon": [[0, 0], [1, 0], [1, 1], [0, 1]]}


def test_lines_and_zones_are_counted_and_told_before_their_frame(run: Run) -> None:
    async def scenario(service: Service) -> None:
        stream_id = await opened(service, lines=[GATE], zones=[YARD])
        for tenth in (0, 3, 6, 9):
            answer = await push(service, stream_id, f"?captured_at=2026-11-23T10:00:00.{tenth}Z")
        assert answer.json()["zones"] == {"yard": {"count": 1, "entered": 1, "left": 0}}
        reading = asyncio.create_task(events(service, stream_id, "?since=1"))
        await closing(service, stream_id)
        kinds = [(event["schema"].rsplit(".", 1)[-1], event.get("seq")) for event in await reading]
        assert kinds == [("FrameResult", 2), ("ZoneEntered", 3), ("FrameResult", 3), ("Summary", None)]

    run(scenario)


def test_a_patch_changes_what_it_names_and_keeps_the_rest(run: Run) -> None:
    async def scenario(service: Service) -> None:
        stream_id = await opened(service, label="yard", zones=[YARD], priority=7)
        for tenth in (0, 3, 6, 9):
            await push(service, stream_id, f"?captured_at=2026-11-23T10:00:00.{tenth}Z")
        async with service.client() as client:
            changed = await client.patch(f"/v1/streams/{stream_id}", json={"lines": [GATE], "priority": None})
        assert changed.status_code == 200
        shown = (await service.get(f"/v1/streams/{stream_id}")).json()
        assert shown == changed.json()
        assert (shown["label"], shown["priority"], shown["lines"][0]["name"]) == ("yard", 5, "gate")
        answer = await push(service, stream_id, "?captured_at=2026-11-23T10:00:01.1Z")
        assert answer.json()["zones"]["yard"]["entered"] == 1  # the zone that stayed kept its count

    run(scenario)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"source": "rtsp://camera/1"}, 409),
        ({"speed": 1}, 422),
        ({"mode": "target_fps"}, 422),
        ({"lines": [{**GATE, "end": [0.5, 0.0]}]}, 422),
        ({"lines": [GATE, GATE]}, 422),
        ({"zones": [{**YARD, "polygon": [[0, 0], [1, 1], [1, 0], [0, 1]]}]}, 422),
        ({"priority": 11}, 422),
        ({"classes": ["dragon"]}, 422),
        ([], 422),
    ],
)
def test_a_wrong_patch_changes_nothing(run: Run, change: object, status: int) -> None:
    async def scenario(service: Service) -> None:
        stream_id = await opened(service, classes=["car"])
        before = (await service.get(f"/v1/streams/{stream_id}")).json()
        async with service.client() as client:
            assert (await client.patch(f"/v1/streams/{stream_id}", json=change)).status_code == status
        assert (await service.get(f"/v1/streams/{stream_id}")).json() == before
        assert (await push(service, stream_id)).json()["status"] == "result"

    run(scenario)


def test_a_line_outside_of_the_picture_is_an_error_of_each_frame(run: Run) -> None:
    async def scenario(service: Service) -> None:
        far = {"name": "far", "start": [5000, 0], "end": [5000, 10], "space": "pixels"}
        stream_id = await opened(service, lines=[far])
        ends = [(await push(service, stream_id)).json() for _ in range(2)]
        assert {(end["status"], end["reason"]) for end in ends} == {("error", "invalid_parameter")}

    run(scenario)


def test_the_preview_shows_the_newest_frame_with_everything_drawn(run: Run) -> None:
    picture = np.full((72, 128, 3), 90, dtype=np.uint8)
    jpeg = simplejpeg.encode_jpeg(picture, quality=50)

    async def scenario(service: Service) -> None:
        stream_id = await opened(service, label="yard", lines=[GATE], zones=[YARD])
        looking = asyncio.create_task(service.streams.preview(stream_id, after_seq=-1, wait_s=5))
        await asyncio.sleep(0)
        await push(service, stream_id, body=jpeg)
        seen = await looking
        assert seen is not None
        assert seen.seq == 0
        drawn = simplejpeg.decode_jpeg(seen.jpeg)
        assert drawn.shape == picture.shape
        assert (np.abs(drawn.astype(int) - 90).max(axis=2) > 60).mean() > 0.01
        assert await service.streams.preview(stream_id, after_seq=0, wait_s=0) is None

    run(scenario)


def test_the_preview_of_a_closed_stream_ends(run: Run) -> None:
    async def scenario(service: Service) -> None:
        stream_id = await opened(service)
        looking = asyncio.create_task(service.get(f"/v1/streams/{stream_id}/preview"))
        await closing(service, stream_id)
        await push(service, stream_id)
        response = await asyncio.wait_for(looking, 15)
        assert response.headers["content-type"] == "multipart/x-mixed-replace; boundary=sightline-frame"

    run(scenario)


def test_what_urls_hold_of_passwords_and_tokens_is_shown_to_nobody_and_kept_by_a_patch(run: Run) -> None:
    async def scenario(service: Service) -> None:
        spec = StreamSpec(
            source="rtsp://user:hunter2@camera/1?token=abc", sinks=(Webhook(url="https://hooks.example/x?key=abc"),)
        )
        status = replace(await service.streams.open(StreamSpec()), spec=spec)
        told = json.dumps(shown(status))
        assert "hunter2" not in told
        assert "abc" not in told
        assert '"rtsp://camera/1"' in told
        assert StreamBody.parse(b'{"label": "gate"}', onto=spec).stream(()) == replace(spec, label="gate")

    run(scenario)
