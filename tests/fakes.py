"""Real classes that stand at the ports: a clock moved by hand, an engine and a chain that do what they are told."""

import asyncio
import threading
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from app.core.errors import SightlineError, UnavailableError
from app.core.frame import Detections, EncodedFrame, Frame, FrameRef, Tracks
from app.core.model import Head, ModelSpec
from app.core.outcome import End, Failed, Outcome
from app.core.ports import RawOutput
from app.core.routing import Route
from app.core.video import VideoSpec
from tests.builders import make_detections, make_spec


class ManualClock:
    """Monotonic seconds that move when a test says so."""

    def __init__(self, now_s: float = 0.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


class FakeEngine:
    """End-to-end rows: the one object of a canvas is as wide as its first pixel says; `fails` is raised when set."""

    def __init__(self, *, streams: int = 1, labels: tuple[str, ...] = ("person", "car"), size_px: int = 64) -> None:
        self.spec: ModelSpec = make_spec(head=Head.END_TO_END, labels=labels, size_px=size_px)
        self.streams = streams
        self.batches: list[int] = []
        self.fails: Exception | None = None
        self.is_closed = False
        self._lock = threading.Lock()

    def infer(self, pixels: Sequence[NDArray[np.uint8]]) -> RawOutput:
        if self.fails is not None:
            raise self.fails
        with self._lock:
            self.batches.append(len(pixels))
        rows = [[[0.0, 0.0, max(1.0, float(canvas[0, 0, 0])), 10.0, 0.9, 0.0]] for canvas in pixels]
        return np.asarray(rows, dtype=np.float32)

    def close(self) -> None:
        self.is_closed = True


class FakeChain:
    """Stages without pixels: an image has one object; a video has one frame per byte fed.

    `gate` holds stills back until it is set; `on_detect` may raise.
    """

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.batches: list[list[EncodedFrame]] = []
        self.tracked: dict[str, int] = {}
        """Epochs by stream; emptied, the tracker has died and another took its place without a word."""
        self.on_detect: Callable[[list[EncodedFrame]], None] = lambda _frames: None
        self.fed: dict[str, bytearray] = {}
        self.ended: dict[str, asyncio.Event] = {}
        self.closed: list[str] = []
        self.lost_batches: dict[int, SightlineError] = {}
        self.end_error: SightlineError | None = None
        self.specs: dict[str, VideoSpec] = {}
        self.routes: dict[str, Route | None] = {}

    async def detect(self, frames: list[EncodedFrame]) -> list[Outcome[Detections]]:
        self.batches.append(frames)
        await self.gate.wait()
        self.on_detect(frames)
        return [self._outcome(frame) for frame in frames]

    async def detect_decoded(self, frames: list[Frame]) -> list[Outcome[Detections]]:
        return [make_detections([[1, 2, 30, 40]], ref=frame.ref) for frame in frames]

    def _outcome(self, frame: EncodedFrame) -> Outcome[Detections]:
        if bytes(frame.data[:3]) == b"bad":
            from app.core.errors import UndecodableError

            return Failed(ref=frame.ref, error=UndecodableError("broken"))
        return make_detections([[1, 2, 30, 40]], ref=frame.ref)

    async def open_video(self, video_id: str, spec: VideoSpec, *, route: Route | None = None) -> None:
        self.routes[video_id] = route
        self.fed[video_id] = bytearray()
        self.ended[video_id] = asyncio.Event()
        self.specs[video_id] = spec

    async def feed_video(self, video_id: str, chunk: bytes) -> None:
        if chunk:
            self.fed[video_id] += chunk
        else:
            self.ended[video_id].set()

    async def detect_video(self, video_id: str, *, batch: int, max_frames: int) -> list[Outcome[Detections]]:
        await self.ended[video_id].wait()
        refs = await self.video_refs(video_id, batch, max_frames=max_frames)
        if batch in self.lost_batches:
            raise self.lost_batches[batch]
        is_last = batch == -(-len(self.fed[video_id]) // max_frames) - 1
        outcomes: list[Outcome[Detections]] = [make_detections([[1, 2, 30, 40]], ref=ref) for ref in refs]
        if is_last or (batch == 0 and not refs):
            outcomes.append(End(error=self.end_error))
        return outcomes

    async def video_refs(self, video_id: str, batch: int, *, max_frames: int = 8) -> list[FrameRef]:
        frames = len(self.fed[video_id])
        first = batch * max_frames
        return [
            FrameRef(stream_id=video_id, seq=seq, pts_s=seq / 30)
            for seq in range(first, min(frames, first + max_frames))
        ]

    async def track(
        self, stream_id: str, frames: Sequence[Outcome[Detections]], *, epoch: int, is_new: bool
    ) -> list[Outcome[Tracks]]:
        if is_new:
            self.tracked[stream_id] = epoch
        if self.tracked.get(stream_id) != epoch:
            raise UnavailableError("the tracks of this stream are lost")
        assert all(isinstance(f, End) or f.ref.epoch == epoch for f in frames)
        assert all(isinstance(f, End) or f.ref.stream_id == stream_id for f in frames)
        return [
            Tracks(detections=f, track_id=np.arange(1, len(f.score) + 1, dtype=np.int64))
            if isinstance(f, Detections)
            else f
            for f in frames
        ]

    async def close_video(self, video_id: str) -> None:
        self.closed.append(video_id)
