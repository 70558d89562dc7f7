"""When requests are due, in seconds from the start: at random, evenly, after a curve of rates, or from a trace."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]


def poisson(rate_hz: float, seconds: float, *, seed: int) -> Floats:
    """Arrivals that know nothing of each other, `rate_hz` on average; in order, all before `seconds`.

    Their number is drawn first, and then their places, which are uniform given the number. Source: Ross, Introduction
    to Probability Models, section 5.3.
    """
    random = np.random.default_rng(seed)
    return np.sort(random.uniform(0.0, seconds, size=int(random.poisson(rate_hz * seconds))))


def even(rate_hz: float, seconds: float) -> Floats:
    """Arrivals at equal distances, the first at 0."""
    return np.arange(int(rate_hz * seconds), dtype=np.float64) / rate_hz


def after_curve(points: Sequence[tuple[float, float]], *, seed: int) -> Floats:
    """Poisson arrivals whose rate follows the straight lines between points of (seconds, hertz), in order of time.

    Unit-rate arrivals are carried back through the integral of the rate. Source: Lewis and Shedler,
    Naval Research Logistics 26 (1979). ValueError for fewer than two points, times out of order, or a negative rate.
    """
    at_s, rate_hz = np.array(points, dtype=np.float64).reshape(-1, 2).T
    if len(at_s) < 2 or np.any(np.diff(at_s) <= 0) or np.any(rate_hz < 0):
        raise ValueError("a curve has two points or more, in order of time, and no negative rate")
    fine_s = np.unique(np.concatenate([at_s, np.linspace(at_s[0], at_s[-1], 4096)]))
    fine_hz = np.interp(fine_s, at_s, rate_hz)
    expected = np.concatenate([[0.0], np.cumsum(np.diff(fine_s) * (fine_hz[1:] + fine_hz[:-1]) / 2)])
    due_s: Floats = np.interp(poisson(1.0, float(expected[-1]), seed=seed), expected, fine_s)
    return due_s


def from_trace(file: Path) -> Floats:
    """The first column of a CSV file as arrivals, moved so that the first is at 0; a line of names may stand on top.

    ValueError when the file holds no number.
    """
    lines = file.read_text(encoding="utf-8").splitlines()
    cells = [line.split(",")[0].strip() for line in lines if line.strip()]
    numbers = cells[1:] if cells and not _is_number(cells[0]) else cells
    if not numbers:
        raise ValueError(f"{file.name} holds no arrival")
    due_s = np.sort(np.array([float(cell) for cell in numbers]))
    begun_s: Floats = due_s - due_s[0]
    return begun_s


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
