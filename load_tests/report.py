"""README's table of figures, written from the results files: `python -m load_tests.report --write README.md`.

Which figures, in which words and with which aims, stands in `scenarios/*.toml`. A scenario without a results file has
no rows, and nothing but these files goes in: the same files always make the same table.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from load_tests import scenarios
from load_tests.evidence import RESULTS
from load_tests.scenarios import Row, is_held

BEGIN: Final = "<!-- figures: written by `python -m load_tests.report --write README.md` -->"
END: Final = "<!-- end of figures -->"
_HEAD: Final = ("| what | measured | aim | command |", "|---|---|---|---|")
_SIGNS: Final = {">=": "≥", "<=": "≤", "=": ""}


def table(*, results: Path = RESULTS, folder: Path = scenarios.FOLDER) -> str:
    """The table in Markdown. KeyError when a row speaks of a figure that its results file lacks."""
    names = sorted((path.stem for path in folder.glob("*.toml")), key=lambda name: (_place(name, folder), name))
    lines = [*_HEAD]
    for name in names:
        file = results / f"{name}.json"
        if file.exists():
            record = json.loads(file.read_text(encoding="utf-8"))
            lines += _lines(name, scenarios.rows(name, folder=folder), record)
    return "\n".join(lines)


def rewritten(text: str, figures: str) -> str:
    """`text` with the table between its markers. ValueError when it does not have each of them once, in order."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        raise ValueError(f"the text needs the two lines {BEGIN} and {END}, once and in this order")
    return f"{before}{BEGIN}\n{figures}\n{END}{after}"


def _place(name: str, folder: Path) -> int:
    return int(scenarios.read(name, folder=folder)["place"])


def _lines(name: str, rows: Sequence[Row], record: Mapping[str, Any]) -> list[str]:
    command = f"`make load SCENARIO={name}` ({record['commit']}, {record['date']})"
    lines = []
    for row in rows:
        values = [_value(record, figure) for figure in row.figures]
        forms = row.forms if len(row.forms) == len(values) else [row.forms[0]] * len(values)
        held = [is_held(aim, value) for aim, value in zip(row.aims, values, strict=False)]
        told = [_number(form, value) for form, value in zip(forms, values, strict=True)]
        if len(held) > 1:  # which of them it is
            told = [text if good else f"**{text}**" for text, good in zip(told, held, strict=True)]
        aims = ", ".join(dict.fromkeys(_aim(aim) for aim in row.aims if aim))
        verdict = "" if all(held) else ": **not held**"
        note = f" {row.note}" if row.note else ""
        lines.append(f"| {row.what} | {', '.join(told)} | {aims}{verdict}{note} | {command} |")
        command = ""
    return lines


def _value(record: Mapping[str, Any], figure: str) -> float:
    """A figure by its name, or by its path from the top. KeyError when it is not there."""
    if not figure.startswith("details."):
        return float(record["figures"][figure])
    found: Any = record
    for step in figure.split("."):
        found = found[int(step)] if isinstance(found, list) else found[step]
    return float(found)


def _number(form: str, value: float) -> str:
    return form.format(value).replace("-", "−")  # noqa: RUF001  the minus that people read


def _aim(aim: str) -> str:
    sign, _, number = aim.partition(" ")
    return f"{_SIGNS[sign]} {number}".strip()


def main() -> int:
    """Exit code 1 when `--check` finds another table in the file than the results make."""
    parser = argparse.ArgumentParser(description=__doc__)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--write", type=Path, metavar="FILE", help="put the table between the file's markers")
    what.add_argument("--check", type=Path, metavar="FILE", help="say whether that would change the file")
    given = parser.parse_args()
    if given.write is None and given.check is None:
        print(table())
        return 0
    file: Path = given.write or given.check
    old = file.read_text(encoding="utf-8")
    new = rewritten(old, table())
    if given.write is not None:
        file.write_text(new, encoding="utf-8")
        return 0
    print("up to date" if new == old else "another table than the results make", file=sys.stderr)
    return int(new != old)


if __name__ == "__main__":
    sys.exit(main())
