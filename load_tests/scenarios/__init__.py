"""Scenarios as files: what each runs with, and which of its figures README tells, in which words, with which aim."""

import operator
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parent
_HOLDS: Final[Mapping[str, Callable[[float, float], bool]]] = {">=": operator.ge, "<=": operator.le, "=": operator.eq}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of README's table: `what` is measured, its `figures` in order, each with its aim as `">= 0.9"`.

    A figure is a name under `figures` of the results file, or a path such as `details.staged.ratio`. There are as many
    aims as figures, an empty one where nothing is aimed at, or none at all. `forms` says how numbers are written, one
    for all or one for each: `"{:.2f} s"`.
    `note` stands behind the aims.
    """

    what: str
    figures: Sequence[str]
    aims: Sequence[str] = ()
    forms: Sequence[str] = ("{:.3g}",)
    note: str = ""


def read(name: str, *, folder: Path = FOLDER) -> dict[str, Any]:
    """The file of a scenario."""
    return tomllib.loads((folder / f"{name}.toml").read_text(encoding="utf-8"))


def parameters(name: str, *, folder: Path = FOLDER) -> dict[str, Any]:
    """What the scenario runs with."""
    found: dict[str, Any] = read(name, folder=folder)["parameters"]
    return found


def rows(name: str, *, folder: Path = FOLDER) -> list[Row]:
    """The scenario's rows. TypeError for a key that no row has, ValueError for an aim that is none."""
    found = [Row(**row) for row in read(name, folder=folder).get("row", [])]
    for row in found:
        if row.aims and len(row.aims) != len(row.figures):
            raise ValueError(f"{name}: {row.what}: as many aims as figures")
        if len(row.forms) not in (1, len(row.figures)):
            raise ValueError(f"{name}: {row.what}: one form, or as many as figures")
        for aim in row.aims:
            is_held(aim, 0.0)
    return found


def is_held(aim: str, value: float) -> bool:
    """Whether a figure is what it should be, as any is where nothing is aimed at.

    ValueError when the aim is not `>=`, `<=` or `=` and a number.
    """
    if not aim:
        return True
    sign, _, number = aim.partition(" ")
    if sign not in _HOLDS:
        raise ValueError(f"{aim!r} is no aim: >=, <= or = and a number")
    return _HOLDS[sign](value, float(number))


def missed(name: str, figures: Mapping[str, float], *, folder: Path = FOLDER) -> list[str]:
    """The figures among these that are not what the scenario's file says they should be; one that is not there is."""
    return [
        figure
        for row in rows(name, folder=folder)
        for figure, aim in zip(row.figures, row.aims, strict=False)
        if not figure.startswith("details.") and not (figure in figures and is_held(aim, figures[figure]))
    ]
