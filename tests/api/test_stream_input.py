"""Cameras that change their mind in mid-stream: each frame still ends once, in order, and what is whole is answered."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app import assembly
from app.core.errors import ConflictError
from app.pipeline.memory_store import MemoryStore
from app.pipeline.models import FixedModels
from app.pipeline.stream_host import Offer
from app.pipeline.stream_spec import StreamSpec
from app.pipeline.streams import Streams
from app.settings import Settings
from engines.opening import open_engine

SETTINGS = Settings.model_validate({"model": {"engine": "reference"}, "decoder": {"workers": 1}})
START = datetime(2026, 11, 23, 10, tzinfo=UTC).timestamp()


def picture(width_px: int, height_px: int, kind: str = "JPEG") -> bytes:
    """A bright square that moves with nothing."""
    rgb = np.full((height_px, width_px, 3), 40, dtype=np.uint8)
    rgb[height_px // 4 : height_px // 2, width_px // 4 : width_px // 2] = 220
    out = BytesIO()
    Image.fromarray(rgb).save(out, kind)
    return out.getvalue()


def pushed(frames: list[Offer]) -> list[dict[str, Any]]:
    """The ends of frames that go through the real stages of one process, and the account."""

    async def scenario() -> list[dict[str, Any]]:
        chain = assembly.local_chain(SETTINGS, open_engine(None))
        streams = Streams(
            assembly.surroundings(SETTINGS, chain, FixedModels(open_engine(None).spec), store=MemoryStore())
        )
        stream_id = (await streams.open(StreamSpec())).stream_id
        ends = [json.loads((await streams.push(stream_id, frame)).body) for frame in frames]
        account = (await streams.show(stream_id)).summary
        assert account.captured == len(frames) == account.answered + sum(account.errors.values())
        await streams.close(stream_id)
        await streams.stop()
        return ends

    return asyncio.run(scenario())


def test_frames_that_change_size_and_format_are_each_answered_at_their_own_size() -> None:
    kinds = [(640, 360, "JPEG"), (320, 240, "PNG"), (1280, 720, "WEBP"), (640, 360, "JPEG"), (90, 160, "PNG")]
    ends = pushed([Offer(data=picture(*kind), captured_at=START + n / 10) for n, kind in enumerate(kinds)])
    assert [(end["status"], end["width_px"], end["height_px"]) for end in ends] == [
        ("result", width_px, height_px) for width_px, height_px, _ in kinds
    ]


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff", picture(64, 64)[:300], b"\x00\x00\x00\x01\x67garbage" * 20])
def test_what_is_no_picture_is_a_typed_error_between_two_answers(data: bytes) -> None:
    good = picture(64, 64)
    ends = pushed([Offer(data=item, captured_at=START + n) for n, item in enumerate((good, data, good))])
    assert [end["status"] for end in ends] == ["result", "error", "result"]
    assert ends[1]["reason"] in {"invalid_request", "unsupported_media", "undecodable"}


@pytest.mark.parametrize(
    "steps_s", [(0, 0.1, -0.5, 0.2), (0, 0.1, 3600, 3600.1), (0, 3600, 0.1, 0.2), (0, 0, 0, 0), (0, -3600, -7200, 1)]
)
def test_stamps_that_go_back_stand_still_or_leap_an_hour_lose_no_frame(steps_s: tuple[float, ...]) -> None:
    good = picture(64, 64)
    ends = pushed([Offer(data=good, captured_at=START + step_s) for step_s in steps_s])
    assert [end["status"] for end in ends] == ["result"] * len(steps_s)
    told = [datetime.fromisoformat(end["captured_at"]) for end in ends]
    assert told == [datetime.fromtimestamp(START, tz=UTC) + timedelta(seconds=step_s) for step_s in steps_s]


def test_numbers_that_repeat_leap_and_go_back_capture_each_frame_once() -> None:
    good = picture(64, 64)

    async def scenario(push: Callable[[int], Awaitable[Any]]) -> None:
        first = await push(5)
        assert (await push(5)).body == first.body
        assert (await push(2**62)).seq == 2**62
        with pytest.raises(ConflictError):
            await push(4)

    async def run() -> tuple[int, list[str]]:
        chain = assembly.local_chain(SETTINGS, open_engine(None))
        streams = Streams(
            assembly.surroundings(SETTINGS, chain, FixedModels(open_engine(None).spec), store=MemoryStore())
        )
        stream_id = (await streams.open(StreamSpec())).stream_id
        await scenario(lambda seq: streams.push(stream_id, Offer(data=good, seq=seq)))
        events = (await streams.events(stream_id, position=0, wait_s=0)).events
        account = await streams.close(stream_id)
        await streams.stop()
        return account.captured, [event.kind for event in events]

    captured, kinds = asyncio.run(run())
    assert captured == 2
    assert kinds == ["StreamState", "FrameResult", "Gap", "FrameResult"]
