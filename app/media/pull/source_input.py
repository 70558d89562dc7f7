"""A source opened with FFmpeg so that it speaks to nobody, and opens nothing, but by our doors."""

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import PurePosixPath
from typing import Final

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from app.core.errors import NotFoundError, SightlineError, TooLargeError
from app.media.demux_input import DemuxInput
from app.media.limits import DecodeLimits
from app.media.opening import AV_ERRORS, open_video
from app.media.pull.http_body import HttpBody, open_body, referred
from app.media.pull.messages import Reason
from app.media.pull.parameters import PullParameters
from app.media.pull.reach import SourceFailedError, reach
from app.media.pull.rtsp_door import RtspDoor
from app.media.pull.source_url import SourceUrl, open_file

av.logging.set_level(None)  # it would log addresses with their passwords

_CODECS: Final = frozenset({"h264", "hevc", "mjpeg", "vp8", "vp9", "av1", "mpeg1video", "mpeg2video", "mpeg4"})
"""What cameras send. FFmpeg's other decoders are older, and fewer eyes have seen them."""
_PLAYLIST_TYPES: Final = frozenset(
    {"application/vnd.apple.mpegurl", "application/x-mpegurl", "audio/mpegurl", "audio/x-mpegurl"}
)
_PROBE: Final = {"probesize": "1000000", "analyzeduration": "500000", "fpsprobesize": "0"}
"""How much is read before the first frame: enough to learn the size, not to estimate a rate that is not used."""
_RTSP: Final = {
    "rtsp_transport": "tcp",
    "protocol_whitelist": "rtsp,rtp,tcp",
    "format_whitelist": "rtsp",
    "allowed_media_types": "video",
    "max_delay": "0",
    "correct_ts_overflow": "0",  # it takes a jump back for a wrap, and the RTP reader has unwrapped the stamps
}
_PLAYLIST: Final = {
    "protocol_whitelist": "http,https",
    "format_whitelist": "hls,mpegts,mov",
    "http_persistent": "0",
    "max_reload": "5",
    "allowed_extensions": "ALL",  # what may be opened is decided by us, not by how it is spelled
    "extension_picky": "0",
}
_PLAIN: Final = {"protocol_whitelist": "none", "format_whitelist": "mpjpeg,mpegts,flv,mov,matroska,h264,hevc"}


class SourceInput:
    """An open source: its container, its picture stream, and what has to be given back afterwards.

    `is_paced` says that it can be read faster than it was recorded. SourceFailedError when it cannot be opened.
    """

    def __init__(self, source: SourceUrl, *, parameters: PullParameters, limits: DecodeLimits) -> None:
        self._parameters = parameters
        self._limits = limits
        self._held = ExitStack()
        self._failure: Callable[[], Reason | None] = lambda: None
        self.announced_s: float | None = None
        self.is_paced = source.is_file
        try:
            self.container, self.stream = self._open(source)
        except BaseException:
            self._held.close()
            raise

    @property
    def failure(self) -> Reason | None:
        """What broke outside FFmpeg, if anything did: it makes an end of the input of it."""
        return self._failure()

    def close(self) -> None:
        """Let go of everything."""
        self._held.close()

    def _open(self, source: SourceUrl) -> tuple[InputContainer, VideoStream]:
        if source.is_file:
            return self._open_file(source)
        container = self._open_rtsp(source) if source.is_rtsp else self._open_http(source)
        self._held.callback(container.close)
        stream = next(iter(container.streams.video), None)
        if stream is None or stream.codec_context is None or stream.codec_context.name not in _CODECS:
            raise SourceFailedError(Reason.UNSUPPORTED)
        if stream.codec_context.width * stream.codec_context.height > self._limits.max_video_pixels:
            raise SourceFailedError(Reason.TOO_LARGE)
        stream.codec_context.options = {"max_pixels": str(self._limits.max_video_pixels)}
        return container, stream

    def _open_file(self, source: SourceUrl) -> tuple[InputContainer, VideoStream]:
        try:
            file = self._held.enter_context(os.fdopen(open_file(source.path, self._parameters), "rb"))
            demuxed = DemuxInput(file)
            container, stream = open_video(demuxed, limits=self._limits)
        except TooLargeError:
            raise SourceFailedError(Reason.TOO_LARGE) from None
        except NotFoundError:
            raise SourceFailedError(Reason.NOT_FOUND) from None
        except SightlineError:
            raise SourceFailedError(Reason.UNSUPPORTED) from None
        self._held.callback(container.close)
        return container, stream

    def _open_rtsp(self, source: SourceUrl) -> InputContainer:
        door = RtspDoor(reach(source, self._parameters), connect_s=self._parameters.connect_s)
        self._held.callback(door.close)
        self._failure = lambda: door.watch.refusal
        with self._translated():
            container = av.open(door.url(source), "r", format="rtsp", options=_PROBE | self._pixels | _RTSP)
        self.announced_s = door.watch.announced_s
        return container

    def _open_http(self, source: SourceUrl) -> InputContainer:
        body = open_body(source, self._parameters)
        self._held.callback(body.close)
        self._failure = lambda: body.failure
        is_playlist = PurePosixPath(body.source.path.partition("?")[0]).suffix in (".m3u8", ".m3u")
        if is_playlist or body.content_type in _PLAYLIST_TYPES:
            return self._open_playlist(body)
        self.is_paced = body.has_end
        kind = "mpjpeg" if body.content_type.startswith("multipart/") else None
        with self._translated():
            return av.open(body, "r", format=kind, options=_PROBE | self._pixels | _PLAIN, metadata_errors="ignore")

    def _open_playlist(self, body: HttpBody) -> InputContainer:
        failures: list[Reason] = []
        self._failure = lambda: failures[-1] if failures else body.failure
        self.is_paced = True

        def open_referred(url: str, _flags: int, _options: dict[str, str]) -> HttpBody:
            if Reason.FORBIDDEN in failures:  # FFmpeg would go on to the next entry, and to the next playlist
                raise PermissionError
            try:
                return open_body(referred(body.source, url, self._parameters), self._parameters)
            except SourceFailedError as error:
                failures.append(error.reason)
                raise OSError(error.reason) from None

        with self._translated():
            return av.open(
                body,
                "r",
                format="hls",
                options=_PROBE | self._pixels | _PLAYLIST,
                io_open=open_referred,
                metadata_errors="ignore",
            )

    @property
    def _pixels(self) -> dict[str, str]:
        return {"max_pixels": str(self._limits.max_video_pixels)}

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """FFmpeg's errors as what went wrong outside it, else as a source that cannot be read."""
        try:
            yield
        except AV_ERRORS:
            raise SourceFailedError(self.failure or Reason.UNDECODABLE) from None
