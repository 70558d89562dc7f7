"""How many cameras a service holds, by bisection: which number to try next, and what a trial says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from statistics import median

WORK = ("decode_s", "preprocess_s", "inference_s", "postprocess_s")
"""Of the timings in an answer those in which a core works for one frame. `queue_s` is waiting, `total_s` holds all."""

MAX_CLIENT_SHARE = 0.8
"""Of one core."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """So many cameras for a while: how long each captured frame took from its capture, `inf` for one without result.

    `late_p99_s` is by how much the client itself came late to a frame, `client_share` what it used of one core.
    """

    cameras: int
    latency_p50_s: float
    latency_p99_s: float
    captured: int
    answered: int
    late_p99_s: float
    client_share: float

    def is_held(self, slo_p99_s: float) -> bool:
        """Whether all but one in a hundred frames had their result within the SLO."""
        return self.captured > 0 and self.latency_p99_s <= slo_p99_s

    def is_about_the_client(self, slo_p99_s: float) -> bool:
        """Whether the client may be why it is not held: it had no time left, or came so late to frame and answer."""
        if self.is_held(slo_p99_s):
            return False
        return self.client_share > MAX_CLIENT_SHARE or self.latency_p99_s - 2 * self.late_p99_s <= slo_p99_s


@dataclass(slots=True)
class Bisection:
    """Doubles from one camera until a number is not held, and halves what lies between; never tries one twice.

    `most` is the highest number to try. What is held once is taken to be held by fewer cameras too.
    """

    most: int
    held: int = 0
    refused: int | None = None
    tried: list[int] = field(default_factory=list)

    def following(self) -> int | None:
        """The next number of cameras to try; None when the answer is `held`."""
        if self.refused is None:
            return None if self.held >= self.most else min(self.most, max(1, 2 * self.held))
        return None if self.refused - self.held <= 1 else (self.held + self.refused) // 2

    def told(self, cameras: int, *, is_held: bool) -> None:
        """What became of a trial."""
        self.tried.append(cameras)
        if is_held:
            self.held = max(self.held, cameras)
        else:
            self.refused = cameras if self.refused is None else min(self.refused, cameras)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What the stages' own clocks promise: `cores` that do nothing but their work, one frame on each at a time.

    It leaves out reading requests, hops between processes, tracking and telling, and it does not know that batches are
    cheaper than single frames: cameras held ÷ cameras predicted says what all that comes to.
    """

    cores: int
    frame_s: float
    fps: float

    @property
    def frames_per_s(self) -> float:
        """Of the machine."""
        return self.cores / self.frame_s if self.frame_s > 0 else inf

    @property
    def cameras(self) -> float:
        """Of these frames a second."""
        return self.frames_per_s / self.fps

    def ratio(self, held: int) -> float:
        """Cameras held ÷ cameras predicted."""
        return held / self.cameras


def prediction(timings: Sequence[Mapping[str, float]], *, cores: int, fps: float) -> Prediction:
    """From the timings of answers at an idle service: the median of each stage, added up; 0 of none."""
    frame_s = sum(median(one[stage] for one in timings) for stage in WORK) if timings else 0.0
    return Prediction(cores=cores, frame_s=frame_s, fps=fps)
