"""A stream that is pulled: session policy, decoder process and source clock joined on one event loop."""

import asyncio
import math
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeAlias

from app.core.frame import Pixels
from app.core.model import ModelSpec
from app.core.video import FrameMode, VideoSpec
from app.media.limits import DEFAULT_LIMITS, DecodeLimits
from app.media.pull.messages import Alive, Broken, Job, NotOpened, Opened, Reason, Shed
from app.media.pull.parameters import PullParameters
from app.media.pull.process import DecoderProcess, Died, News, Picture
from app.media.pull.source_url import SourceUrl
from app.pipeline.pulled_time import PulledTime
from app.policy.connect_pace import ConnectPace
from app.policy.reconnect import CAP_S, ReconnectPolicy
from app.policy.session import (
    Close,
    Connect,
    Connected,
    ConnectFailed,
    Event,
    FrameArrived,
    Lost,
    ResetSequence,
    Session,
    SessionState,
    Start,
    Stopped,
    transition,
)
from app.policy.source_clock import StampVerdict
from app.vision.letterbox import needed_scale

START_S: Final = 3.0
"""A decoder process may take so long to start before the time to connect begins."""
SILENT_S: Final = 3.0
"""A process that says nothing for so long (it says that it lives once a second) is stuck, not its source."""
_LASTING: Final = frozenset(
    {Reason.UNAUTHORIZED, Reason.FORBIDDEN, Reason.REDIRECTED, Reason.UNSUPPORTED, Reason.TOO_LARGE}
)
"""What seconds do not heal is tried every ten seconds, whatever the policy: cameras lock out who guesses passwords."""
_HUGE_PX: Final = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class PulledFrame:
    """One frame: `rgb` `(h, w, 3)`, read-only, scaled towards the model's input; `source_*_px` is its true size.

    `captured_at` is UTC in seconds, `pts_s` counts from the stream's first frame and never goes back, `verdict` says
    what the source's stamp was worth, `decode_s` is what decoding and scaling took.
    """

    rgb: Pixels
    source_width_px: int
    source_height_px: int
    captured_at: float
    pts_s: float
    decode_s: float
    verdict: StampVerdict


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChanged:
    """Where the session stands now and why; `attempt` counts tries since the stream last ran well.

    `resets_sequence`: the frame numbers of this connection start anew, as the policy has it.
    """

    state: SessionState
    reason: Reason | None
    attempt: int
    resets_sequence: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FramesLost:
    """Frames that were taken from the source and will not come; `count` None where nobody can know how many."""

    count: int | None
    reason: Reason


Pulled: TypeAlias = PulledFrame | StateChanged | FramesLost


