"""Opens a video with FFmpeg so that nothing but the bytes given is ever read, and picks its picture stream."""

from functools import cache
from typing import Final

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.format import formats_available
from av.video.stream import VideoStream

from app.core.errors import InvalidRequestError, SightlineError, UndecodableError, UnsupportedMediaError
from app.media.demux_input import DemuxInput
from app.media.limits import DecodeLimits

av.logging.set_level(None)  # what FFmpeg logs is up to the file's sender

AV_ERRORS: Final = (FFmpegError, OSError, ValueError, ArithmeticError, LookupError, MemoryError)
"""What PyAV raises for bad input: its own errors, and built-in ones where it maps errno values or broken fields."""

_OPENING_OTHERS: Final = frozenset(
    {
        *("concat", "dash", "ffmetadata", "hls", "image2", "imf", "ingenient", "ivr", "lavfi", "redspark", "rm"),
        *("rtp", "rtsp", "sap", "sdp", "tty", "vobsub", "webm_dash_manifest"),
        *("alsa", "fbdev", "kmsgrab", "v4l2", "video4linux2", "x11grab"),
    }
)
"""Demuxers that open files, devices or sockets named inside the input, or take any text for a picture."""

_BUFFER_BYTES: Final = 65_536
_KNOWN_STARTS: Final = (b"\x1a\x45\xdf\xa3", b"FLV", b"OggS", b"GIF8", b"\x00\x00\x01", b"\x00\x00\x00\x01")
_ATTACHED_PICTURE: Final = 0x0400  # AV_DISPOSITION_ATTACHED_PIC: a cover, no video


@cache
def _allowed_formats() -> str:
    """Every demuxer of this FFmpeg except those that would open something else."""
    names = {part for name in formats_available for part in name.split(",")} - _OPENING_OTHERS
    return ",".join(sorted(name for name in names if not name.endswith("_pipe")))


def _is_known_start(head: bytes) -> bool:
    is_riff = head[:4] == b"RIFF" and head[8:12] == b"AVI "
    return is_riff or head[4:8] in (b"ftyp", b"moov", b"mdat") or head.startswith(_KNOWN_STARTS)


def open_video(source: DemuxInput, *, limits: DecodeLimits) -> tuple[InputContainer, VideoStream]:
    """The container and its best picture stream, nothing decoded yet.

    Raises InvalidRequestError (no bytes), UnsupportedMediaError (no video in it), UndecodableError (a video, but its
    header is broken or missing), TooLargeError, and whatever the source itself failed with.
    """
    if not source.head:
        raise source.error or InvalidRequestError("the body is empty")
    options = {"protocol_whitelist": "none", "format_whitelist": _allowed_formats()}
    if source.is_growing:
        # An index at the end is not waited for, nor is the end asked for the length.
        options |= {"fflags": "+genpts+ignidx", "skip_estimate_duration_from_pts": "1"}
    try:
        container = av.open(
            source,
            "r",
            options=options | {"max_pixels": str(limits.max_video_pixels)},
            metadata_errors="ignore",
            buffer_size=_BUFFER_BYTES,
        )
    except AV_ERRORS:
        raise source.error or _unreadable(source.head) from None
    try:
        if not (container.streams.video or container.streams.audio or container.streams.subtitles):
            raise _unreadable(source.head)  # the header was cut before it said what is in the file
        return container, _picture_stream(container, limits=limits)
    except SightlineError:
        container.close()
        raise


def _unreadable(head: bytes) -> SightlineError:
    if _is_known_start(head):
        return UndecodableError("the video's header is broken or cut off")
    return UnsupportedMediaError("not a video that is read here")


def _picture_stream(container: InputContainer, *, limits: DecodeLimits) -> VideoStream:
    """FFmpeg's choice among the video streams that are no cover picture; its decoder opens with our limits."""
    streams = [s for s in container.streams.video if not int(s.disposition) & _ATTACHED_PICTURE]
    best = container.streams.best("video")
    stream = best if isinstance(best, VideoStream) and best in streams else next(iter(streams), None)
    if stream is None:
        raise UnsupportedMediaError("the file holds no video")
    context = stream.codec_context
    if context is None:
        raise UnsupportedMediaError("there is no decoder for this video")
    limits.check_video(context.width, context.height)
    context.options = {"max_pixels": str(limits.max_video_pixels)}
    return stream
