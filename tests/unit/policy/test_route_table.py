import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import InvalidParameterError, NotAcceptableError
from app.policy.route_document import MAX_RULES, parsed, to_document
from app.policy.route_table import BUCKETS, WHOLE, Ask, HeaderRule, RouteTable, UserRule, bucket_of, choose

KEY = b"a key of the service"
USABLE = ("1.0.0", "2.0.0", "2.1.0", "2.1.9", "2.1.10", "3.0.0")
Choose: TypeAlias = Callable[..., str]
DOCUMENT: dict[str, Any] = {
    "weights": {"1.0.0": 0.57, "2.0.0": 0.43},
    "headers": [
        {"name": "X-Team", "value": "vision", "version": "2.1.0"},
        {"name": "x-team", "value": "vision", "version": "1.0.0"},
    ],
    "users": [{"first": 0, "last": 499, "version": "2.0.0"}],
    "regions": {"EU-west": "3.0.0"},
    "shadow": "2.1.9",
}


def table(**change: Any) -> RouteTable:
    return parsed({**DOCUMENT, **change}, epoch=7)


def chosen(ask: Ask, routes: RouteTable | None = None) -> str:
    return choose(routes or table(), ask, key=KEY, usable=USABLE)


def user_in(first: int, last: int) -> str:
    return next(name for name in map(str, range(10_000)) if first <= bucket_of(name, key=KEY) <= last)


LOW, HIGH = user_in(0, 499), user_in(500, 999)
EVERYTHING = Ask(headers={"x-team": "vision"}, user=LOW, region="eu-West", wanted=("2.1",), draw=0.99)


def test_a_wish_goes_before_headers_then_users_then_regions_then_weights() -> None:
    assert chosen(EVERYTHING) == "2.1.10"
    assert chosen(replace(EVERYTHING, wanted=())) == "2.1.0"
    assert chosen(replace(EVERYTHING, wanted=(None, "2.1"))) == "2.1.0"
    assert chosen(replace(EVERYTHING, wanted=(), headers={"x-team": "Vision"})) == "2.0.0"
    assert chosen(replace(EVERYTHING, wanted=(), headers={}, user=HIGH)) == "3.0.0"
    assert chosen(replace(EVERYTHING, wanted=(), headers={}, user=None, region="eu")) == "2.0.0"
    assert chosen(replace(EVERYTHING, wanted=(), headers={}, user=None, region=None, draw=0.0)) == "1.0.0"


@pytest.mark.parametrize(
    ("wanted", "version"),
    [("2", "2.1.10"), ("2.1", "2.1.10"), ("2.1.9", "2.1.9"), ("1", "1.0.0"), ("3.0", "3.0.0")],
)
def test_a_wish_takes_the_newest_version_that_begins_with_its_numbers(wanted: str, version: str) -> None:
    assert chosen(Ask(wanted=(wanted,))) == version


@pytest.mark.parametrize("wanted", ["4", "2.2", "2.1.1", "0", "21", "3.0.00"])
def test_a_wish_that_cannot_be_met_names_the_versions_there_are(wanted: str) -> None:
    with pytest.raises(NotAcceptableError, match=r"there are 1\.0\.0, 2\.0\.0, 2\.1\.0, 2\.1\.9, 2\.1\.10, 3\.0\.0"):
        chosen(Ask(wanted=(wanted, "9")))


def test_the_next_wish_counts_where_the_first_cannot_be_met() -> None:
    assert chosen(Ask(wanted=("9", "1"))) == "1.0.0"
    assert chosen(Ask(wanted=("9", None), draw=0.99)) == "2.0.0"


@pytest.mark.parametrize(
    ("draw", "version"), [(0.0, "1.0.0"), (0.5699, "1.0.0"), (0.57, "2.0.0"), (0.9999999, "2.0.0")]
)
def test_the_draw_falls_on_the_weights_in_their_order(draw: float, version: str) -> None:
    assert chosen(Ask(draw=draw)) == version


def test_a_weight_of_zero_gets_nothing_and_a_whole_one_everything() -> None:
    routes = parsed({"weights": {"1.0.0": 0, "2.0.0": 1, "3.0.0": 0.0}}, epoch=1)
    assert {chosen(Ask(draw=number / 1000), routes) for number in range(1000)} == {"2.0.0"}


def test_shares_lie_within_three_sigma_of_their_weights() -> None:
    chance, count = random.Random(5), 20_000
    got = Counter(chosen(Ask(draw=chance.random())) for _ in range(count))
    sigma = (count * 0.43 * 0.57) ** 0.5
    assert abs(got["2.0.0"] - 0.43 * count) < 3 * sigma
    assert set(got) == {"1.0.0", "2.0.0"}


