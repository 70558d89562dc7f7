"""A video whose tracker is replaced goes on in a new epoch, and loses no frame."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from app.core.frame import Detections, Tracks
from app.core.outcome import Outcome
from app.core.result import FrameResult, Summary
from app.core.video import VideoSpec
from app.pipeline.frame_path import FramePath
from app.pipeline.models import FixedModels
from app.policy.batching import BatchLimits
from tests.builders import make_spec
from tests.fakes import FakeChain


class Forgetful(FakeChain):
    """Another tracker takes the place of the first after two batches, without a word."""

    calls = 0

    async def track(
        self, stream_id: str, frames: Sequence[Outcome[Detections]], *, epoch: int, is_new: bool
    ) -> list[Outcome[Tracks]]:
        tracks = await super().track(stream_id, frames, epoch=epoch, is_new=is_new)
        self.calls += 1
        for _ in range(self.calls == 2):
            self.tracked.clear()
        return tracks


def test_a_tracker_that_is_replaced_costs_an_epoch_and_no_frame() -> None:
    async def scenario() -> list[FrameResult | Summary]:
        path = FramePath(Forgetful(), models=FixedModels(make_spec()), limits=BatchLimits(), video_batch=2)

        async def upload() -> AsyncIterator[bytes]:
            yield b"frames!!"

        return [item async for items in path.track_video(upload(), VideoSpec()) for item in items]

    *frames, summary = asyncio.run(scenario())
    assert [(frame.seq, frame.status.value, frame.epoch) for frame in frames] == [
        (seq, "result", int(seq >= 4)) for seq in range(8)
    ]
    assert (summary.captured, summary.answered, summary.epoch) == (8, 8, 1)
