"""The decoding loop of a pulled source: packets in, frames to the hand-over, each packet with exactly one end."""

import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

from av.codec.context import Flags as CodecFlags
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from app.media.opening import AV_ERRORS
from app.media.pull.backlog import Backlog
from app.media.pull.handover import Handover
from app.media.pull.messages import Filled, Job, Reason
from app.media.pull.pacing import Pace
from app.media.pull.source_input import SourceInput
from app.media.sampling import Sampler
from app.media.scaling import Scaler

_MAX_DELAY: Final = 32
"""Packets by which a decoder may hold a frame back, 16 for reordering and as many to spare; then it will not come."""
_CAPTURE: Final = struct.Struct("<q")
"""AVProducerReferenceTime: microseconds since 1970, then flags. FFmpeg makes it from RTCP sender reports."""


@dataclass(frozen=True, slots=True)
class _Arrival:
    """One packet: its number, when it was here, and when the source says that it was captured."""

    number: int
    arrived_s: float
    arrived_at: float
    ntp_s: float | None


class Reading:
    """Reads one connection to its end. `count` is told of each frame taken in, before anything can happen to it."""

    def __init__(self, job: Job, source: SourceInput, *, handover: Handover, count: Callable[[], int]) -> None:
        self._job = job
        self._source = source
        self._handover = handover
        self._count = count
        self._open: dict[int, None] = {}
        self._backlog: Backlog[Packet[VideoStream]] = Backlog(is_live=not source.is_paced)
        self._reason = Reason.CLOSED
        self._scaler = Scaler()
        self._sampler = None if job.fps is None else Sampler(fps=job.fps)
        is_paced = source.is_paced and (job.parameters.pace or not job.source.is_file)
        self._pace = Pace() if is_paced else None
        self._busy_since_s: float | None = None
        stream = source.stream
        stream.codec_context.thread_count = 1  # frame threads would hold frames back
        stream.codec_context.flags |= CodecFlags.copy_opaque
        self._is_first = True
        self._time_base = stream.time_base
        self._has_times = source.container.format.name != "mpjpeg"  # which counts 25 a second, whatever comes

    @property
    def busy_s(self) -> float:
        """For how long FFmpeg has been decoding one packet; 0 while it is not."""
        since_s = self._busy_since_s
        return 0.0 if since_s is None else time.monotonic() - since_s

    def run(self) -> Reason:
        """Why it ended; every frame that was taken in has been handed over or shed."""
        reader = threading.Thread(target=self._read, daemon=True)
        reader.start()
        for packet, skipped in self._backlog:
            self._handover.shed(skipped, Reason.SUPERSEDED)
            arrival = cast("_Arrival", packet.opaque)
            self._open[arrival.number] = None
            self._decode(packet)
            self._shed_before(arrival.number - _MAX_DELAY)
        reader.join()
        self._decode(None)
        self._shed_before(None)
        self._handover.shed(self._backlog.skipped, Reason.SUPERSEDED)
        return self._source.failure or self._reason

    def _read(self) -> None:
        """Packets from the source into the backlog, each with its arrival."""
        try:
            for packet in self._source.container.demux(self._source.stream):
                if packet.size:
                    number = self._count()
                    packet.opaque = _Arrival(number, time.monotonic(), time.time(), _captured_s(packet))
                    self._backlog.put(packet, is_key=packet.is_keyframe)
            if self._source.is_paced:
                self._reason = Reason.ENDED
        except AV_ERRORS:
            pass  # the connection broke, which is how the others end, too
        self._backlog.end()

    def _decode(self, packet: "Packet[VideoStream] | None") -> None:
        begun_s = self._busy_since_s = time.monotonic()
        try:
            frames = self._source.stream.codec_context.decode(packet)
        except AV_ERRORS:
            return  # what it would have given is shed when it is overdue
        finally:
            self._busy_since_s = None
        decode_s = (time.monotonic() - begun_s) / max(1, len(frames))
        for frame in frames:
            self._hand_over(frame, decode_s=decode_s)

    def _hand_over(self, frame: VideoFrame, *, decode_s: float) -> None:
        arrival = frame.opaque
        if not isinstance(arrival, _Arrival) or arrival.number not in self._open:
            arrival = _Arrival(self._count(), time.monotonic(), time.time(), None)  # a second frame of one packet
        self._open.pop(arrival.number, None)
        if frame.is_corrupt:
            self._handover.shed(1, Reason.UNDECODABLE)
            return
        if frame.width * frame.height > self._job.limits.max_video_pixels:
            self._handover.shed(1, Reason.TOO_LARGE)
            return
        pts_s = self._pts_s(frame)
        self._is_first = False
        if self._pace is not None and pts_s is not None:
            self._pace.wait(pts_s)
            arrival = _Arrival(arrival.number, time.monotonic(), time.time(), None)
        if self._sampler is not None and not self._sampler.is_due(arrival.arrived_s if pts_s is None else pts_s):
            self._handover.shed(1, Reason.SAMPLED)
            return
        begun_s = time.monotonic()
        rgb, width_px, height_px = self._scaler.rgb(frame, scale_for=self._scale_for)
        self._handover.offer(
            Filled(
                slot=0,
                width_px=rgb.shape[1],
                height_px=rgb.shape[0],
                source_width_px=width_px,
                source_height_px=height_px,
                pts_s=pts_s,
                ntp_s=arrival.ntp_s,
                arrived_s=arrival.arrived_s,
                arrived_at=arrival.arrived_at,
                decode_s=decode_s + time.monotonic() - begun_s,
            ),
            rgb,
        )

    def _pts_s(self, frame: VideoFrame) -> float | None:
        if frame.pts is None and self._is_first and self._job.source.is_rtsp:
            return 0.0  # where RTP begins to count; FFmpeg's parser loses the stamp of the first picture
        if frame.pts is None or self._time_base is None or not self._has_times:
            return None
        return float(frame.pts * self._time_base)

    def _scale_for(self, width_px: int, height_px: int) -> float:
        return min(self._job.fit_width_px / width_px, self._job.fit_height_px / height_px, 1.0)

    def _shed_before(self, number: int | None) -> None:
        """Give up on the packets before that one, or on all, that no frame has come of."""
        overdue = [taken for taken in self._open if number is None or taken < number]
        for taken in overdue:
            del self._open[taken]
        self._handover.shed(len(overdue), Reason.UNDECODABLE)


def _captured_s(packet: "Packet[VideoStream]") -> float | None:
    """When the source says that the picture was captured, UTC in seconds; None where it does not."""
    if not packet.has_sidedata("prft"):
        return None
    return float(_CAPTURE.unpack_from(bytes(packet.get_sidedata("prft")))[0] / 1e6)
