"""A camera that is pulled ends in the same log and the same account as one that is pushed."""

import asyncio
import json
import os
import signal
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from app.core.errors import InvalidParameterError
from app.core.frame import Detections, EncodedFrame, Frame
from app.core.outcome import Outcome
from app.core.video import FrameMode, VideoSpec
from app.core.wire import WireEvent
from app.media.pull.parameters import PullParameters
from app.pipeline.memory_store import MemoryStore
from app.pipeline.models import FixedModels
from app.pipeline.stream_spec import StreamSpec
from app.pipeline.streams import Streams
from app.pipeline.surroundings import StreamLimits, Surroundings
from app.policy.reconnect import Backoff
from app.tracking.parameters import TrackerParameters
from load_tests.camfarm import barcode
from load_tests.camfarm.rtsp_server import RtspServer
from tests.builders import make_detections, make_spec
from tests.sources.pulling import MODEL, street

CYCLE = 60
pytestmark = pytest.mark.timeout(60)


class Reading:
    """A detector that reads the number in each picture's barcode, and says it as a left edge."""

    async def detect(self, frames: list[EncodedFrame]) -> list[Outcome[Detections]]:
        raise NotImplementedError(frames)

    async def detect_decoded(self, frames: list[Frame]) -> list[Outcome[Detections]]:
        return [
            make_detections([[barcode.decode(frame.rgb)[1], 10, 900, 500]], ref=frame.ref, source=(320, 180))
            for frame in frames
        ]


def owner(store: MemoryStore, port: int) -> Streams:
    pull = PullParameters(allowed_hosts=(f"127.0.0.1:{port}",), allow_private=True)
    return Streams(
        Surroundings(
            chain=Reading(),
            store=store,
            models=FixedModels(make_spec(size_px=MODEL.input_width_px)),
            tracker=TrackerParameters(),
            limits=StreamLimits(),
            pull=pull,
        )
    )


class Reader:
    """Everything that one stream has told, whoever owned it."""

    def __init__(self, stream_id: str) -> None:
        self.events: list[dict[str, Any]] = []
        self._stream_id = stream_id
        self._position = 0

    async def until(self, streams: Streams, is_enough: Callable[["Reader"], object]) -> None:
        async with asyncio.timeout(30):
            while not is_enough(self):
                batch = await streams.events(self._stream_id, position=self._position, wait_s=1)
                self._position = batch.position
                self.events += [self._read(event) for event in batch.events]

    def _read(self, event: WireEvent) -> dict[str, Any]:
        return {"kind": event.kind, **json.loads(event.body)}

    @property
    def results(self) -> list[dict[str, Any]]:
        return [event for event in self.events if event["kind"] == "FrameResult"]

    @property
    def answered(self) -> list[int]:
        return [int(result["objects"][0]["box"][0]) for result in self.results if result["status"] == "result"]

    @property
    def states(self) -> list[str]:
        return [event["state"] for event in self.events if event["kind"] == "StreamState"]


def check_none_is_missing(reader: Reader) -> None:
    """Each answer is that of the picture whose turn it was, those that were dropped counted in."""
    answered = [result for result in reader.results if result["status"] == "result"]
    apart = {(int(result["objects"][0]["box"][0]) - result["seq"]) % CYCLE for result in answered}
    assert len(apart) == 1


def answers(count: int) -> Callable[[Reader], bool]:
    return lambda reader: len(reader.answered) >= count


def run(scenario: Callable[[RtspServer], Coroutine[Any, Any, None]]) -> None:
    async def served() -> None:
        async with RtspServer(street(fps=15.0)) as server:
            await scenario(server)

    asyncio.run(served())


