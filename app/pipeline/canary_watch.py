"""The statistics of candidates: taken in from everyone who sees them, judged window by window."""

from dataclasses import dataclass, field

from app.pipeline.model_records import CandidateStatus
from app.policy.canary import CanaryParameters, Decision, Traffic, Watch, Window, judged
from app.policy.route_table import RouteTable


@dataclass(slots=True)
class _Seen:
    """Of one version, since the last window; `agreed` is the sum of mAP times frames."""

    traffic: Traffic = field(default_factory=Traffic)
    agreed: float = 0.0
    compared: int = 0


class CanaryWatch:
    """What is seen of the versions of each model under its present route table; a new table begins with nothing."""

    def __init__(self, parameters: CanaryParameters, *, window_s: float, now_s: float) -> None:
        self._parameters = parameters
        self._window_s = window_s
        self._since_s = now_s
        self._seen: dict[str, dict[str, _Seen]] = {}
        self._watches: dict[str, dict[str, Watch]] = {}
        self._candidates: dict[str, dict[str, CandidateStatus]] = {}

    def forget(self, model: str) -> None:
        """The model's table is another now."""
        self._seen.pop(model, None)
        self._watches.pop(model, None)
        self._candidates.pop(model, None)

    def candidate(self, model: str, version: str) -> CandidateStatus | None:
        """All that the windows so far have seen of a candidate."""
        return self._candidates.get(model, {}).get(version)

    def observe(
        self, model: str, version: str, traffic: Traffic, *, agreement: float | None = None, compared: int = 0
    ) -> None:
        """Add what one reporter saw of a version; `agreement` with the primary over `compared` frames."""
        seen = self._seen.setdefault(model, {}).setdefault(version, _Seen())
        seen.traffic += traffic
        if agreement is not None:
            seen.agreed += agreement * compared
            seen.compared += compared

    def is_due(self, now_s: float) -> bool:
        """Whether a window has passed."""
        return now_s - self._since_s >= self._window_s

    def decisions(self, tables: dict[str, RouteTable], *, now_s: float) -> list[tuple[str, str, Decision]]:
        """End the window: a decision on every candidate that a table names, with model and version."""
        length_s, self._since_s = now_s - self._since_s, now_s
        decided = []
        for model, table in tables.items():
            seen, watches = self._seen.pop(model, {}), self._watches.setdefault(model, {})
            primary = seen.get(table.primary, _Seen()).traffic
            for version in (each for each in table.versions if each != table.primary):
                mine = seen.get(version, _Seen())
                window = Window(
                    length_s=length_s,
                    candidate=mine.traffic,
                    primary=primary,
                    agreement=mine.agreed / mine.compared if mine.compared else None,
                    compared=mine.compared,
                )
                watch = watches.get(version, Watch())
                watches[version], decision = judged(watch, window, parameters=self._parameters)
                self._note(model, version, window, words=decision.reason)
                decided.append((model, version, decision))
        return decided

    def _note(self, model: str, version: str, window: Window, *, words: str) -> None:
        known = self._candidates.setdefault(model, {}).get(version, CandidateStatus())
        agreement, compared = known.agreement, known.compared
        if window.agreement is not None:
            agreed = (agreement or 0.0) * compared + window.agreement * window.compared
            compared += window.compared
            agreement = agreed / compared
        self._candidates[model][version] = CandidateStatus(
            traffic=known.traffic + window.candidate, agreement=agreement, compared=compared, words=words
        )
