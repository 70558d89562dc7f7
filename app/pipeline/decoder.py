"""The stage that decodes: stills on a bounded thread pool, each video on a thread of its own."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import cv2

from app.core import metrics as table
from app.core.errors import InternalError, NotFoundError, OverloadedError, SightlineError
from app.core.frame import EncodedFrame, Frame, FrameRef
from app.core.metrics import SILENT, Metrics
from app.core.model import ModelSpec
from app.core.outcome import Failed, Outcome
from app.core.routing import Route
from app.core.video import FrameMode, VideoSpec
from app.media.limits import DecodeLimits
from app.media.spool import Spool
from app.media.still import decode_still
from app.media.video import VideoReader
from app.pipeline.decode_tuner import tuned_workers
from app.pipeline.video_session import VideoSession

LOG = logging.getLogger("sightline")
LATEST_DEPTH = 3
"""Frames kept in latest_frame mode. Source: MISSION.md row 75, max-buffers=3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderParameters:
    """`workers` threads for stills, None for as many as a short measurement at start finds best.

    At most `max_videos` videos at once, each on a thread of its own.
    A video may have `max_video_bytes` on disk and `depth` decoded frames ahead of its reader; one whose upload or
    reader stands still for `idle_s` is closed.
    """

    limits: DecodeLimits = field(default_factory=DecodeLimits)
    workers: int | None = None
    max_videos: int = 16
    max_video_bytes: int = 4 * 1024**3
    depth: int = 16
    idle_s: float = 60.0


@dataclass(slots=True)
class _Video:
    spool: Spool
    session: VideoSession
    touched_s: float
    decoding: asyncio.Future[None]

    def close(self) -> None:
        self.spool.abort()
        self.session.close()
        self.decoding.add_done_callback(lambda _: self.spool.close())


def _decode(reader: VideoReader, session: VideoSession) -> None:
    """Run the session to its end, and give FFmpeg's memory back then, not when the garbage is collected."""
    with reader:
        session.decode()


class Decoder:
    """Decodes towards the model's canvas; holds the videos that are being uploaded to it."""

    def __init__(
        self,
        spec: ModelSpec,
        parameters: DecoderParameters,
        *,
        metrics: Metrics = SILENT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        cv2.setNumThreads(1)  # the threads are ours; OpenCV's own would fight them for the cores
        self._spec = spec
        self._parameters = parameters
        self._metrics = metrics
        self._clock = clock
        workers = parameters.workers
        if workers is None:
            workers = tuned_workers(model_width_px=spec.input_width_px, model_height_px=spec.input_height_px)
        self._stills = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        self._video_threads = ThreadPoolExecutor(parameters.max_videos, thread_name_prefix="video")
        self._videos: dict[str, _Video] = {}

    async def decode(self, frames: Sequence[EncodedFrame]) -> list[Outcome[Frame]]:
        """One outcome per image, in order; a broken image fails alone."""
        loop = asyncio.get_running_loop()
        work = (loop.run_in_executor(self._stills, self.decode_one, frame) for frame in frames)
        return list(await asyncio.gather(*work))

    def decode_one(self, encoded: EncodedFrame) -> Outcome[Frame]:
        """The same for one image, on the calling thread."""
        width_px, height_px = self._canvas_of(encoded.route)
        try:
            frame = decode_still(
                encoded, model_width_px=width_px, model_height_px=height_px, limits=self._parameters.limits
            )
        except SightlineError as error:
            return Failed(ref=encoded.ref, error=error)
        except Exception:
            LOG.exception("the still decoder failed")
            return Failed(ref=encoded.ref, error=InternalError())
        self._note(frame, source="still")
        return frame

    def _note(self, frame: Frame, *, source: str) -> None:
        self._metrics.observe(table.DECODER_SECONDS, (source,), value=frame.timings.decode_s)
        self._metrics.count(table.DECODER_COPIED, by=frame.rgb.nbytes)

    @property
    def open_videos(self) -> int:
        """How many are being decoded, or read."""
        return len(self._videos)

    async def open_video(self, video_id: str, spec: VideoSpec, *, route: Route | None = None) -> None:
        """Expect the bytes of a video; OverloadedError when as many are open as may be."""
        self._close_idle()
        if len(self._videos) >= self._parameters.max_videos:
            raise OverloadedError("as many videos are open as may be")
        spool = Spool(max_bytes=self._parameters.max_video_bytes, stall_s=self._parameters.idle_s)
        width_px, height_px = self._canvas_of(route)
        reader = VideoReader(
            spool,
            stream_id=video_id,
            spec=spec,
            route=route,
            model_width_px=width_px,
            model_height_px=height_px,
            limits=self._parameters.limits,
        )
        is_latest = spec.mode is FrameMode.LATEST_FRAME
        depth = LATEST_DEPTH if is_latest else self._parameters.depth
        session = VideoSession(reader, depth=depth, keeps_latest=is_latest)
        decoding = asyncio.get_running_loop().run_in_executor(self._video_threads, _decode, reader, session)
        self._videos[video_id] = _Video(spool, session, self._clock(), decoding)

    def _canvas_of(self, route: Route | None) -> tuple[int, int]:
        """The `(width_px, height_px)` that pictures on that route are to fill."""
        if route is None:
            return self._spec.input_width_px, self._spec.input_height_px
        return route.width_px, route.height_px

    async def feed_video(self, video_id: str, chunk: bytes) -> None:
        """Append bytes to the upload; empty bytes end it. TooLargeError past the limit."""
        spool = self._video(video_id).spool
        if chunk:
            await asyncio.to_thread(spool.write, chunk)
        else:
            spool.finish()

    async def read_video(self, video_id: str, *, batch: int, max_frames: int) -> list[Outcome[Frame]]:
        """Batch number `batch` of the decoded frames; see VideoSession.read."""
        frames = await self._video(video_id).session.read(batch=batch, max_frames=max_frames)
        for frame in frames:
            if isinstance(frame, Frame):
                self._note(frame, source="video")
        return frames

    async def video_refs(self, video_id: str, batch: int) -> list[FrameRef]:
        """Which frames a batch held, for the account of one that was lost further down."""
        return self._video(video_id).session.refs(batch)

    async def close_video(self, video_id: str) -> None:
        """Forget the video, whatever state it is in."""
        video = self._videos.pop(video_id, None)
        if video is not None:
            video.close()

    def _video(self, video_id: str) -> _Video:
        try:
            video = self._videos[video_id]
        except KeyError:
            raise NotFoundError("this video is not open here") from None
        video.touched_s = self._clock()
        return video

    def _close_idle(self) -> None:
        now_s = self._clock()
        for video_id, video in list(self._videos.items()):
            if now_s - video.touched_s > self._parameters.idle_s:
                self._videos.pop(video_id).close()
