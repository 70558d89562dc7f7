"""A scripted scene: two objects, a line and two zones, and everything that may become of a frame."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from app.core.errors import UndecodableError
from app.core.frame import Detections, EncodedFrame
from app.core.outcome import DropReason, Failed, Outcome
from tests.builders import make_detections
from tests.fakes import FakeChain

BROKEN: Final = b"bad"
_BEGIN_US: Final = 1_700_000_000_000_000
_STEP_US: Final = 66_667
_SOONER_US: Final = 5_000

SPEC: Final[dict[str, Any]] = {
    "mode": "target_fps",
    "fps": 30,  # twice the frames' own rate: all are due but the one that follows at once
    "lines": [
        {"name": "across", "start": [0.5, 0], "end": [0.5, 1]},
        {"name": "along", "start": [0, 0.5], "end": [1, 0.5]},
    ],
    "zones": [  # not in the order of their names, and with what lines of text, events and maps may stumble over
        {
            "name": "west\u2028 Süd 門",
            "polygon": [[0.25, 0], [0.65, 0], [0.65, 1], [0.25, 1]],
            "settle_s": 0.2,
            "dwell_s": 0.6,
        },
        {"name": "all", "polygon": [[0, 0], [1, 0], [1, 1], [0, 1]], "settle_s": 0.2},
    ],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneFrame:
    """One frame as its sender has it; `dropped` says why it sends no picture, `metadata` what comes back."""

    seq: int
    captured_us: int
    data: bytes = b"jpeg"
    dropped: DropReason | None = None
    metadata: dict[str, str] | None = None

    @property
    def captured_at(self) -> datetime:
        """The same in the words of the contract."""
        seconds, us = divmod(self.captured_us, 1_000_000)
        return datetime.fromtimestamp(seconds, tz=UTC).replace(microsecond=us)


def frames() -> list[SceneFrame]:
    """40 frames of 15 a second: the eighth is broken, another comes too soon to be looked at, three were not sent."""
    plain = [SceneFrame(seq=seq, captured_us=_BEGIN_US + seq * _STEP_US) for seq in range(43)]
    plain[7] = SceneFrame(seq=7, captured_us=plain[7].captured_us, data=BROKEN)
    plain[20] = SceneFrame(seq=20, captured_us=plain[19].captured_us + _SOONER_US)
    return plain[:26] + plain[29:]


def told_frames() -> list[SceneFrame]:
    """The same with what a client can say of a frame on connections only: that it dropped it, and metadata."""
    told = frames()
    told[14] = SceneFrame(seq=14, captured_us=told[14].captured_us, data=b"", dropped=DropReason.SOURCE_LOST)
    notes = {"z": "two\nlines", "a": "", "é": "data: 門"}
    told[15] = SceneFrame(seq=15, captured_us=told[15].captured_us, metadata=notes)
    return told


class WalkersChain(FakeChain):
    """A person who walks to the right through the line and the zone, a car that comes down; where, the frame says."""

    def _outcome(self, frame: EncodedFrame) -> Outcome[Detections]:
        if bytes(frame.data) == BROKEN:
            return Failed(ref=frame.ref, error=UndecodableError("broken"))
        x_px, y_px = 40.0 * frame.ref.seq, 12.0 * frame.ref.seq
        boxes = [[x_px, 100.0, x_px + 160.5, 400.25], [1500.0, y_px, 1700.0, y_px + 250.0]]
        return make_detections(boxes, score=[0.9, 0.7654], label=[0, 1], ref=frame.ref)
