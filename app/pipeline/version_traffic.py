"""What one process sees of the versions that it serves, between two reports."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from app.core.errors import InternalError, ModelError, UnavailableError
from app.core.frame import Detections
from app.core.outcome import Failed, Outcome
from app.core.routing import Route
from app.policy.canary import Traffic
from app.vision.agreement import Agreement

_OURS: Final = (InternalError, ModelError, UnavailableError)
"""Errors that a version can be blamed for: not what a caller sent, nor that there is too much of it."""
_COMPARED_AT_ONCE: Final = 50
"""Frames of which an average precision is taken: of fewer it says little."""
_MIN_BOXES: Final = 10
"""Boxes of a class from which on it counts: one made-up box of a rare one says nothing of the rest."""

_Key: TypeAlias = tuple[str, str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Of one version under one route epoch; `agreement` with what answered is an mAP over `compared` frames."""

    model: str
    version: str
    epoch: int
    traffic: Traffic = field(default_factory=Traffic)
    agreement: float | None = None
    compared: int = 0


class VersionTraffic:
    """Counts answers, errors and slow answers by version. An answer is slow that took over `slow_s` seconds."""

    def __init__(self, *, slow_s: float) -> None:
        self._slow_s = slow_s
        self._traffic: defaultdict[_Key, Traffic] = defaultdict(Traffic)
        self._agreements: defaultdict[_Key, Agreement] = defaultdict(Agreement)

    def note(self, route: Route, outcomes: Sequence[Outcome[Detections]]) -> None:
        """Frames of that route have ended."""
        answers = [one for one in outcomes if isinstance(one, Detections)]
        seconds = (one.timings.queue_s + one.timings.inference_s + one.timings.postprocess_s for one in answers)
        errors = sum(isinstance(one, Failed) and isinstance(one.error, _OURS) for one in outcomes)
        slow = sum(each > self._slow_s for each in seconds)
        self._traffic[_key(route, route.version)] += Traffic(answered=len(answers), errors=errors, slow=slow)

    def compare(self, route: Route, shadow: str, *, truth: Detections, answer: Outcome[Detections]) -> None:
        """The shadow has seen a frame too. One of other classes than what answered finds nothing right."""
        key = _key(route, shadow)
        if isinstance(answer, Detections):
            if key not in self._agreements:
                self._forget_before(route)
            self._agreements[key].add(truth, answer)
        self.note(_instead(route, shadow), [answer])

    def _forget_before(self, route: Route) -> None:
        """What was begun under an older table of that model will never be enough, and would be kept for ever."""
        for model, version, epoch in list(self._agreements):
            if model == route.model and epoch < route.epoch:
                del self._agreements[model, version, epoch]

    def take(self) -> tuple[Seen, ...]:
        """All that was seen since the last call; comparisons when they are enough."""
        seen = [
            Seen(model=model, version=version, epoch=epoch, traffic=traffic)
            for (model, version, epoch), traffic in self._traffic.items()
        ]
        self._traffic.clear()
        for key, agreement in list(self._agreements.items()):
            if agreement.frames >= _COMPARED_AT_ONCE:
                model, version, epoch = key
                apart, compared = agreement.mean_ap(min_boxes=_MIN_BOXES), agreement.frames
                seen.append(Seen(model=model, version=version, epoch=epoch, agreement=apart, compared=compared))
                del self._agreements[key]
        return tuple(seen)


def _key(route: Route, version: str) -> _Key:
    return route.model, version, route.epoch


def _instead(route: Route, version: str) -> Route:
    return Route(
        model=route.model, version=version, epoch=route.epoch, width_px=route.width_px, height_px=route.height_px
    )
