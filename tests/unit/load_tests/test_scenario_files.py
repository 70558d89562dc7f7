"""Scenario files say what README tells; a figure that misses its aim is named."""

from pathlib import Path

import pytest

from load_tests import scenarios

FILE = """
place = 1
[parameters]
seconds = 3.0
[[row]]
what = "answers"
figures = ["answered", "lost"]
aims = [">= 0.9", "= 0"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "one.toml").write_text(FILE, encoding="utf-8")
    return tmp_path


def test_a_file_holds_parameters_and_rows(folder: Path) -> None:
    assert scenarios.parameters("one", folder=folder) == {"seconds": 3.0}
    (row,) = scenarios.rows("one", folder=folder)
    assert (row.what, row.figures, row.aims) == ("answers", ["answered", "lost"], [">= 0.9", "= 0"])


@pytest.mark.parametrize(
    ("figures", "missed"),
    [
        ({"answered": 0.9, "lost": 0.0}, []),
        ({"answered": 0.89, "lost": 0.0}, ["answered"]),
        ({"answered": 1.0, "lost": 1.0}, ["lost"]),
        ({"answered": 1.0}, ["lost"]),
    ],
)
def test_what_misses_its_aim_or_is_not_there_is_named(
    folder: Path, figures: dict[str, float], missed: list[str]
) -> None:
    assert scenarios.missed("one", figures, folder=folder) == missed


@pytest.mark.parametrize("wrong", ['aims = ["> 1", "= 0"]', 'aims = ["= 0"]', 'forms = ["{}", "{}", "{}"]'])
def test_a_row_that_makes_no_sense_is_refused(tmp_path: Path, wrong: str) -> None:
    broken = FILE.replace('aims = [">= 0.9", "= 0"]', wrong)
    (tmp_path / "one.toml").write_text(broken, encoding="utf-8")
    with pytest.raises(ValueError, match=r"aim|one form"):
        scenarios.rows("one", folder=tmp_path)


def test_a_misspelt_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text(FILE.replace("aims", "aim"), encoding="utf-8")
    with pytest.raises(TypeError, match="aim"):
        scenarios.rows("one", folder=tmp_path)


def test_every_scenario_file_of_the_project_can_be_read_and_names_a_module() -> None:
    names = sorted(path.stem for path in scenarios.FOLDER.glob("*.toml"))
    assert {"queueing", "overload", "cameras"} <= set(names)
    for name in names:
        assert scenarios.rows(name)
        assert (scenarios.FOLDER.parent / f"{name.replace('-', '_')}.py").exists()
