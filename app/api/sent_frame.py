"""A frame as its sender numbered and described it: a `VideoFrame` message, checked."""

from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError

from app.contract.vision_pb2 import VideoFrame
from app.core.errors import InvalidParameterError, InvalidRequestError
from app.core.outcome import DropReason
from app.pipeline.stream_host import Offer
from app.policy.sequence import CYCLE

MAX_FRAME_BYTES: Final = 8 * 1024**2
ENVELOPE_BYTES: Final = 64 * 1024
"""What a message may hold beside the picture."""
MAX_MESSAGE_BYTES: Final = MAX_FRAME_BYTES + ENVELOPE_BYTES
MAX_METADATA: Final = 32
MAX_METADATA_CHARACTERS: Final = 4096
_LATEST_S: Final = 253_402_300_800
"""The end of year 9999: the last second that a Timestamp may name. Source: google/protobuf/timestamp.proto."""
_EARLIEST_S: Final = -62_135_596_800
_NANOS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SentFrame:
    """`offer.seq` is the frame's number; else it ends in the 16 bits `abs16`; else it counts on from the newest."""

    offer: Offer
    abs16: int | None = None


def parse(message: bytes) -> VideoFrame:
    """The message in those bytes; InvalidRequestError when they hold none."""
    try:
        return VideoFrame.FromString(message)
    except DecodeError:
        raise InvalidRequestError("the message is no VideoFrame") from None


def is_greeting(frame: VideoFrame) -> bool:
    """Whether the message holds no frame: it opens the stream, or only shows that its sender is alive."""
    return not (frame.data or any(map(frame.HasField, ("seq", "base_seq", "delta_offset", "dropped"))))


def sent_frame(frame: VideoFrame) -> SentFrame:
    """The frame of the message; InvalidParameterError names what is wrong with it.

    The hint is not looked at, because the bytes decide. Priority is the stream's own, and the epoch that of its owner.
    """
    if len(frame.data) > MAX_FRAME_BYTES:
        raise InvalidParameterError(f"data: at most {MAX_FRAME_BYTES} bytes")
    if frame.HasField("seq") and frame.seq >= 1 << 63:
        raise InvalidParameterError("seq: below 2^63")
    dropped = _dropped(frame)
    offer = Offer(
        data=b"" if dropped else frame.data,
        seq=frame.seq if frame.HasField("seq") else None,
        captured_at=_captured_at(frame),
        metadata=_metadata(frame),
        dropped=dropped,
    )
    return SentFrame(offer=offer, abs16=None if frame.HasField("seq") else _abs16(frame))


def _abs16(frame: VideoFrame) -> int | None:
    if not frame.HasField("base_seq"):
        return None
    half = CYCLE // 2
    if frame.base_seq >= CYCLE or not -half <= frame.delta_offset < half:
        raise InvalidParameterError("base_seq: 16 bits without a sign; delta_offset: 16 bits with one")
    return (frame.base_seq + frame.delta_offset) % CYCLE


def _captured_at(frame: VideoFrame) -> float | None:
    if not frame.HasField("captured_at"):
        return None
    at = frame.captured_at
    captured_at = at.seconds + at.nanos / _NANOS  # as a float it may round up into the year 10000
    if not _EARLIEST_S <= captured_at < _LATEST_S or not 0 <= at.nanos < _NANOS:
        raise InvalidParameterError("captured_at: a time of the years 1 to 9999")
    return captured_at


def _metadata(frame: VideoFrame) -> dict[str, str]:
    metadata = dict(frame.metadata)
    if len(metadata) > MAX_METADATA or sum(map(len, (*metadata, *metadata.values()))) > MAX_METADATA_CHARACTERS:
        raise InvalidParameterError(f"metadata: at most {MAX_METADATA} entries, {MAX_METADATA_CHARACTERS} characters")
    return metadata


def _dropped(frame: VideoFrame) -> DropReason | None:
    if not frame.HasField("dropped"):
        return None
    try:
        return DropReason(frame.dropped)
    except ValueError:
        raise InvalidParameterError(f"dropped: one of {', '.join(DropReason)}") from None
