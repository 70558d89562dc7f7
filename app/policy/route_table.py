"""Which version of one model answers which frame: by rule, or by weight. Source: MISSION.md rows 44, 45."""

import hashlib
import hmac
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from app.core.errors import NotAcceptableError
from app.policy.accept import Wish
from app.policy.model_names import version_order

WHOLE: Final = 100
"""Weights are whole hundredths, so that their sum is exact."""
BUCKETS: Final = 1000
"""Source: MISSION.md row 45, `hash(UID) mod 1000`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderRule:
    """Requests whose header `name`, in lower case, is `value` go to `version`."""

    name: str
    value: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRule:
    """Users whose bucket lies in `first`..`last`, both included, go to `version`."""

    first: int
    last: int
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionRule:
    """Requests from `region`, in lower case, go to `version`."""

    region: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What is known of one frame when its version is chosen.

    `headers` have their names in lower case; `wanted` is from `wishes_of`; `draw` is a random number in [0, 1).
    """

    headers: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    region: str | None = None
    wanted: tuple[Wish, ...] = ()
    draw: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteTable:
    """The routes of one model under `epoch`. `weights` are hundredths by version, in order, and sum to 100.

    `shadow` sees what the others answer, and nobody gets its answers. ValueError for a table that is none.
    """

    epoch: int
    weights: tuple[tuple[str, int], ...]
    headers: tuple[HeaderRule, ...] = ()
    users: tuple[UserRule, ...] = ()
    regions: tuple[RegionRule, ...] = ()
    shadow: str | None = None

    def __post_init__(self) -> None:
        names = [version for version, _ in self.weights]
        shares = [share for _, share in self.weights]
        if len(set(names)) != len(names) or sum(shares) != WHOLE or any(share < 0 for share in shares):
            raise ValueError("the weights of a route table are hundredths that sum to 100, one a version")

    @property
    def primary(self) -> str:
        """The version with the largest weight; of equals the oldest, which has proved itself for longer."""
        heaviest = max(share for _, share in self.weights)
        return min((version for version, share in self.weights if share == heaviest), key=version_order)

    @property
    def versions(self) -> tuple[str, ...]:
        """Every version that is named anywhere, each once."""
        rules = (rule.version for rules in (self.headers, self.users, self.regions) for rule in rules)
        shadow = () if self.shadow is None else (self.shadow,)
        return tuple(dict.fromkeys([*(version for version, _ in self.weights), *rules, *shadow]))

    def weight_of(self, version: str) -> float:
        """The share of the traffic that no rule takes, in [0, 1]."""
        return dict(self.weights).get(version, 0) / WHOLE

    def shadow_for(self, version: str) -> str | None:
        """What sees the frames that `version` answers too: the shadow is held against the primary, and nobody else."""
        return self.shadow if version == self.primary else None

    def without(self, version: str, *, epoch: int) -> "RouteTable":
        """The same without that version: its weight goes to the primary, its rules go. ValueError for the primary."""
        primary = self.primary
        if version == primary:
            raise ValueError("a table without its primary routes nothing")
        freed = dict(self.weights).get(version, 0)
        return replace(
            self,
            epoch=epoch,
            weights=tuple(
                (each, share + (freed if each == primary else 0)) for each, share in self.weights if each != version
            ),
            headers=tuple(rule for rule in self.headers if rule.version != version),
            users=tuple(rule for rule in self.users if rule.version != version),
            regions=tuple(rule for rule in self.regions if rule.version != version),
            shadow=None if self.shadow == version else self.shadow,
        )


def bucket_of(user: str, *, key: bytes) -> int:
    """The user's bucket, 0..999, the same for ever under one key.

    Keyed, or the few ids that a service has could be found again from their buckets by trying them all.
    """
    digest = hmac.digest(key, b"sightline user bucket " + user.encode(errors="surrogatepass"), hashlib.sha256)
    return int.from_bytes(digest[:8], "big") % BUCKETS  # 2**64 buckets: none is more likely by more than 1e-16


def choose(table: RouteTable, ask: Ask, *, key: bytes, usable: Collection[str]) -> str:
    """The version that answers: by `Accept`, else by header, user, region, and at last by weight.

    A wish takes the newest of the `usable` versions that begin with its numbers, routed or not; NotAcceptableError
    where no wish can be met names those there are. Within a kind of rule the first that fits decides.
    """
    for wish in ask.wanted:
        if wish is None:
            break
        fitting = [version for version in usable if version == wish or version.startswith(f"{wish}.")]
        if fitting:
            return max(fitting, key=version_order)
    else:
        if ask.wanted:
            there = ", ".join(sorted(usable, key=version_order))
            raise NotAcceptableError(f"accept: no version {' or '.join(map(str, ask.wanted))}; there are {there}")
    by_rule = next(_rules_that_fit(table, ask, key=key), None)
    return by_rule if by_rule is not None else _by_weight(table, ask.draw)


def _rules_that_fit(table: RouteTable, ask: Ask, *, key: bytes) -> Iterator[str]:
    for header in table.headers:
        if ask.headers.get(header.name) == header.value:
            yield header.version
    if table.users and ask.user is not None:
        bucket = bucket_of(ask.user, key=key)
        yield from (rule.version for rule in table.users if rule.first <= bucket <= rule.last)
    if ask.region is not None:
        region = ask.region.lower()
        yield from (rule.version for rule in table.regions if rule.region == region)


def _by_weight(table: RouteTable, draw: float) -> str:
    passed = 0
    for version, share in table.weights:
        passed += share
        if draw < passed / WHOLE:
            return version
    return table.primary  # a draw of 1 or more, which is none
