"""Decisions over time as a picture: the score between its thresholds, the load, and the replicas."""

from collections.abc import Callable, Sequence
from html import escape
from itertools import pairwise
from typing import Final

from app.policy.scaling_trace import Replayed

_WIDTH_PX, _PANEL_PX, _LEFT_PX, _GAP_PX = 960, 150, 70, 40
_INK, _FAINT, _LIMIT = "#1f4e79", "#bbbbbb", "#b3261e"
_FEWEST: Final = 2

Points = Sequence[tuple[float, float]]


def plot(replays: Sequence[Replayed], *, title: str) -> str:
    """An SVG of three panels over one axis of seconds; ValueError for fewer than two decisions."""
    if len(replays) < _FEWEST:
        raise ValueError("a picture needs two decisions")
    parameters = replays[0].question.parameters
    panels = (
        ("score", _series(replays, _score), (parameters.in_score, parameters.out_score)),
        ("frames/s, all replicas", _series(replays, _qps), ()),
        ("replicas", _steps(_series(replays, lambda one: float(one.decision.replicas))), ()),
    )
    height_px = len(panels) * (_PANEL_PX + _GAP_PX) + _GAP_PX
    first_s, last_s = replays[0].question.now_s, replays[-1].question.now_s
    body = [f'<text x="{_LEFT_PX}" y="24" font-size="15">{escape(title)}</text>']
    for place, (name, points, limits) in enumerate(panels):
        top_px = _GAP_PX + place * (_PANEL_PX + _GAP_PX)
        body += _panel(name, points, limits=limits, top_px=top_px, first_s=first_s, last_s=last_s)
    bottom = height_px - _GAP_PX // 2
    body.append(f'<text x="{_LEFT_PX}" y="{bottom}">{first_s:g} s</text>')
    body.append(f'<text x="{_LEFT_PX + _WIDTH_PX}" y="{bottom}" text-anchor="end">{last_s:g} s</text>')
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH_PX + _LEFT_PX + 20}" height="{height_px}" '
        'font-family="sans-serif" font-size="12">'
    )
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *body, "</svg>", ""])


def _series(replays: Sequence[Replayed], value: Callable[[Replayed], float | None]) -> list[tuple[float, float]]:
    return [(one.question.now_s, found) for one in replays if (found := value(one)) is not None]


def _score(one: Replayed) -> float | None:
    return one.decision.load.score if one.decision.load else None


def _qps(one: Replayed) -> float | None:
    signals = one.question.signals
    return None if signals is None else signals.qps * one.question.running


def _steps(points: Points) -> list[tuple[float, float]]:
    stairs = list(points[:1])
    for (_, before), (at_s, after) in pairwise(points):
        stairs += [(at_s, before), (at_s, after)]
    return stairs


def _panel(
    name: str, points: Points, *, limits: Sequence[float], top_px: int, first_s: float, last_s: float
) -> list[str]:
    most = max([value for _, value in points] + list(limits) + [1e-9]) * 1.1

    def x(at_s: float) -> float:
        return _LEFT_PX + (at_s - first_s) / (last_s - first_s) * _WIDTH_PX

    def y(value: float) -> float:
        return top_px + _PANEL_PX * (1 - value / most)

    line = " ".join(f"{x(at_s):.1f},{y(value):.1f}" for at_s, value in points)
    base = top_px + _PANEL_PX
    drawn = [
        f'<text x="{_LEFT_PX}" y="{top_px - 4}">{escape(name)}</text>',
        f'<line x1="{_LEFT_PX}" y1="{base}" x2="{_LEFT_PX + _WIDTH_PX}" y2="{base}" stroke="{_FAINT}"/>',
        f'<text x="{_LEFT_PX - 6}" y="{base}" text-anchor="end">0</text>',
        f'<text x="{_LEFT_PX - 6}" y="{top_px + 10}" text-anchor="end">{most:.3g}</text>',
        f'<polyline points="{line}" fill="none" stroke="{_INK}" stroke-width="1.5"/>',
    ]
    return drawn + [
        f'<line x1="{_LEFT_PX}" y1="{y(limit):.1f}" x2="{_LEFT_PX + _WIDTH_PX}" y2="{y(limit):.1f}" '
        f'stroke="{_LIMIT}" stroke-dasharray="4 4"/><text x="{_LEFT_PX - 6}" y="{y(limit) + 4:.1f}" '
        f'text-anchor="end" fill="{_LIMIT}">{limit:g}</text>'
        for limit in limits
    ]
