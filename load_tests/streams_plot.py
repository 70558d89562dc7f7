"""Points and the straight line closest to them, side by side in one SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

WIDTH_PX, HEIGHT_PX, MARGIN_PX = 300, 240, 46
_TICKS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One plot of at least two points; its axes begin at 0."""

    title: str
    across: str
    up: str
    x: Sequence[float]
    y: Sequence[float]

    def svg(self) -> str:
        """What stands in the panel, from (0, 0) to (WIDTH_PX, HEIGHT_PX)."""
        most_x, most_y = max(self.x), 1.1 * max(self.y)
        each, base = np.polyfit(self.x, self.y, 1)
        left, right = MARGIN_PX, WIDTH_PX - MARGIN_PX / 2
        top, floor = MARGIN_PX, HEIGHT_PX - MARGIN_PX

        def across_px(x: float) -> float:
            return left + x / most_x * (right - left)

        def up_px(y: float) -> float:
            return floor - y / most_y * (floor - top)

        parts = [
            _text(WIDTH_PX / 2, 20, self.title),
            _text(WIDTH_PX / 2, HEIGHT_PX - 8, self.across),
            _text(left, top - 8, self.up),
            f'<path d="M{left} {top}V{floor}H{right}" fill="none" stroke="black"/>',
            f'<path d="M{left} {up_px(base):.1f}L{right} {up_px(base + each * most_x):.1f}" stroke="steelblue"/>',
        ]
        for share in np.linspace(0, 1, _TICKS + 1).tolist():
            x, y = share * most_x, share * most_y
            parts += [
                _text(across_px(x), floor + 16, f"{x:.3g}"),
                _text(left - 4, up_px(y) + 4, f"{y:.3g}", anchor="end"),
            ]
        places = [(across_px(x), up_px(y)) for x, y in zip(self.x, self.y, strict=True)]
        return "".join([*parts, *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="firebrick"/>' for x, y in places)])


def plot(path: Path, panels: Sequence[Panel]) -> None:
    """Write the panels to a file, one beside the other."""
    groups = [f'<g transform="translate({index * WIDTH_PX})">{panel.svg()}</g>' for index, panel in enumerate(panels)]
    size = f'width="{len(panels) * WIDTH_PX}" height="{HEIGHT_PX}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11">'
    path.write_text("\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *groups, "</svg>\n"]))


def _text(x: float, y: float, words: str, *, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{words}</text>'
