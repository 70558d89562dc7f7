"""Where the versions of one detector stand, as metrics: looked at now and then, so that no frame pays for it."""

from typing import Final

from app.core import metrics as table
from app.pipeline.detector import Detector, VersionKey
from app.pipeline.serving import Serving
from app.pipeline.tally import Tally
from app.policy.breaker import BreakerState

_BREAKERS: Final = {BreakerState.CLOSED: 0, BreakerState.HALF_OPEN: 1, BreakerState.OPEN: 2}
_STATES: Final = (table.DETECTOR_WAITING, table.DETECTOR_IN_FLIGHT, table.DETECTOR_BREAKER, table.DETECTOR_DEGRADED)


class DetectorLook:
    """Puts down what waits and what is broken; a version that is gone leaves no number behind."""

    def __init__(self, detector: Detector, tally: Tally) -> None:
        self._detector = detector
        self._tally = tally
        self._load_failures: dict[VersionKey, int] = {}

    def __call__(self) -> None:
        """Look once."""
        tally, versions = self._tally, self._detector.versions
        for metric in _STATES:
            tally.keep(metric, lambda labels: labels[:2] in versions)
        for labels, serving in versions.items():
            tally.set(table.DETECTOR_WAITING, labels, to=serving.waiting_images)
            tally.set(table.DETECTOR_IN_FLIGHT, labels, to=serving.in_flight)
            self._look_at_engine(labels, serving)

    def _look_at_engine(self, labels: VersionKey, serving: Serving) -> None:
        state = serving.engine.state()
        self._tally.set(table.DETECTOR_DEGRADED, labels, to=0 if serving.engine.degraded is None else 1)
        for rung, breaker in state.breakers.items():
            self._tally.set(table.DETECTOR_BREAKER, (*labels, rung.value), to=_BREAKERS[breaker])
        known = self._load_failures.get(labels, 0)
        if state.load_failures > known:
            self._tally.count(table.DETECTOR_LOAD_FAILURES, labels, by=state.load_failures - known)
        self._load_failures[labels] = state.load_failures
