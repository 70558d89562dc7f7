"""One video file through the stages of this process: tracks and the pictures they belong to, in order."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable

from app.core.frame import Detections, Frame, Tracks
from app.core.outcome import Dropped, End, Failed, Outcome
from app.pipeline.chain import detect_frames
from app.pipeline.detector import Detector
from app.pipeline.preprocessor import Preprocessor
from app.pipeline.tracker import Tracker
from app.pipeline.video_session import VideoSession


class FileRun:
    """Keeps `window` batches of `max_frames` frames on their way, so that decoding, inference and tracking overlap."""

    def __init__(
        self,
        *,
        preprocessor: Preprocessor,
        detector: Detector,
        tracker: Tracker,
        max_frames: int = 8,
        window: int = 3,
    ) -> None:
        self._preprocessor = preprocessor
        self._detector = detector
        self._tracker = tracker
        self._max_frames = max_frames
        self._window = window

    async def tracks(
        self, outcomes: Iterable[Outcome[Frame]], *, stream_id: str
    ) -> AsyncIterator[tuple[Tracks | Dropped | Failed | End, Frame | None]]:
        """Every frame's outcome with its picture, where there is one; `End` is the last item."""
        session = VideoSession(outcomes, depth=2 * self._max_frames, keeps_latest=False)
        decoding = asyncio.get_running_loop().run_in_executor(None, session.decode)
        flying: deque[asyncio.Task[tuple[list[Outcome[Frame]], list[Outcome[Detections]]]]] = deque()
        issued = 0
        begun = False
        try:
            while True:
                while len(flying) < self._window:
                    flying.append(asyncio.create_task(self._batch(session, issued)))
                    issued += 1
                frames, found = await flying.popleft()
                tracked = await self._tracker.update(stream_id, found, epoch=0, is_new=not begun)
                begun = True
                for outcome, frame in zip(tracked, frames, strict=True):
                    yield outcome, frame if isinstance(frame, Frame) else None
                    if isinstance(outcome, End):
                        return
        finally:
            session.close()
            for task in flying:
                task.cancel()
            await asyncio.gather(*flying, return_exceptions=True)
            await decoding

    async def _batch(self, session: VideoSession, batch: int) -> tuple[list[Outcome[Frame]], list[Outcome[Detections]]]:
        frames = await session.read(batch=batch, max_frames=self._max_frames)
        return frames, await detect_frames(frames, preprocessor=self._preprocessor, detector=self._detector)
