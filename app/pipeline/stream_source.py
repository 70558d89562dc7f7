"""A pulled source in front of a live stream: its frames, losses and changes of state, told as the stream tells them."""

from typing import TYPE_CHECKING

import numpy as np

from app.core import metrics as table
from app.core.frame import Frame, FrameRef, Timings
from app.core.outcome import DropReason
from app.media.pull.messages import Reason
from app.media.pull.source_url import source_of
from app.pipeline.pulled_stream import FramesLost, Pulled, PulledFrame, PulledStream, StateChanged
from app.pipeline.surroundings import Surroundings
from app.policy.reconnect import POLICIES
from app.policy.session import SessionState
from app.policy.source_clock import StampVerdict

if TYPE_CHECKING:
    from app.pipeline.live_stream import LiveStream

_DROPS = {Reason.SUPERSEDED: DropReason.SUPERSEDED, Reason.SAMPLED: DropReason.SAMPLED}
_NOTHING = np.zeros((1, 1, 3), dtype=np.uint8)
_JUMPS = frozenset({StampVerdict.WENT_BACK, StampVerdict.LEAPT_AHEAD, StampVerdict.FELL_BEHIND})


class StreamSource:
    """Pulls for `stream` from its making until `stop`; InvalidParameterError for a source that may not be pulled."""

    def __init__(self, stream: "LiveStream", url: str, around: Surroundings) -> None:
        self.url = url
        self._stream = stream
        self._metrics = around.metrics
        self._attempt = 0
        self._is_over = False
        self._pulled = PulledStream(
            source_of(url, around.pull),
            policy=POLICIES[stream.spec.reconnect],
            model=around.models.default,
            video=stream.spec.video,
            parameters=around.pull,
            sink=self._hear,
            limits=around.decoding,
            pace=around.pace,
        )
        self._pulled.start()

    @property
    def is_over(self) -> bool:
        """Whether the file or the recording has come to its end."""
        return self._is_over

    async def stop(self) -> None:
        """Let go of the source; returns when nothing of it is left."""
        await self._pulled.stop()

    def _hear(self, news: Pulled) -> None:
        match news:
            case PulledFrame():
                self._frame(news)
            case FramesLost(count=None, reason=reason):
                newest = self._stream.next_seq - 1
                self._stream.tell_gap(newest, newest + 1, reason=reason)
            case FramesLost(count=int(count), reason=reason):
                for _ in range(count):
                    self._lost(reason)
            case StateChanged(state=state, reason=reason, attempt=attempt):
                self._is_over = state is SessionState.IDLE and reason is Reason.ENDED
                if attempt > self._attempt:
                    self._metrics.count(table.TRACKER_RECONNECTS, (reason or "",), by=attempt - self._attempt)
                self._attempt = attempt
                self._stream.tell_state(state.value, reason=reason, attempt=attempt)

    def _frame(self, pulled: PulledFrame) -> None:
        ref = FrameRef(
            stream_id=self._stream.stream_id,
            seq=self._stream.next_seq,
            captured_at=pulled.captured_at,
            pts_s=pulled.pts_s,
        )
        frame = Frame(
            rgb=pulled.rgb,
            source_width_px=pulled.source_width_px,
            source_height_px=pulled.source_height_px,
            ref=ref,
            query=self._stream.spec.video.query,
            timings=Timings(decode_s=pulled.decode_s),
        )
        self._metrics.observe(table.DECODER_SECONDS, ("pull",), value=pulled.decode_s)
        self._stream.capture(frame, metadata={"clock": pulled.verdict.value} if pulled.verdict in _JUMPS else None)

    def _lost(self, reason: Reason) -> None:
        """One frame that the source gave and the decoder did not."""
        nothing = Frame(
            rgb=_NOTHING,
            source_width_px=1,
            source_height_px=1,
            ref=FrameRef(stream_id=self._stream.stream_id, seq=self._stream.next_seq),
        )
        dropped = _DROPS.get(reason, DropReason.SOURCE_LOST)
        self._stream.capture(nothing, dropped=dropped, metadata={"source": reason.value})
