"""The stages joined in one process, and the seam behind which they may lie in many."""

from collections.abc import Sequence
from typing import Protocol

from app.core.frame import Detections, EncodedFrame, FrameRef, Tracks
from app.core.outcome import Outcome
from app.core.video import VideoSpec
from app.pipeline.decoder import Decoder
from app.pipeline.detector import Detector
from app.pipeline.preprocessor import Preprocessor
from app.pipeline.tracker import Tracker


class Chain(Protocol):
    """The stages of the path, wherever they run. A call that fails as a whole raises a SightlineError."""

    async def detect(self, frames: list[EncodedFrame]) -> list[Outcome[Detections]]:
        """Decode, fit and detect stills: one outcome per image, in order."""

    async def open_video(self, video_id: str, spec: VideoSpec) -> None:
        """Expect the bytes of a video."""

    async def feed_video(self, video_id: str, chunk: bytes) -> None:
        """Append bytes to it; empty bytes end it."""

    async def detect_video(self, video_id: str, *, batch: int, max_frames: int) -> list[Outcome[Detections]]:
        """Detections of batch number `batch`; empty once the video has ended."""

    async def video_refs(self, video_id: str, batch: int) -> list[FrameRef]:
        """Which frames a batch held."""

    async def track(self, stream_id: str, frames: Sequence[Outcome[Detections]]) -> list[Outcome[Tracks]]:
        """Identities for consecutive frames of one stream."""

    async def close_video(self, video_id: str) -> None:
        """Forget the video in every stage."""


class LocalChain:
    """The stages called directly, in this process."""

    def __init__(self, *, decoder: Decoder, preprocessor: Preprocessor, detector: Detector, tracker: Tracker) -> None:
        self._decoder = decoder
        self._preprocessor = preprocessor
        self._detector = detector
        self._tracker = tracker

    async def detect(self, frames: list[EncodedFrame]) -> list[Outcome[Detections]]:
        """Decode, fit and detect stills: one outcome per image, in order."""
        return await self._detector.detect(await self._preprocessor.fit(await self._decoder.decode(frames)))

    async def open_video(self, video_id: str, spec: VideoSpec) -> None:
        """Expect the bytes of a video."""
        await self._decoder.open_video(video_id, spec)

    async def feed_video(self, video_id: str, chunk: bytes) -> None:
        """Append bytes to it; empty bytes end it."""
        await self._decoder.feed_video(video_id, chunk)

    async def detect_video(self, video_id: str, *, batch: int, max_frames: int) -> list[Outcome[Detections]]:
        """Detections of batch number `batch`; empty once the video has ended."""
        frames = await self._decoder.read_video(video_id, batch=batch, max_frames=max_frames)
        return await self._detector.detect(await self._preprocessor.fit(frames))

    async def video_refs(self, video_id: str, batch: int) -> list[FrameRef]:
        """Which frames a batch held."""
        return await self._decoder.video_refs(video_id, batch)

    async def track(self, stream_id: str, frames: Sequence[Outcome[Detections]]) -> list[Outcome[Tracks]]:
        """Identities for consecutive frames of one stream."""
        return await self._tracker.update(stream_id, frames)

    async def close_video(self, video_id: str) -> None:
        """Forget the video in every stage."""
        await self._decoder.close_video(video_id)
        await self._tracker.end(video_id)
