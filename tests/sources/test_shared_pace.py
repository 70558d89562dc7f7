"""The pulled streams of one owner take turns to connect: all of them share one pace, and leave it when they end."""

import asyncio

from app.core.frame import Detections, EncodedFrame, Frame
from app.core.outcome import Outcome
from app.media.pull.parameters import PullParameters
from app.pipeline.memory_store import MemoryStore
from app.pipeline.models import FixedModels
from app.pipeline.stream_spec import StreamSpec
from app.pipeline.streams import Streams
from app.pipeline.surroundings import StreamLimits, Surroundings
from app.tracking.parameters import TrackerParameters
from tests.builders import make_spec

NOBODY = "127.0.0.1:9"


class Idle:
    """A detector that is never asked."""

    async def detect(self, frames: list[EncodedFrame]) -> list[Outcome[Detections]]:
        raise NotImplementedError(frames)

    async def detect_decoded(self, frames: list[Frame]) -> list[Outcome[Detections]]:
        raise NotImplementedError(frames)


def test_the_streams_of_one_owner_share_its_pace_and_leave_it_at_their_end() -> None:
    async def scenario() -> None:
        around = Surroundings(
            chain=Idle(),
            store=MemoryStore(),
            models=FixedModels(make_spec(size_px=64)),
            tracker=TrackerParameters(),
            limits=StreamLimits(),
            pull=PullParameters(allowed_hosts=(NOBODY,), allow_private=True),
        )
        streams = Streams(around)
        opened = [(await streams.open(StreamSpec(source=f"rtsp://{NOBODY}/{n}"))).stream_id for n in range(3)]
        assert around.pace._members == 3
        await streams.close(opened[0])
        assert around.pace._members == 2
        await streams.stop()
        assert around.pace._members == 0

    asyncio.run(scenario())
