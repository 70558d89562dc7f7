"""The stages joined in one process, and the seam behind which they may lie in many."""

from collections.abc import Sequence
from typing import Protocol

from app.core.frame import Detections, EncodedFrame, Frame, FrameRef, ModelInput, Tracks
from app.core.outcome import Outcome
from app.core.routing import Route
from app.core.video import VideoSpec
from app.pipeline.decoder import Decoder
from app.pipeline.detector import Detector
from app.pipeline.preprocessor import Preprocessor
from app.pipeline.tracker import Tracker


class DetectChain(Protocol):
    """The stages up to detections, wherever they run. A call that fails as a whole raises a SightlineError."""

    async def detect(self, frames: list[EncodedFrame]) -> list[Outcome[Detections]]:
        """Decode, fit and detect stills: one outcome per image, in order."""

    async def detect_decoded(self, frames: list[Frame]) -> list[Outcome[Detections]]:
        """Fit and detect pictures that are decoded already: one outcome per picture, in order."""


class Chain(DetectChain, Protocol):
    """All stages of the path."""

    async def open_video(self, video_id: str, spec: VideoSpec, *, route: Route | None = None) -> None:
        """Expect the bytes of a video, whose frames all go that way."""

    async def feed_video(self, video_id: str, chunk: bytes) -> None:
        """Append bytes to it; empty bytes end it."""

    async def detect_video(self, video_id: str, *, batch: int, max_frames: int) -> list[Outcome[Detections]]:
        """Detections of batch number `batch`; empty once the video has ended."""

    async def video_refs(self, video_id: str, batch: int) -> list[FrameRef]:
        """Which frames a batch held."""

    async def track(
        self, stream_id: str, frames: Sequence[Outcome[Detections]], *, epoch: int, is_new: bool
    ) -> list[Outcome[Tracks]]:
        """Identities for consecutive frames of one stream; `is_new` begins the epoch."""

    async def close_video(self, video_id: str) -> None:
        """Forget the video in every stage."""


async def detect_frames(
    frames: Sequence[Outcome[Frame]], *, preprocessor: Preprocessor, detector: Detector
) -> list[Outcome[Detections]]:
    """Fit and detect in this process.

    Where the engine has several streams (a CPU), one thread takes a picture from pixels to detections: the cores would
    wait while it changes threads. One stream (a GPU) is fed whole batches that another thread prepares.
    """
    if detector.streams > 1:
        return await detector.detect_prepared(frames, prepare=preprocessor.fit_one)
    return await detector.detect(await preprocessor.fit(frames))


class LocalChain:
    """The stages called directly, in this process."""

    def __init__(self, *, decoder: Decoder, preprocessor: Preprocessor, detector: Detector, tracker: Tracker) -> None:
        self._decoder = decoder
        self._preprocessor = preprocessor
        self.detector = detector
        self._tracker = tracker

    async def detect(self, frames: list[EncodedFrame]) -> list[Outcome[Detections]]:
        """Decode, fit and detect stills: one outcome per image, in order."""
        if self.detector.streams > 1:
            return await self.detector.detect_prepared(frames, prepare=self._input_of_still)
        return await self.detector.detect(await self._preprocessor.fit(await self._decoder.decode(frames)))

    async def detect_decoded(self, frames: list[Frame]) -> list[Outcome[Detections]]:
        """Fit and detect pictures that are decoded already: one outcome per picture, in order."""
        return await detect_frames(frames, preprocessor=self._preprocessor, detector=self.detector)

    def _input_of_still(self, frame: EncodedFrame) -> Outcome[ModelInput]:
        return self._preprocessor.fit_one(self._decoder.decode_one(frame))

    async def open_video(self, video_id: str, spec: VideoSpec, *, route: Route | None = None) -> None:
        """Expect the bytes of a video, whose frames all go that way."""
        await self._decoder.open_video(video_id, spec, route=route)

    async def feed_video(self, video_id: str, chunk: bytes) -> None:
        """Append bytes to it; empty bytes end it."""
        await self._decoder.feed_video(video_id, chunk)

    async def detect_video(self, video_id: str, *, batch: int, max_frames: int) -> list[Outcome[Detections]]:
        """Detections of batch number `batch`; empty once the video has ended."""
        frames = await self._decoder.read_video(video_id, batch=batch, max_frames=max_frames)
        return await detect_frames(frames, preprocessor=self._preprocessor, detector=self.detector)

    async def video_refs(self, video_id: str, batch: int) -> list[FrameRef]:
        """Which frames a batch held."""
        return await self._decoder.video_refs(video_id, batch)

    async def track(
        self, stream_id: str, frames: Sequence[Outcome[Detections]], *, epoch: int, is_new: bool
    ) -> list[Outcome[Tracks]]:
        """Identities for consecutive frames of one stream; `is_new` begins the epoch."""
        return await self._tracker.update(stream_id, frames, epoch=epoch, is_new=is_new)

    async def close_video(self, video_id: str) -> None:
        """Forget the video in every stage."""
        await self._decoder.close_video(video_id)
        await self._tracker.end(video_id)