def check_sticky(choice: Choose) -> None:
    """A user stays with a version whatever else changes, as long as the ranges do."""
    chance = random.Random(1)
    routes = parsed({"weights": {"1.0.0": 1.0}, "users": [{"first": 0, "last": 99, "version": "2.0.0"}]}, epoch=1)
    other = replace(routes, epoch=9, weights=(("1.0.0", 20), ("3.0.0", 80)))
    for user in (user_in(0, 99), user_in(0, 9), user_in(90, 99)):
        asks = [Ask(user=user, draw=chance.random(), region=chance.choice([None, "eu"])) for _ in range(50)]
        assert {choice(each, ask, key=KEY, usable=USABLE) for ask in asks for each in (routes, other)} == {"2.0.0"}


def test_a_sticky_user_never_flaps() -> None:
    check_sticky(choose)


def test_the_check_finds_users_who_flap() -> None:
    def by_draw(routes: RouteTable, ask: Ask, *, key: bytes, usable: Any) -> str:
        return choose(routes, replace(ask, user=None if ask.draw > 0.9 else ask.user), key=key, usable=usable)

    with pytest.raises(AssertionError):
        check_sticky(by_draw)


def test_users_spread_evenly_over_the_buckets_and_otherwise_under_another_key() -> None:
    users = [f"user-{number}" for number in range(20_000)]
    buckets = [bucket_of(user, key=KEY) for user in users]
    assert {0 <= bucket < BUCKETS for bucket in buckets} == {True}
    share = sum(bucket < 100 for bucket in buckets) / len(users)
    assert abs(share - 0.1) < 3 * (0.1 * 0.9 / len(users)) ** 0.5
    same = sum(bucket == bucket_of(user, key=b"another") for user, bucket in zip(users, buckets, strict=True))
    assert same < 60  # one in a thousand by chance


def test_a_user_whose_name_is_no_text_has_a_bucket() -> None:
    assert 0 <= bucket_of("\udcff", key=KEY) < BUCKETS


def test_the_primary_has_the_largest_weight_and_of_equals_is_the_oldest() -> None:
    assert table().primary == "1.0.0"
    assert parsed({"weights": {"10.0.0": 0.5, "9.0.0": 0.5}}, epoch=1).primary == "9.0.0"
    assert table().versions == ("1.0.0", "2.0.0", "2.1.0", "3.0.0", "2.1.9")
    assert table().weight_of("2.0.0") == 0.43
    assert table().weight_of("3.0.0") == 0


def test_the_shadow_sees_only_what_the_primary_answers() -> None:
    assert table().shadow_for("1.0.0") == "2.1.9"
    assert table().shadow_for("2.0.0") is None
    assert table().shadow_for("2.1.9") is None


def test_a_table_without_a_version_gives_its_share_to_the_primary_and_keeps_the_rest() -> None:
    left = table().without("2.0.0", epoch=8)
    assert (left.epoch, left.weights, left.users, left.shadow) == (8, (("1.0.0", 100),), (), "2.1.9")
    assert left.headers == table().headers
    assert table().without("2.1.9", epoch=8).shadow is None
    assert table().without("3.0.0", epoch=8).regions == ()
    assert table().without("2.1.0", epoch=8).headers == (HeaderRule(name="x-team", value="vision", version="1.0.0"),)
    with pytest.raises(ValueError, match="without its primary"):
        table().without("1.0.0", epoch=8)


@given(
    shares=st.lists(st.integers(0, 100), min_size=1, max_size=15),
    buckets=st.lists(st.integers(0, BUCKETS - 1), max_size=8, unique=True),
    shadow=st.none() | st.just("9.9.9"),
)
def test_every_table_is_read_back_as_it_was_written(shares: list[int], buckets: list[int], shadow: str | None) -> None:
    kept: list[int] = []
    for share in shares:
        kept.append(min(share, WHOLE - sum(kept)))
    kept.append(WHOLE - sum(kept))
    edges = sorted(buckets)
    written = RouteTable(
        epoch=3,
        weights=tuple((f"1.0.{number}", share) for number, share in enumerate(kept)),
        users=tuple(UserRule(first=edge, last=edge, version="2.0.0") for edge in edges),
        shadow=shadow,
    )
    assert parsed(to_document(written), epoch=3) == written