def test_a_camera_is_answered_frame_by_frame_and_accounted_for() -> None:
    async def scenario(server: RtspServer) -> None:
        streams = owner(MemoryStore(), server.port)
        stream_id = (await streams.open(StreamSpec(source=server.url))).stream_id
        reader = Reader(stream_id)
        await reader.until(streams, answers(20))
        account = await streams.close(stream_id)
        await reader.until(streams, lambda reader: reader.events[-1]["kind"] == "Summary")
        await streams.stop()
        assert reader.states[:2] == ["connecting", "streaming"]
        assert [result["seq"] for result in reader.results] == list(range(len(reader.results)))
        check_none_is_missing(reader)
        answered = [result for result in reader.results if result["status"] == "result"]
        assert all("captured_at" in result and "pts_s" in result for result in answered)
        assert (
            account.captured
            == len(reader.results)
            == account.answered + sum(account.dropped.values()) + sum(account.errors.values())
        )

    run(scenario)


def test_a_decoder_that_dies_is_told_of_and_the_stream_comes_back() -> None:
    async def scenario(server: RtspServer) -> None:
        streams = owner(MemoryStore(), server.port)
        spec = StreamSpec(source=server.url, reconnect=Backoff.FAST)
        stream_id = (await streams.open(spec)).stream_id
        reader = Reader(stream_id)
        await reader.until(streams, answers(5))
        pid = streams._streams[stream_id]._source._pulled.pid
        os.kill(pid, signal.SIGKILL)
        await reader.until(streams, lambda reader: "recovering" in reader.states)
        before = len(reader.answered)
        await reader.until(streams, answers(before + 5))
        await streams.stop()
        losses = [event for event in reader.events if event.get("reason") in {"source_lost", "crashed"}]
        assert losses
        assert [result["seq"] for result in reader.results] == list(range(len(reader.results)))

    run(scenario)


def test_a_patch_is_pulled_by_at_once_and_numbers_go_on() -> None:
    async def scenario(server: RtspServer) -> None:
        streams = owner(MemoryStore(), server.port)
        spec = StreamSpec(source=server.url)
        stream_id = (await streams.open(spec)).stream_id
        reader = Reader(stream_id)
        await reader.until(streams, answers(5))
        sampled = replace(spec, video=VideoSpec(mode=FrameMode.TARGET_FPS, fps=3.0))
        await streams.patch(stream_id, sampled)
        await reader.until(streams, lambda reader: "sampled" in {r.get("reason") for r in reader.results})
        await reader.until(streams, answers(len(reader.answered) + 4))
        await streams.stop()
        seqs = [result["seq"] for result in reader.results]
        assert seqs == list(range(len(seqs)))
        newest = [result for result in reader.results if result["status"] == "result"][-3:]
        assert np.all(np.diff([result["pts_s"] for result in newest]) > 0.25)

    run(scenario)


def test_the_next_owner_pulls_on_and_the_last_one_lets_go() -> None:
    async def scenario(server: RtspServer) -> None:
        store = MemoryStore()
        first, second = owner(store, server.port), owner(store, server.port)
        stream_id = (await first.open(StreamSpec(source=server.url))).stream_id
        reader = Reader(stream_id)
        await reader.until(first, answers(5))
        ghost = first._streams[stream_id]
        await second.show(stream_id)  # the first was declared dead, and knows nothing of it
        before = len(reader.answered)
        await reader.until(second, answers(before + 5))
        pulled = ghost._source._pulled
        await ghost._tasks[1]  # it learns at its next save that it has moved, and lets go of the camera
        assert pulled.pid is None
        await first.stop()
        await second.stop()
        assert ghost.has_moved
        assert [result["seq"] for result in reader.results] == list(range(len(reader.results)))
        assert {result["epoch"] for result in reader.results} == {0}
        assert np.all(np.diff([result["pts_s"] for result in reader.results if "pts_s" in result][:5]) > 0)

    run(scenario)


@pytest.mark.parametrize("url", ["rtsp://127.0.0.1:1/x", "file:///etc/passwd", "gopher://127.0.0.1/", "rtsp://"])
def test_a_source_that_is_not_allowed_opens_nothing(url: str) -> None:
    async def scenario() -> None:
        store = MemoryStore()
        streams = owner(store, 554)
        with pytest.raises(InvalidParameterError):
            await streams.open(StreamSpec(source=url))
        assert await store.streams() == {}

    asyncio.run(scenario())
