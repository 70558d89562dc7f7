"""Part `rules` of the scenario `swaps`: shares, users who stay, changes that race, and versions that are taken back."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any, Final

from load_tests.efficiency import say
from load_tests.open_loop import shots
from load_tests.swap_account import flaps, sigmas
from load_tests.swap_models import Mark, flat, pictures
from load_tests.swaps_live import CALLERS, ERRONEOUS, MARKS, WORSE, Live

WEIGHED, SHARE = 5_000, 0.3
USERS, ROUNDS, RACES = 200, 5, 10
_PATIENCE_S: Final = 30.0
_DULL: Final = 64
"""The level of a picture that the erroneous version fails on."""
_BUCKETS: Final = 1000


async def rules(live: Live, *, weighed: int = WEIGHED) -> tuple[dict[str, float], dict[str, Any]]:
    """Figures and details."""
    figures: dict[str, float] = {}
    details: dict[str, Any] = {}
    primary, other = await _pair(live)
    for part in (
        _weights(live, primary, other, count=weighed),
        _sticky(live, primary, other),
        _races(live, primary, other),
        _worse(live, primary),
        _erroneous(live, primary),
    ):
        found, words = await part
        figures |= found
        details |= words
    return figures, details


async def _pair(live: Live) -> tuple[str, str]:
    """The version that answers, and one that is warm beside it."""
    status = await live.operator.model()
    (primary,) = (one["version"] for one in status["versions"] if one["state"] == "PRIMARY")
    other = next(mark.version for mark in MARKS if mark.version != primary)
    await live.operator.load(other)
    return primary, other


async def _weights(live: Live, primary: str, other: str, *, count: int) -> tuple[dict[str, float], dict[str, Any]]:
    say(f"{count} images, {SHARE:.0%} of them for {other}")
    (await live.operator.route(weights={primary: 1 - SHARE, other: SHARE})).raise_for_status()
    await live.client.rush(itertools.islice(itertools.cycle(live.shots), count), connections=CALLERS)
    account = live.account()
    found = account.versions()
    figures = {
        "weights_sigma": sigmas(found[other], count=found.total(), share=SHARE),
        "weights_failed": float(account.failed.total()),
        "weights_torn": float(len(account.torn)),
    }
    return figures, {"weighed": dict(found), "weights_faults": [dict(account.failed), account.torn[:5]]}


async def _sticky(live: Live, primary: str, other: str) -> tuple[dict[str, float], dict[str, Any]]:
    """The ranges stay while the weights of everybody else change under the users."""
    say(f"{USERS} users who are to stay where they are")
    split = round(SHARE * _BUCKETS)
    users = [
        {"first": 0, "last": split - 1, "version": other},
        {"first": split, "last": _BUCKETS - 1, "version": primary},
    ]
    asked = [shot for user in range(USERS) for shot in shots(pictures(1), host=live.service.host, user=f"user-{user}")]
    for index in range(ROUNDS):
        share = round(0.1 * index, 2)
        table = {"weights": {primary: round(1 - share, 2), other: share}, "users": users}
        (await live.operator.route(**table)).raise_for_status()
        await live.client.rush(iter(asked), connections=CALLERS)
    account = live.account()
    moved = {one.sent.user for one in account.told if one.version == other}
    figures = {
        "sticky_flaps": float(flaps(account.told)),
        "sticky_failed": float(account.failed.total()),
        "sticky_torn": float(len(account.torn)),
        "sticky_sigma": sigmas(len(moved), count=USERS, share=SHARE),
    }
    return figures, {"sticky": {"users": USERS, "asked": len(account.told), f"on {other}": len(moved)}}


async def _races(live: Live, primary: str, other: str) -> tuple[dict[str, float], dict[str, Any]]:
    weights = {primary: 1 - SHARE, other: SHARE}
    is_right = [await live.operator.race(weights=weights) for _ in range(RACES)]
    return {"races": float(RACES), "races_wrong": float(is_right.count(False))}, {}


async def _worse(live: Live, primary: str) -> tuple[dict[str, float], dict[str, Any]]:
    """A version that sees its object elsewhere, as a shadow."""
    table = {"weights": {primary: 1.0}, "shadow": WORSE.version}
    return await _judged(live, "worse", WORSE, table, may_fail=False)


async def _erroneous(live: Live, primary: str) -> tuple[dict[str, float], dict[str, Any]]:
    """A version that fails on some pictures, as a canary with a fifth of the traffic."""
    dull = shots({_DULL / 255: flat(_DULL)}, host=live.service.host)
    live.shots = [*live.shots, *dull * 6]
    table = {"weights": {primary: 0.8, ERRONEOUS.version: 0.2}}
    return await _judged(live, "erroneous", ERRONEOUS, table, may_fail=True)


async def _judged(
    live: Live, name: str, mark: Mark, table: dict[str, Any], *, may_fail: bool
) -> tuple[dict[str, float], dict[str, Any]]:
    """Seconds under load until the version is taken out again; infinite when it is not."""
    say(f"{mark.version}, which is {name}, is to be taken back")
    await live.operator.load(mark.version)
    going = True
    goes_on: Callable[[], bool] = lambda: going  # noqa: E731  it looks at this frame's own variable
    offering = asyncio.create_task(live.offered(goes_on, seed=7))
    (await live.operator.route(**table)).raise_for_status()
    found = await live.operator.rolled_back(mark.version, patience_s=_PATIENCE_S)
    going = False
    await offering
    account = live.account()
    figures = {
        f"{name}_rolled_back_s": float("inf") if found is None else found[0],
        f"{name}_torn": float(len(account.torn)),
    }
    if not may_fail:
        figures[f"{name}_failed"] = float(account.failed.total())
    return figures, {name: {"why": found and found[1], "failed": dict(account.failed), "torn": account.torn[:5]}}
