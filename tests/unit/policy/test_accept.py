import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.policy.accept import Wish, wishes_of


def vnd(version: str) -> str:
    return f"application/vnd.sightline.vision.v{version}+json"


@pytest.mark.parametrize(
    ("accept", "wishes"),
    [
        (vnd("2.1"), ("2.1",)),
        (vnd("2"), ("2",)),
        (vnd("2.1.3"), ("2.1.3",)),
        (vnd("2.1").upper(), ("2.1",)),
        (f" {vnd('2.1')} ; q=0.5 ", ("2.1",)),
        (f"{vnd('1')}, {vnd('2.1')}", ("2.1", "1")),
        (f"{vnd('1')};q=1, {vnd('2.1')};q=0.9", ("1", "2.1")),
        (f"{vnd('1')};q=0.4, {vnd('2')};q=0.5", ("2", "1")),
        (f"*/*, {vnd('2')}", ("2", None)),
        (f"*/*, {vnd('2')};q=0.5", (None, "2")),
        (f"{vnd('2')}, application/json;q=0.1", ("2", None)),
        (f"{vnd('2')}, application/x-ndjson;q=0.1, */*;q=0.01", ("2", None)),
        (f"{vnd('2')};q=0, {vnd('3')}", ("3",)),
        (f"{vnd('2')}, */*;q=0", ("2",)),
        (f"{vnd('2')}, text/html", ("2",)),
        (f"{vnd('2')};charset=utf-8;q=0.3, {vnd('3')};q=0.2", ("2", "3")),
        (f"{vnd('2')}, {vnd('2')}", ("2",)),
    ],
)
def test_the_dearest_version_comes_first(accept: str, wishes: tuple[Wish, ...]) -> None:
    assert wishes_of(accept) == wishes


@pytest.mark.parametrize(
    "accept",
    [
        "",
        ",",
        "*/*",
        "application/json",
        "application/x-ndjson, */*;q=0.1",
        "text/event-stream",
        "text/html,application/xhtml+xml;q=0.9",
        vnd("2") + ";q=0",
        vnd("2") + ";q=2",
        vnd("2") + ";q=1.001",
        vnd("2") + ";q=0.1234",
        vnd("2") + ";q=nan",
        vnd("2") + ";q=-1",
        vnd("2") + ";q",
        vnd("2."),
        vnd("x"),
        vnd("02"),
        vnd("1.2.3.4"),
        vnd("2").replace("json", "xml"),
        vnd("2").replace("sightline", "company"),
        "application/vnd.sightline.vision+json",
        f"{vnd('2')}@",
    ],
)
def test_what_names_no_version_of_ours_wishes_for_nothing(accept: str) -> None:
    assert wishes_of(accept) == ()


@given(st.text(alphabet="application/vnd.sightline.vision.v0123456789+json;q=,* ", max_size=120) | st.text(max_size=40))
def test_no_header_breaks_the_reader(accept: str) -> None:
    wishes = wishes_of(accept)
    assert len(set(wishes)) == len(wishes)
    assert wishes != (None,)


@given(st.lists(st.tuples(st.sampled_from(["1", "2", "2.1", "3.0.1"]), st.integers(1, 1000)), min_size=1, max_size=6))
def test_a_wish_of_higher_quality_never_comes_after_one_of_lower(members: list[tuple[str, int]]) -> None:
    wishes = wishes_of(", ".join(f"{vnd(version)};q={quality / 1000:.3f}" for version, quality in members))
    best = {version: max(quality for each, quality in members if each == version) for version, _ in members}
    qualities = [best[str(wish)] for wish in wishes]
    assert qualities == sorted(qualities, reverse=True)
    assert set(wishes) == set(best)
