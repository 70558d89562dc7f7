"""README's table follows from the results files alone, and says what is not held."""

import json
from pathlib import Path
from typing import Any

import pytest

from load_tests.report import BEGIN, END, rewritten, table

SCENARIO = """
place = {place}
[[row]]
what = "{name} answered, lost"
figures = ["answered", "details.sides.1.lost"]
aims = [">= 0.9", "= 0"]
forms = ["{{:.2f}}", "{{:.0f}} frames"]
[[row]]
what = "difference"
figures = ["difference"]
"""
TEXT = f"# Title\n\n{BEGIN}\nold\n{END}\n\nmore\n"


def write(folder: Path, name: str, *, place: int, answered: float = 0.95, lost: int = 0) -> None:
    record: dict[str, Any] = {
        "figures": {"answered": answered, "difference": -0.25},
        "commit": "abc1234",
        "date": "2026-11-23",
        "details": {"sides": [{}, {"lost": lost}]},
    }
    (folder / f"{name}.toml").write_text(SCENARIO.format(name=name, place=place), encoding="utf-8")
    (folder / f"{name}.json").write_text(json.dumps(record), encoding="utf-8")


def test_a_scenario_makes_its_rows_with_the_command_the_commit_and_the_date_once(tmp_path: Path) -> None:
    write(tmp_path, "first", place=1)
    assert table(results=tmp_path, folder=tmp_path).splitlines()[2:] == [
        "| first answered, lost | 0.95, 0 frames | ≥ 0.9, 0 | `make load SCENARIO=first` (abc1234, 2026-11-23) |",
        "| difference | −0.25 |  |  |",  # noqa: RUF001  the minus that people read
    ]


@pytest.mark.parametrize(
    ("fault", "told"), [({"answered": 0.8}, "| **0.80**, 0 frames |"), ({"lost": 3}, "| 0.95, **3 frames** |")]
)
def test_a_figure_that_misses_its_aim_is_told(tmp_path: Path, fault: dict[str, Any], told: str) -> None:
    write(tmp_path, "first", place=1, **fault)
    found = table(results=tmp_path, folder=tmp_path)
    assert told in found
    assert "**not held**" in found


def test_scenarios_stand_by_place_and_one_without_results_does_not(tmp_path: Path) -> None:
    write(tmp_path, "a", place=2)
    write(tmp_path, "b", place=1)
    write(tmp_path, "c", place=3)
    (tmp_path / "c.json").unlink()
    found = table(results=tmp_path, folder=tmp_path)
    assert found.index("b answered") < found.index("a answered")
    assert "c answered" not in found


def test_a_figure_that_the_results_lack_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, "first", place=1)
    (tmp_path / "first.json").write_text(json.dumps({"figures": {}, "commit": "", "date": ""}), encoding="utf-8")
    with pytest.raises(KeyError, match="answered"):
        table(results=tmp_path, folder=tmp_path)


def test_writing_twice_changes_nothing_more() -> None:
    once = rewritten(TEXT, "| new |")
    assert once == f"# Title\n\n{BEGIN}\n| new |\n{END}\n\nmore\n"
    assert rewritten(once, "| new |") == once


@pytest.mark.parametrize("text", ["none", END + BEGIN, BEGIN, TEXT + TEXT])
def test_a_text_without_its_two_markers_is_left_alone(text: str) -> None:
    with pytest.raises(ValueError, match="needs the two lines"):
        rewritten(text, "| new |")


def test_the_project_s_own_results_make_the_same_table_every_time() -> None:
    assert table() == table()
    assert all(line.count("|") == 5 for line in table().splitlines())
