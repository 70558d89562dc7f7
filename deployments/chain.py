"""The chain of stages as calls between deployments."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ray.serve.handle import DeploymentHandle

from app.core.frame import Detections, EncodedFrame, Frame, FrameRef, Tracks
from app.core.outcome import Outcome
from app.core.routing import Route
from app.core.video import VideoSpec
from deployments.faults import answer


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeDetection:
    """Each stage behind a handle. A stage is given the pending response of the one before: pixels never come here."""

    decoder: DeploymentHandle[Any]
    preprocessor: DeploymentHandle[Any]
    detector: DeploymentHandle[Any]

    async def detect(self, frames: list[EncodedFrame]) -> list[Outcome[Detections]]:
        """Decode, fit and detect stills: one outcome per image, in order."""
        decoded = self.decoder.decode.remote(frames)
        return await answer(self.detector.detect.remote(self.preprocessor.fit.remote(decoded)))

    async def detect_decoded(self, frames: list[Frame]) -> list[Outcome[Detections]]:
        """Fit and detect pictures that are decoded already: one outcome per picture, in order."""
        return await answer(self.detector.detect.remote(self.preprocessor.fit.remote(frames)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeChain(ServeDetection):
    """All stages. A video's calls carry its id as the session, so that they reach the replica that holds it."""

    tracker: DeploymentHandle[Any]

    async def open_video(self, video_id: str, spec: VideoSpec, *, route: Route | None = None) -> None:
        """Expect the bytes of a video, whose frames all go that way."""
        await answer(self._decoder_of(video_id).open_video.remote(video_id, spec, route=route))

    async def feed_video(self, video_id: str, chunk: bytes) -> None:
        """Append bytes to it; empty bytes end it."""
        await answer(self._decoder_of(video_id).feed_video.remote(video_id, chunk))

    async def detect_video(self, video_id: str, *, batch: int, max_frames: int) -> list[Outcome[Detections]]:
        """Detections of batch number `batch`; empty once the video has ended."""
        frames = self._decoder_of(video_id).read_video.remote(video_id, batch=batch, max_frames=max_frames)
        return await answer(self.detector.detect.remote(self.preprocessor.fit.remote(frames)))

    async def video_refs(self, video_id: str, batch: int) -> list[FrameRef]:
        """Which frames a batch held."""
        return await answer(self._decoder_of(video_id).video_refs.remote(video_id, batch))

    async def track(
        self, stream_id: str, frames: Sequence[Outcome[Detections]], *, epoch: int, is_new: bool
    ) -> list[Outcome[Tracks]]:
        """Identities for consecutive frames of one stream; `is_new` begins the epoch."""
        tracker = self.tracker.options(session_id=stream_id)
        return await answer(tracker.update.remote(stream_id, frames, epoch=epoch, is_new=is_new))

    async def close_video(self, video_id: str) -> None:
        """Forget the video in every stage."""
        closing = answer(self._decoder_of(video_id).close_video.remote(video_id))
        ending = answer(self.tracker.options(session_id=video_id).end.remote(video_id))
        await asyncio.gather(closing, ending, return_exceptions=True)

    def _decoder_of(self, video_id: str) -> DeploymentHandle[Any]:
        return self.decoder.options(session_id=video_id)