class PulledStream:
    """One pulled stream. `sink` gets what happens, in order, on the event loop; it must not block.

    A file is read once: its end, and any failure, ends the stream. Streams that share a `pace` do not all connect at
    once; files do not wait for it. `clock` is monotonic.
    """

    def __init__(
        self,
        source: SourceUrl,
        *,
        policy: ReconnectPolicy,
        model: ModelSpec,
        video: VideoSpec,
        parameters: PullParameters,
        sink: Callable[[Pulled], None],
        limits: DecodeLimits = DEFAULT_LIMITS,
        pace: ConnectPace | None = None,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.source = source
        self._policy = replace(policy, max_attempts=0) if source.is_file else policy
        self._parameters = parameters
        self._job = job_of(source, model=model, video=video, parameters=parameters, limits=limits)
        self._sink = sink
        self._pace = ConnectPace() if pace is None else pace
        self._clock = clock
        self._jitter = jitter
        self._session = Session()
        self._time = PulledTime(has_model=parameters.pace or not source.is_file)
        self._process: DecoderProcess | None = None
        self._dying: set[DecoderProcess] = set()
        self._crashes_s: deque[float] = deque(maxlen=parameters.max_crashes)
        self._is_busy = False
        self._busy_s = 0.0
        self._heard_s = self._due_s = 0.0
        self._retry: asyncio.TimerHandle | None = None
        self._watch: asyncio.TimerHandle | None = None

    @property
    def state(self) -> SessionState:
        """Where the session stands."""
        return self._session.state

    @property
    def pid(self) -> int | None:
        """The decoder process, while there is one."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Begin to connect; nothing when it runs already."""
        self._step(Start())

    async def stop(self) -> None:
        """End the session; returns when nothing of it is left."""
        missing = 0 if self._process is None else self._process.missing
        if missing:
            self._sink(FramesLost(count=missing, reason=Reason.STOPPED))
        self._step(Stopped(), reason=Reason.STOPPED)
        while self._dying:
            process = next(iter(self._dying))
            await process.gone()
            self._dying.discard(process)

    def _step(self, event: Event, *, reason: Reason | None = None) -> None:
        """Change the session, do what follows, and tell."""
        before = self._session
        self._session, effects = transition(before, event, policy=self._policy, jitter=self._jitter())
        resets_sequence = False
        for effect in effects:
            match effect:
                case Close():
                    self._close()
                case Connect(after_s=after_s):
                    after_s = max(after_s, CAP_S) if reason in _LASTING else after_s
                    self._retry = asyncio.get_running_loop().call_later(after_s, self._take_turn)
                case ResetSequence():
                    resets_sequence = True
        if self.state is SessionState.IDLE:
            self._discard()
        if before.state is not self.state:
            self._tell_pace(before.state)
        if effects:
            told = StateChanged(
                state=self.state, reason=reason, attempt=self._session.attempt, resets_sequence=resets_sequence
            )
            self._sink(told)

    def _close(self) -> None:
        for timer in (self._retry, self._watch):
            if timer is not None:
                timer.cancel()
        self._retry = self._watch = None
        if self._is_busy:
            self._discard()

    def _discard(self) -> None:
        """Be rid of the process; it is waited for when the stream stops, or when it happens to be gone."""
        process, self._process, self._is_busy = self._process, None, False
        if process is not None:
            process.kill()
            self._dying = {dying for dying in self._dying if not dying.is_gone} | {process}

    def _tell_pace(self, before: SessionState) -> None:
        """Be one of those who share it while the session runs."""
        if before is SessionState.IDLE:
            self._pace.join()
        elif self.state is SessionState.IDLE:
            self._pace.leave()

    def _take_turn(self) -> None:
        """Connect when it is this stream's turn."""
        after_s = 0.0 if self.source.is_file else self._pace.turn_s(now_s=self._clock())
        if after_s > 0:
            self._retry = asyncio.get_running_loop().call_later(after_s, self._connect)
        else:
            self._connect()

    def _connect(self) -> None:
        """Try a connection, in a fresh process where the old one is worn or gone."""
        if self._process is not None and self._process.connections >= self._parameters.max_connections:
            self._discard()
        start_s = 0.0
        if self._process is None:
            try:
                self._process = DecoderProcess(self._job, self._hear)
            except OSError:
                self._step(ConnectFailed(code=Reason.CRASHED), reason=Reason.CRASHED)
                return
            start_s = START_S
        self._is_busy = True
        self._busy_s = 0.0
        self._process.connect()
        self._heard_s = self._clock()
        self._expect(start_s + self._parameters.connect_s)

    def _expect(self, within_s: float) -> None:
        """Have the watchdog look after so many seconds; a frame until then puts it off."""
        if self._watch is not None:
            self._watch.cancel()
        self._due_s = self._clock() + within_s
        self._watch = asyncio.get_running_loop().call_later(within_s, self._look)

    def _look(self) -> None:
        """The watchdog: nothing while what is due may still come."""
        left_s = self._due_s - self._clock()
        if left_s > 0:
            self._expect(left_s)
            return
        is_stuck = self._busy_s > SILENT_S or self._clock() - self._heard_s > SILENT_S
        missing = 0 if self._process is None else self._process.missing
        if is_stuck:
            self._lose_process(missing, Reason.HUNG)
            return
        if missing:
            self._sink(FramesLost(count=missing, reason=Reason.UNDECODABLE))
        is_streaming = self.state is SessionState.STREAMING
        self._fail(Reason.STALLED if is_streaming else Reason.TIMEOUT)

    def _hear(self, news: News) -> None:
        """What the decoder process says."""
        self._heard_s = self._clock()
        match news:
            case Alive(busy_s=busy_s):
                self._busy_s = busy_s
            case Picture():
                self._deliver(news)
            case Shed(count=count, reason=reason):
                self._sink(FramesLost(count=count, reason=reason))
            case Opened(announced_s=announced_s):
                self._expect(self._parameters.stall_s)
                self._time.connected()
                self._step(Connected(announced_s=announced_s))
            case NotOpened(reason=reason) | Broken(reason=reason):
                self._is_busy = False
                self._fail(reason)
            case Died(missing=missing):
                self._lose_process(missing, Reason.CRASHED)

    def _deliver(self, picture: Picture) -> None:
        self._due_s = self._heard_s + self._parameters.stall_s
        self._busy_s = 0.0
        frame = picture.frame
        times = self._time.observe(
            frame.pts_s, ntp_s=frame.ntp_s, arrived_s=frame.arrived_s, arrived_at=frame.arrived_at
        )
        self._step(FrameArrived())
        self._sink(
            PulledFrame(
                rgb=picture.rgb,
                source_width_px=frame.source_width_px,
                source_height_px=frame.source_height_px,
                captured_at=times.captured_at,
                pts_s=times.pts_s,
                decode_s=frame.decode_s,
                verdict=times.verdict,
            )
        )

    def _fail(self, reason: Reason) -> None:
        """The connection, or the try for one, is over."""
        if reason is Reason.ENDED:
            self._step(Stopped(), reason=reason)
        elif self.state is SessionState.STREAMING:
            self._step(Lost(code=reason), reason=reason)
        else:
            self._step(ConnectFailed(code=reason), reason=reason)

    def _lose_process(self, missing: int, reason: Reason) -> None:
        """The process died or is stuck: what it held is lost, and when it happens too often it is over."""
        was_busy = self._is_busy
        self._discard()
        if not was_busy:
            return
        self._sink(FramesLost(count=missing or None, reason=reason))
        now_s = self._clock()
        is_full = len(self._crashes_s) == self._crashes_s.maxlen
        if is_full and now_s - self._crashes_s[0] < self._parameters.crash_window_s:
            self._step(Stopped(), reason=reason)
            return
        self._crashes_s.append(now_s)
        self._fail(reason)


def job_of(
    source: SourceUrl, *, model: ModelSpec, video: VideoSpec, parameters: PullParameters, limits: DecodeLimits
) -> Job:
    """What the decoder process is told: pictures are shrunk as far as the letterbox would shrink them."""
    to_model = partial(
        needed_scale,
        query=video.query,
        model_width_px=model.input_width_px,
        model_height_px=model.input_height_px,
    )
    # The process has no cv2, and so no letterbox: a strip as good as endless tells what it may shrink each side to.
    fit_width_px, fit_height_px = _HUGE_PX * to_model(_HUGE_PX, 1), _HUGE_PX * to_model(1, _HUGE_PX)
    n_pixels = min((math.ceil(fit_width_px) + 1) * (math.ceil(fit_height_px) + 1), limits.max_video_pixels)
    return Job(
        source=source,
        parameters=parameters,
        limits=limits,
        fit_width_px=fit_width_px,
        fit_height_px=fit_height_px,
        slot_bytes=3 * n_pixels,
        fps=video.fps if video.mode is FrameMode.TARGET_FPS else None,
    )
