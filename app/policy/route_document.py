"""A route table as plain JSON values: read with every mistake named, and written again."""

import re
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from app.core.errors import InvalidParameterError
from app.policy.model_names import checked_version
from app.policy.route_table import BUCKETS, WHOLE, HeaderRule, RegionRule, RouteTable, UserRule

MAX_WEIGHTED: Final = 16
MAX_RULES: Final = 256
"""Of each kind: a table is walked for every frame."""
_KEYS: Final = ("weights", "headers", "users", "regions", "shadow")
_ROUNDING: Final = 1e-9
"""0.29 * 100 is 28.999999999999996: so far a number in steps of 0.01 may lie from its hundredth."""
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
"""Source: RFC 9110, 5.6.2, a token."""
_REGION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_MAX_VALUE: Final = 256
_NEVER: Final = frozenset({"authorization", "cookie", "proxy-authorization"})
"""Headers that hold secrets: a table is shown to everyone who may list models."""


def parsed(document: object, *, epoch: int) -> RouteTable:
    """The table that a document describes; InvalidParameterError says what is wrong with it.

    `{"weights": {"1.0.0": 0.9, "2.0.0": 0.1}, "headers": [{"name", "value", "version"}], "users": [{"first", "last",
    "version"}], "regions": {"eu": "2.0.0"}, "shadow": "2.0.0"}`; all but `weights` may be left out or null.
    """
    table = _object(document, "the route table")
    for key in table:
        if key not in _KEYS:
            _refuse(f"{str(key)[:80]!r} is not one of {', '.join(_KEYS)}")
    shadow = table.get("shadow")
    weights = _weights(table.get("weights"))
    if shadow is not None and dict(weights).get(_version(shadow, "shadow"), 0) == WHOLE:
        _refuse("shadow: a version that answers everything has nobody to be compared with")
    return RouteTable(
        epoch=epoch,
        weights=weights,
        headers=tuple(_header(rule, f"headers.{place}") for place, rule in _list(table.get("headers"), "headers")),
        users=_users(table.get("users")),
        regions=_regions(table.get("regions")),
        shadow=shadow,
    )


def to_document(table: RouteTable) -> dict[str, Any]:
    """The document that `parsed` makes the same table of; its epoch stands beside it, not in it."""
    return {
        "weights": {version: share / WHOLE for version, share in table.weights},
        "headers": [{"name": rule.name, "value": rule.value, "version": rule.version} for rule in table.headers],
        "users": [{"first": rule.first, "last": rule.last, "version": rule.version} for rule in table.users],
        "regions": {rule.region: rule.version for rule in table.regions},
        "shadow": table.shadow,
    }


def _weights(value: object) -> tuple[tuple[str, int], ...]:
    given = _object(value, "weights")
    if not 1 <= len(given) <= MAX_WEIGHTED:
        _refuse(f"weights: of 1 to {MAX_WEIGHTED} versions, not {len(given)}")
    weights = tuple((_version(version, "weights"), _hundredths(share, version)) for version, share in given.items())
    total = sum(share for _, share in weights)
    if total != WHOLE:
        _refuse(f"weights: they sum to {total / WHOLE:.2f}, not to 1.00")
    return weights


def _hundredths(share: object, version: str) -> int:
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        _refuse(f"weights.{version}: a number from 0 to 1")
    hundredths = round(share * WHOLE)
    if abs(share * WHOLE - hundredths) > _ROUNDING:
        _refuse(f"weights.{version}: {share} is not in steps of 0.01")
    return hundredths


def _header(value: object, where: str) -> HeaderRule:
    rule = _rule(value, ("name", "value", "version"), where)
    name, wanted = rule["name"], rule["value"]
    if not isinstance(name, str) or not _HEADER.fullmatch(name):
        _refuse(f"{where}.name: the name of a header")
    if name.lower() in _NEVER:
        _refuse(f"{where}.name: {name.lower()} may hold a secret, and route tables are shown")
    if not isinstance(wanted, str) or not 1 <= len(wanted) <= _MAX_VALUE or not wanted.isprintable():
        _refuse(f"{where}.value: 1 to {_MAX_VALUE} printable characters")
    return HeaderRule(name=name.lower(), value=wanted, version=_version(rule["version"], f"{where}.version"))


def _users(value: object) -> tuple[UserRule, ...]:
    rules = []
    for place, each in _list(value, "users"):
        where = f"users.{place}"
        rule = _rule(each, ("first", "last", "version"), where)
        first, last = rule["first"], rule["last"]
        if not (_is_bucket(first) and _is_bucket(last) and first <= last):
            _refuse(f"{where}: first and last are whole numbers with 0 ≤ first ≤ last ≤ {BUCKETS - 1}")
        rules.append(UserRule(first=first, last=last, version=_version(rule["version"], f"{where}.version")))
    highest = -1
    for one in sorted(rules, key=lambda rule: rule.first):
        if one.first <= highest:
            _refuse(f"users: bucket {one.first} lies in two ranges")
        highest = one.last
    return tuple(rules)


def _regions(value: object) -> tuple[RegionRule, ...]:
    given = _object({} if value is None else value, "regions")
    if len(given) > MAX_RULES:
        _refuse(f"regions: at most {MAX_RULES}")
    rules = []
    for region, version in given.items():
        if not _REGION.fullmatch(region):
            _refuse(f"regions: {region[:80]!r} is not the name of a region, such as eu-west")
        rules.append(RegionRule(region=region.lower(), version=_version(version, f"regions.{region}")))
    if len({rule.region for rule in rules}) != len(rules):
        _refuse("regions: one is named twice, capitals aside")
    return tuple(rules)


def _version(value: object, where: str) -> str:
    if not isinstance(value, str):
        _refuse(f"{where}: a version, such as 2.1.0")
    try:
        return checked_version(value)
    except InvalidParameterError as error:
        raise InvalidParameterError(f"routes: {where}: {error.detail}") from None


def _object(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        _refuse(f"{where}: an object is expected")
    return value


def _list(value: object, where: str) -> list[tuple[int, object]]:
    if not isinstance(value, list | tuple | None) or len(value or ()) > MAX_RULES:
        _refuse(f"{where}: a list of at most {MAX_RULES}")
    return list(enumerate(value or ()))


def _rule(value: object, keys: tuple[str, ...], where: str) -> Mapping[str, Any]:
    rule = _object(value, where)
    if set(rule) != set(keys):
        _refuse(f"{where}: it has {', '.join(keys)}, all of them and nothing else")
    return rule


def _is_bucket(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < BUCKETS


def _refuse(words: str) -> NoReturn:
    raise InvalidParameterError(f"routes: {words}")
