import asyncio
import json
from typing import Any

import httpx
import pytest

from app.core.errors import UnavailableError, UndecodableError
from app.pipeline.models import FixedModels
from tests.api.test_detections import assert_problem

MP4 = {"content-type": "video/mp4"}


def lines(response: httpx.Response) -> list[dict[str, Any]]:
    return [json.loads(line) for line in response.text.splitlines()]


def test_every_frame_has_a_line_and_the_last_is_the_summary(run: Any) -> None:
    response = run(lambda s: s.post("/v1/videos", content=bytes(20), headers=MP4))
    assert response.headers["content-type"].startswith("application/x-ndjson")
    *frames, summary = lines(response)
    assert [frame["seq"] for frame in frames] == list(range(20))
    assert all(frame["objects"][0]["track_id"] == 1 for frame in frames)
    assert summary["schema"] == "sightline.v1.Summary"
    assert (summary["captured"], summary["answered"], summary["in_flight"]) == (20, 20, 0)


def test_a_batch_that_is_lost_is_accounted_for_frame_by_frame(run: Any) -> None:
    async def scenario(service: Any) -> Any:
        service.chain.lost_batches = {1: UnavailableError()}
        return await service.post("/v1/videos", content=bytes(30), headers=MP4)

    *frames, summary = lines(run(scenario))
    assert [frame["seq"] for frame in frames] == list(range(30))
    assert {frame["seq"] for frame in frames if frame["status"] == "error"} == set(range(8, 16))
    assert summary["captured"] == 30
    assert summary["errors"] == {"unavailable": 8}
    assert summary["answered"] == 22


def test_a_video_that_breaks_off_says_so_in_its_summary(run: Any) -> None:
    async def scenario(service: Any) -> Any:
        service.chain.end_error = UndecodableError("cut")
        return await service.post("/v1/videos", content=bytes(3), headers=MP4)

    *frames, summary = lines(run(scenario))
    assert len(frames) == 3
    assert (summary["reason"], summary["detail"]) == ("undecodable", "cut")


def test_a_video_without_a_frame_gets_its_error_as_a_status(run: Any) -> None:
    async def scenario(service: Any) -> Any:
        service.chain.end_error = UndecodableError("no frames")
        return await service.post("/v1/videos", content=b"", headers=MP4)

    assert_problem(run(scenario), 400, "invalid_request")


@pytest.mark.parametrize("query", ["mode=target_fps", "fps=5", "mode=sometimes", "mode=target_fps&fps=nan", "conf=2"])
def test_a_wrong_mode_is_refused_before_any_byte_is_read(run: Any, query: str) -> None:
    response = run(lambda s: s.post(f"/v1/videos?{query}", content=bytes(3), headers=MP4))
    assert_problem(response, 422, "invalid_parameter")


@pytest.mark.parametrize("media_type", ["image/jpeg", "text/html", "application/json"])
def test_a_body_declared_as_something_else_is_unsupported(run: Any, media_type: str) -> None:
    response = run(lambda s: s.post("/v1/videos", content=bytes(3), headers={"content-type": media_type}))
    assert_problem(response, 415, "unsupported_media")


def test_a_file_over_the_limit_is_too_large(run: Any) -> None:
    assert_problem(run(lambda s: s.post("/v1/videos", content=bytes(10_001), headers=MP4)), 413, "too_large")


def test_everything_opened_for_a_video_is_closed(run: Any) -> None:
    async def scenario(service: Any) -> Any:
        await service.post("/v1/videos", content=bytes(3), headers=MP4)
        return list(service.chain.fed), service.chain.closed

    opened, closed = run(scenario)
    assert opened == closed


def test_a_listener_who_leaves_closes_the_video(run: Any) -> None:
    async def scenario(service: Any) -> Any:
        path_results = service.app  # the route itself is exercised over real sockets in tests/e2e
        assert path_results is not None
        from app.core.video import VideoSpec
        from app.pipeline.frame_path import FramePath
        from app.policy.batching import BatchLimits
        from tests.builders import make_spec

        async def chunks() -> Any:
            yield bytes(100)

        path = FramePath(service.chain, models=FixedModels(make_spec()), limits=BatchLimits())
        results = path.track_video(chunks(), VideoSpec())
        (first, *_) = await anext(results)
        await results.aclose()
        await asyncio.sleep(0)
        return first.seq, list(service.chain.fed), service.chain.closed

    seq, opened, closed = run(scenario)
    assert seq == 0
    assert opened == closed
