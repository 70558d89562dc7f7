"""The way of one live stream's batches to the detector and back, and which version of the model answers them."""

import asyncio
import zlib
from collections.abc import Sequence
from dataclasses import replace

from app.core.errors import UnavailableError
from app.core.frame import Detections, EncodedFrame, Frame
from app.core.outcome import Failed, Outcome
from app.core.result import FrameResult
from app.core.routing import Urgency
from app.core.video import FrameMode
from app.pipeline.stream_spec import StreamSpec
from app.pipeline.surroundings import Surroundings
from app.policy.route_table import Ask

_RETRY_S = 0.25
"""Between two tries to reach a part that is restarting."""


class StreamDetection:
    """Sends a stream's batches along the route table, as one user who is always on the same side of its weights.

    `answering` is name and version of what answered last, None before the first answer.
    """

    def __init__(self, stream_id: str, around: Surroundings, *, answering: tuple[str, str] | None) -> None:
        self.answering = answering
        self._around = around
        self._ask = Ask(user=stream_id, draw=zlib.crc32(stream_id.encode()) / 2**32)

    async def detected(self, frames: Sequence[EncodedFrame | Frame], spec: StreamSpec) -> list[Outcome[Detections]]:
        """The batch, detected. A part that died is waited for, unless only the latest frame counts."""
        is_waited_for = spec.video.mode is not FrameMode.LATEST_FRAME
        async with asyncio.timeout(self._around.limits.batch_s), self._around.gate.passed(spec.priority):
            while True:
                try:
                    found = await self._sent(frames, spec)
                except UnavailableError:
                    if not is_waited_for:
                        raise
                else:
                    if not (is_waited_for and any(map(_died_on_the_way, found))):
                        return found
                await asyncio.sleep(_RETRY_S)

    def is_another(self, end: FrameResult) -> bool:
        """Whether another version has answered this frame than the one before it."""
        if end.model is None:
            return False
        before, self.answering = self.answering, (end.model.name, end.model.version)
        return before not in (None, self.answering)

    async def _sent(self, frames: Sequence[EncodedFrame | Frame], spec: StreamSpec) -> list[Outcome[Detections]]:
        """Another version begins with a batch, never within one."""
        route = self._around.models.route(self._ask, model=spec.model)
        urgency = Urgency(priority=spec.priority, share=self._ask.user)
        routed = [replace(frame, route=route, urgency=urgency) for frame in frames]
        if decoded := [frame for frame in routed if isinstance(frame, Frame)]:
            return await self._around.chain.detect_decoded(decoded)
        return await self._around.chain.detect([frame for frame in routed if isinstance(frame, EncodedFrame)])


def _died_on_the_way(outcome: Outcome[Detections]) -> bool:
    """Whether a part that held this frame went away with it."""
    return isinstance(outcome, Failed) and isinstance(outcome.error, UnavailableError)
