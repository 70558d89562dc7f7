"""What the scenario `swaps` reckons with: every answer over HTTP held against what its version would say."""

import json
import statistics
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from load_tests.swap_models import Mark, is_of_picture, version_seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One request and its end. Times are of one monotonic clock: when it was due, begun and answered.

    `status` is 0 where there was no answer at all; `body` then says what was met instead, as a problem's `code`.
    """

    brightness: float
    due_s: float
    begun_s: float
    ended_s: float
    status: int
    body: bytes = b""
    user: str = ""

    @property
    def latency_s(self) -> float:
        """From when it was due."""
        return self.ended_s - self.due_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What an answer says it is of."""

    version: str
    epoch: int
    sent: Sent


@dataclass(slots=True)
class Account:
    """`torn` are answers that are not what exactly one registered version says, in words."""

    told: list[Told] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    torn: list[str] = field(default_factory=list)

    def versions(self) -> Counter[str]:
        """Answers by version."""
        return Counter(one.version for one in self.told)


def account_of(
    answers: Sequence[Sent], *, marks: Mapping[str, Mark], epochs: Mapping[int, Collection[str]] | None = None
) -> Account:
    """The account of answers. `marks` are of all versions; `epochs` says which of them each route epoch named."""
    account = Account()
    for sent in answers:
        if sent.status != 200:
            account.failed[_code(sent)] += 1
            continue
        result = json.loads(sent.body)
        version, epoch = result["model"]["version"], result["route_epoch"]
        account.told.append(Told(version=version, epoch=epoch, sent=sent))
        if words := _tear(result, sent, marks=marks, epochs=epochs):
            account.torn.append(words)
    return account


def _tear(
    result: Mapping[str, Any],
    sent: Sent,
    *,
    marks: Mapping[str, Mark],
    epochs: Mapping[int, Collection[str]] | None,
) -> str | None:
    version, epoch = result["model"]["version"], result["route_epoch"]
    seen = version_seen([found["box"] for found in result["objects"]], marks)
    if seen != version:
        return f"says {version}, and sees what {seen} would: {result['objects']}"
    if not is_of_picture(result["objects"][0]["score"], sent.brightness):
        return f"says {version}, of another picture than was sent"
    if epochs is not None and version not in epochs.get(epoch, ()):
        return f"says {version} under epoch {epoch}, which named {epochs.get(epoch)}"
    return None


def _code(sent: Sent) -> str:
    """Why there is no answer."""
    try:
        return f"{sent.status} {json.loads(sent.body)['code']}"
    except (ValueError, KeyError, TypeError):
        return f"{sent.status} without a problem of ours"


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """One change of all traffic: when it was asked for, and the epoch from which on the new version answers."""

    asked_s: float
    epoch: int


def switch_s(switch: Switch, told: Sequence[Told]) -> float:
    """Seconds from asking until the first answer of the new table and the last of one before it, in flight or not."""
    first_s = min((one.sent.ended_s for one in told if one.epoch >= switch.epoch), default=float("inf"))
    last_s = max((one.sent.ended_s for one in told if one.epoch < switch.epoch), default=switch.asked_s)
    return max(first_s, last_s) - switch.asked_s


def flaps(told: Sequence[Told]) -> int:
    """How often a user was answered by another version than the first time."""
    sides: dict[str, str] = {}
    return sum(sides.setdefault(one.sent.user, one.version) != one.version for one in told)


def sigmas(hits: int, *, count: int, share: float) -> float:
    """How many standard deviations of a binomial the hits lie from their share."""
    return abs(hits - count * share) / (count * share * (1 - share)) ** 0.5


def theil_sen(points: Sequence[tuple[float, float]]) -> float:
    """The median slope over all pairs of points, which a few odd ones do not move; 0 of fewer than two.

    Source: Sen, Journal of the American Statistical Association 63 (1968).
    """
    slopes = [
        (y2 - y1) / (x2 - x1) for index, (x1, y1) in enumerate(points) for x2, y2 in points[index + 1 :] if x2 > x1
    ]
    return statistics.median(slopes) if slopes else 0.0
