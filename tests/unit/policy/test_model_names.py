import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import InvalidParameterError
from app.policy.model_names import checked_model, checked_version, version_order


@pytest.mark.parametrize("name", ["street", "a", "0", "yolo11n.v2_int8-b", "a" * 64])
def test_a_plain_name_is_taken(name: str) -> None:
    assert checked_model(name) == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a..b", "../a", "a/b", "a\\b", "/a", "A", "-a", "_a", "a" * 65, "a\n", "a\x00", "ä", "a b", "a%2f"],
)
def test_a_name_that_could_leave_its_folder_or_its_header_is_refused(name: str) -> None:
    with pytest.raises(InvalidParameterError, match=r"^model: "):
        checked_model(name)


@given(st.text(max_size=12))
def test_a_name_that_is_taken_is_one_safe_part_of_a_path(name: str) -> None:
    try:
        checked_model(name)
    except InvalidParameterError:
        return
    assert name.isascii()
    assert name.lower() == name
    assert not set(name) & set("/\\ %\x00\n:")
    assert name not in {".", ".."}


@pytest.mark.parametrize("version", ["0.0.0", "1.2.3", "10.20.30", "999999999.0.1"])
def test_three_numbers_are_a_version(version: str) -> None:
    assert checked_version(version) == version


@pytest.mark.parametrize(
    "version",
    [
        "",
        "1",
        "1.2",
        "1.2.3.4",
        "01.2.3",
        "1.02.3",
        "1.2.3\n",
        "v1.2.3",
        "1.2.3-rc1",
        "1.2.x",
        "9999999999.0.0",
        "\u0661.2.3",
    ],
)
def test_anything_else_is_not(version: str) -> None:
    with pytest.raises(InvalidParameterError, match=r"^version: "):
        checked_version(version)


def test_versions_are_ordered_by_their_numbers_and_other_names_come_first() -> None:
    ordered = ["night", "v2", "0.9.9", "1.9.0", "1.10.0", "2.0.0", "10.0.0"]
    shuffled = [*ordered[3:], *ordered[:3]]
    assert sorted(shuffled, key=version_order) == ordered
