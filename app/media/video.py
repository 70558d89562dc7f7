"""A video as the outcomes of its frames, in presentation order, each with its true time."""

from collections.abc import Generator
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeAlias

from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from app.core.errors import InvalidParameterError, SightlineError, UndecodableError
from app.core.frame import Frame, FrameRef
from app.core.outcome import Dropped, DropReason, End, Failed, Outcome
from app.core.routing import Route, Urgency
from app.core.video import FrameMode, VideoSpec
from app.media.decoding import Decoded, DecodingLoop
from app.media.demux_input import DemuxInput, VideoSource
from app.media.limits import DEFAULT_LIMITS, DecodeLimits
from app.media.opening import open_video
from app.media.sampling import Sampler
from app.media.scaling import Scaler
from app.vision.letterbox import needed_scale

_Opened: TypeAlias = tuple[DemuxInput, InputContainer, VideoStream]


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """What the container says before anything is decoded: the stored size, and an estimate for a progress bar."""

    width_px: int
    height_px: int
    fps: float | None
    duration_s: float | None
    n_frames: int | None


class VideoReader:
    """Iterates once over `Frame | Dropped | Failed`, then one `End`; never raises for what the bytes hold.

    Every captured frame counts: `seq` runs from 0 in presentation order, `pts_s` from the start of the stream. A frame
    that was damaged, or that FFmpeg had to patch up, is `Failed` in its place; damage with nothing behind it ends the
    video with `End(error=...)`. `rgb` has the size that the letterbox gives it, or the source's with `is_full_size`;
    pixels are taken as square. The frames go along `route`.

    `latest_frame` yields every frame: what is superseded only the caller knows. With `n_threads` above one, damage is
    told a frame or two late. To stop early, `close` between two items; to wake a reader that waits for an upload, abort
    its Spool.
    """

    def __init__(
        self,
        source: VideoSource,
        *,
        stream_id: str,
        spec: VideoSpec,
        model_width_px: int,
        model_height_px: int,
        route: Route | None = None,
        limits: DecodeLimits = DEFAULT_LIMITS,
        epoch: int = 0,
        is_full_size: bool = False,
        n_threads: int = 1,
    ) -> None:
        self._source = source
        self._spec = spec
        self._route = route
        self._urgency = Urgency(share=stream_id)
        self._stream_id = stream_id
        self._epoch = epoch
        self._seq = 0
        self._model_size_px = None if is_full_size else (model_width_px, model_height_px)
        self._limits = limits
        self._n_threads = n_threads
        self._sampler = _sampler(spec)
        self._scaler = Scaler()
        self._opened: _Opened | None = None
        self._outcomes = self._until_end()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Outcome[Frame]:
        return next(self._outcomes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give decoder and file back; the iteration is over."""
        self._outcomes.close()
        self._release()

    def open(self) -> VideoInfo:
        """Read the header, if the first step has not: its facts. Raises the error that `End` would carry."""
        _, container, stream = self._open()
        rate = stream.average_rate or stream.guessed_rate
        duration_s = None if container.duration is None else max(0.0, container.duration / 1_000_000)
        return VideoInfo(
            width_px=stream.codec_context.width,
            height_px=stream.codec_context.height,
            fps=float(rate) if rate else None,
            duration_s=duration_s,
            n_frames=stream.frames or (round(duration_s * float(rate)) if duration_s and rate else None),
        )

    def _open(self) -> _Opened:
        if self._opened is None:
            source = DemuxInput(self._source)
            try:
                container, stream = open_video(source, limits=self._limits)
            except SightlineError:
                source.close()
                raise
            stream.codec_context.thread_type = "AUTO"
            stream.codec_context.thread_count = self._n_threads
            self._opened = (source, container, stream)
        return self._opened

    def _release(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            opened[1].close()
            opened[0].close()

    def _until_end(self) -> Generator[Outcome[Frame], None, None]:
        try:
            for decoded in DecodingLoop(*self._open(), limits=self._limits).frames():
                yield self._outcome(decoded)
        except SightlineError as error:
            end = End(error=error)
        else:
            end = End()
        finally:
            self._release()
        yield end

    def _outcome(self, decoded: Decoded) -> Outcome[Frame]:
        ref = FrameRef(stream_id=self._stream_id, epoch=self._epoch, seq=self._seq, pts_s=decoded.pts_s)
        self._seq += 1
        if decoded.picture is None:
            return Failed(ref=ref, error=UndecodableError("the frame is damaged"))
        if self._sampler is not None and not self._sampler.is_due(decoded.pts_s or 0.0):
            return Dropped(ref=ref, reason=DropReason.SAMPLED)
        return self._frame(decoded.picture, ref)

    def _frame(self, picture: VideoFrame, ref: FrameRef) -> Frame:
        self._limits.check_video(picture.width, picture.height)
        rgb, width_px, height_px = self._scaler.rgb(picture, scale_for=self._scale_for)
        return Frame(
            rgb=rgb,
            source_width_px=width_px,
            source_height_px=height_px,
            ref=ref,
            query=self._spec.query,
            route=self._route,
            urgency=self._urgency,
        )

    def _scale_for(self, width_px: int, height_px: int) -> float:
        """The factor by which an upright picture of that size is shrunk."""
        if self._model_size_px is None:
            return 1.0
        model_width_px, model_height_px = self._model_size_px
        return needed_scale(
            width_px,
            height_px,
            query=self._spec.query,
            model_width_px=model_width_px,
            model_height_px=model_height_px,
        )


def _sampler(spec: VideoSpec) -> Sampler | None:
    if spec.mode is not FrameMode.TARGET_FPS:
        return None
    if spec.fps is None or not spec.fps > 0:
        raise InvalidParameterError("target_fps needs a frame rate above zero")
    return Sampler(fps=spec.fps)
