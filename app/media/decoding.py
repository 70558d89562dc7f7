"""The decoding loop: packets in, frames out in presentation order, the damaged ones named."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from app.core.errors import UndecodableError
from app.media.demux_input import DemuxInput
from app.media.limits import DecodeLimits
from app.media.opening import AV_ERRORS
from app.media.presentation import PresentationClock
from app.media.whole import is_cut

_MAX_LOST_IN_A_ROW: Final = 1_000


class Decoded(NamedTuple):
    """One captured frame: its picture, or None where it is damaged, and when it is shown."""

    picture: VideoFrame | None
    pts_s: float | None


class DecodingLoop:
    """Goes once through the pictures of one stream.

    Damage counts as a lost frame once a whole frame follows it. Before the first whole frame it is a stream joined in
    the middle; behind the last one it is how the video ends.
    """

    def __init__(
        self, source: DemuxInput, container: InputContainer, stream: VideoStream, *, limits: DecodeLimits
    ) -> None:
        self._source = source
        self._container = container
        self._stream = stream
        self._limits = limits
        self._clock = PresentationClock(container, stream)
        self._lost: list[Decoded] = []
        self._n_whole = 0
        self._is_broken = False

    def frames(self) -> Iterator[Decoded]:
        """The frames; raises the SightlineError that the video ends with, if it does not end well."""
        for packet in self._packets():
            for picture in self._decode(packet):
                yield from self._whole(picture)
            if len(self._lost) > _MAX_LOST_IN_A_ROW:
                break
        self._is_broken = self._is_broken or bool(self._lost)
        self._lost.clear()
        for picture in self._left_over():
            yield from self._whole(picture)
        if self._source.error is not None:
            raise self._source.error
        if not self._n_whole:
            raise UndecodableError("no frame of the video could be decoded")
        if self._is_broken or self._lost or is_cut(self._source):
            raise self._source.error or UndecodableError("the video is cut short or broken")

    def _packets(self) -> Iterator["Packet[VideoStream]"]:
        """The stream's packets; one that arrived in part is left out where it is the last, since there the file is cut.

        The decoder would report it late, and lose whole frames with it.
        """
        held: list[Packet[VideoStream]] = []
        try:
            for packet in self._container.demux(self._stream):
                if not packet.size:
                    break
                yield from held
                held = [packet] if packet.is_corrupt else []
                if not held:
                    yield packet
        except AV_ERRORS:
            self._is_broken = True
        self._is_broken = self._is_broken or bool(held)

    def _whole(self, picture: VideoFrame) -> Iterator[Decoded]:
        """The frames lost before this one, then itself; nothing yet for one that FFmpeg says is damaged."""
        pts_s = self._clock.pts_s(picture)
        if picture.is_corrupt:
            self._lost.append(Decoded(None, pts_s))
            return
        if self._n_whole:
            yield from self._lost
        self._lost.clear()
        self._n_whole += 1
        yield Decoded(picture, pts_s)

    def _decode(self, packet: "Packet[VideoStream]") -> list[VideoFrame]:
        """What comes out with this packet; of a packet that arrived in part, FFmpeg marks the picture as corrupt."""
        try:
            return packet.decode()
        except AV_ERRORS:
            # max_pixels stops the decoder with the same error as damage does; the size tells them apart.
            self._limits.check_video(self._stream.codec_context.width, self._stream.codec_context.height)
        self._lost.append(Decoded(None, self._clock.seconds(packet.pts)))
        return []

    def _left_over(self) -> list[VideoFrame]:
        """The frames that the decoder still holds for reordering."""
        try:
            return self._stream.codec_context.decode(None)
        except AV_ERRORS:
            self._is_broken = True
            return []