def test_each_of_a_hundred_steps_is_a_weight() -> None:
    for share in range(WHOLE + 1):
        routes = parsed({"weights": {"1.0.0": share / 100, "2.0.0": (WHOLE - share) / 100}}, epoch=1)
        assert routes.weights == (("1.0.0", share), ("2.0.0", WHOLE - share))


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (None, "an object is expected"),
        ([], "an object is expected"),
        ({}, "weights: an object"),
        ({"weights": {}}, "of 1 to 16 versions, not 0"),
        ({"weights": {f"1.0.{number}": 0.05 for number in range(20)}}, "of 1 to 16 versions, not 20"),
        ({"weights": {"1.0.0": 0.99}}, "sum to 0.99, not to 1.00"),
        ({"weights": {"1.0.0": 1, "2.0.0": 0.01}}, "sum to 1.01"),
        ({"weights": {"1.0.0": 1.5}}, "from 0 to 1"),
        ({"weights": {"1.0.0": -0.5, "2.0.0": 1.0}}, "from 0 to 1"),
        ({"weights": {"1.0.0": float("nan")}}, "from 0 to 1"),
        ({"weights": {"1.0.0": float("inf")}}, "from 0 to 1"),
        ({"weights": {"1.0.0": True}}, "from 0 to 1"),
        ({"weights": {"1.0.0": "1.0"}}, "from 0 to 1"),
        ({"weights": {"1.0.0": 0.005, "2.0.0": 0.995}}, "not in steps of 0.01"),
        ({"weights": {"../1": 1.0}}, "is not three numbers"),
        ({"weights": {7: 1.0}}, "an object is expected"),
        ({"weight": {"1.0.0": 1.0}}, "'weight' is not one of"),
        ({**DOCUMENT, "headers": {}}, "headers: a list"),
        ({**DOCUMENT, "headers": [{}]}, "headers.0: it has name, value, version"),
        ({**DOCUMENT, "headers": [{"name": "a b", "value": "c", "version": "1.0.0"}]}, "the name of a header"),
        ({**DOCUMENT, "headers": [{"name": "Authorization", "value": "c", "version": "1.0.0"}]}, "hold a secret"),
        ({**DOCUMENT, "headers": [{"name": "a", "value": "", "version": "1.0.0"}]}, "printable"),
        ({**DOCUMENT, "headers": [{"name": "a", "value": "b\r\n", "version": "1.0.0"}]}, "printable"),
        ({**DOCUMENT, "headers": [{"name": "a", "value": "b", "version": 1}]}, "a version, such as"),
        ({**DOCUMENT, "headers": DOCUMENT["headers"] * MAX_RULES}, "at most 256"),
        ({**DOCUMENT, "users": [{"first": 0, "last": 1000, "version": "1.0.0"}]}, "≤ 999"),
        ({**DOCUMENT, "users": [{"first": -1, "last": 5, "version": "1.0.0"}]}, "0 ≤ first"),
        ({**DOCUMENT, "users": [{"first": 6, "last": 5, "version": "1.0.0"}]}, "first ≤ last"),
        ({**DOCUMENT, "users": [{"first": 0.0, "last": 5, "version": "1.0.0"}]}, "whole numbers"),
        ({**DOCUMENT, "users": [{"first": False, "last": 5, "version": "1.0.0"}]}, "whole numbers"),
        (
            {
                **DOCUMENT,
                "users": [{"first": 5, "last": 9, "version": "1.0.0"}, {"first": 0, "last": 5, "version": "2.0.0"}],
            },
            "bucket 5 lies in two ranges",
        ),
        ({**DOCUMENT, "regions": []}, "regions: an object"),
        ({**DOCUMENT, "regions": {"e u": "1.0.0"}}, "not the name of a region"),
        ({**DOCUMENT, "regions": {"eu": "1.0.0", "EU": "2.0.0"}}, "named twice"),
        ({**DOCUMENT, "regions": {f"r{number}": "1.0.0" for number in range(MAX_RULES + 1)}}, "at most 256"),
        ({**DOCUMENT, "shadow": "new"}, "shadow: version: 'new'"),
        ({**DOCUMENT, "shadow": 2}, "shadow: a version"),
        ({"weights": {"1.0.0": 1.0}, "shadow": "1.0.0"}, "nobody to be compared with"),
    ],
)
def test_a_malformed_table_is_refused_with_what_is_wrong(document: object, words: str) -> None:
    with pytest.raises(InvalidParameterError) as refused:
        parsed(document, epoch=1)
    assert words in refused.value.detail


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*DOCUMENT, "1.0.0"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(key=st.sampled_from(list(DOCUMENT)), value=values)
def test_any_value_in_any_place_is_a_table_or_a_typed_error(key: str, value: object) -> None:
    try:
        routes = parsed({**DOCUMENT, key: value}, epoch=1)
    except InvalidParameterError:
        return
    assert sum(share for _, share in routes.weights) == WHOLE


@pytest.mark.parametrize(
    "weights", [(), (("1.0.0", 99),), (("1.0.0", 50), ("1.0.0", 50)), (("1.0.0", 101), ("2.0.0", -1))]
)
def test_a_table_cannot_be_made_without_whole_weights(weights: tuple[tuple[str, int], ...]) -> None:
    with pytest.raises(ValueError, match="sum to 100"):
        RouteTable(epoch=1, weights=weights)
